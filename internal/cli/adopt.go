package cli

import (
	"fmt"
	"time"

	"l4d2-host/internal/release"
)

type adoptCommand struct{}

// Help is what --help prints besides.
func (*adoptCommand) Help() string {
	return "The directory of the game and a symbolic link change places, in one step and without a byte being moved. " +
		"Running servers notice nothing. From then on the game is changed by l4d2ctl update alone, and each update can be taken back. " +
		"If the installation is a link of your own, what it leads to stays where it is.\n\n" +
		"Example: l4d2ctl adopt"
}

func (*adoptCommand) Run(s *session) error {
	ch, err := s.changeReleases()
	if err != nil {
		return err
	}
	defer ch.End()
	n, err := ch.Adopt(s.ctx, release.Info{Date: time.Now()})
	if err != nil {
		return err
	}
	what := ""
	if r, err := ch.Read(n); err == nil && r.Build != "" {
		what = fmt.Sprintf(", build %s", r.Build)
	}
	s.result(n, "current%s: %s leads to it now", what, s.layout.Installation())
	s.tellRunning()
	return nil
}
