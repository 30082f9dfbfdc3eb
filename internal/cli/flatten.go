package cli

import (
	"errors"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/release"
)

type flattenCommand struct {
	Release *nameArg `arg:"" optional:"" complete:"release" help:"Release to fold; the current one if there is none given."`
}

// Help is what --help prints besides.
func (*flattenCommand) Help() string {
	return "Makes a new release that shows the same files and lies over no other. Its files are hard links to those of the old ones, so " +
		"it takes little time and no disk. If the release was current, the new one is. The old ones stay, for the servers that run " +
		"on them, until l4d2ctl prune removes them.\n\n" +
		"Example: l4d2ctl flatten"
}

func (c *flattenCommand) Run(s *session) error {
	ch, err := s.changeReleases()
	if err != nil {
		return err
	}
	defer ch.End()
	current, err := ch.Current()
	var n instance.Name
	switch {
	case c.Release != nil:
		n = c.Release.Name
	case err != nil:
		return err
	default:
		n = current.Name
	}
	flat, err := c.fold(s, ch, n)
	if errors.Is(err, release.ErrFlat) {
		s.result(n, "lies over no other: there is nothing to fold")
		return nil
	}
	if err != nil {
		return explainRelease(interrupted(err))
	}
	if current.Name != n {
		s.result(flat, "shows what %s does, and lies over no other", n)
		return nil
	}
	s.result(flat, "current, shows what %s does, and lies over no other", n)
	s.tellRunning()
	s.hint("remove what nobody runs on any more with: %s prune", program)
	return nil
}

func (c *flattenCommand) fold(s *session, ch *release.Change, n instance.Name) (instance.Name, error) {
	total, err := ch.Measure(s.ctx, n)
	if err != nil {
		return "", err
	}
	r, err := ch.Read(n)
	if err != nil {
		return "", err
	}
	s.step(n, "folding it and the %d below it into one", len(r.Chain)-1)
	add, shown := s.progress(n, "linking", total)
	defer shown()
	return ch.Flatten(s.ctx, n, time.Now(), func(bytes int64) { add(int(bytes)) })
}
