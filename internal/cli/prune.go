package cli

import (
	"fmt"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/release"
)

type pruneCommand struct {
	Keep uint16 `default:"2" placeholder:"N" help:"Keep the N newest in any case (default: 2)."`
	Yes  bool   `short:"y" help:"Do not ask; needed where there is no terminal."`
}

// Help is what --help prints besides.
func (*pruneCommand) Help() string {
	return "Removes the releases that are not current, not named in a spec, not mounted, and not below a release that stays. " +
		"A long chain all the way below the current release goes once l4d2ctl flatten has folded it and no server runs on it any more. " +
		"Shows what it would remove, and asks.\n\n" +
		"Example: l4d2ctl prune --keep 3"
}

func (c *pruneCommand) Run(s *session) error {
	uses, err := c.removable(s)
	if err != nil {
		return err
	}
	if len(uses) == 0 {
		s.print("no release can be removed: each is current, pinned, mounted, one of the newest, or lies below one that is\n")
		return nil
	}
	var names []instance.Name
	var bytes int64
	for _, u := range uses {
		s.step(u.Name, "to be removed: build %s, made %s, %s", orDash(nonEmpty(u.Build)), u.Date.Local().Format("2006-01-02 15:04"), size(u.Size))
		names, bytes = append(names, u.Name), bytes+u.Size
	}
	s.note(fmt.Sprintf("%s: %s in all, but for files that another release has too\n", program, size(bytes)))
	if err := s.agree("releases", c.Yes); err != nil {
		return err
	}
	// Not before: an update does not wait for an answer.
	ch, err := s.changeReleases()
	if err != nil {
		return err
	}
	defer ch.End()
	gone, err := ch.Prune(s.ctx, names, int(c.Keep))
	for _, u := range gone {
		s.result(u.Name, "removed")
	}
	if err == nil && len(gone) < len(names) {
		s.note(fmt.Sprintf("%s: %d are used meanwhile, and stay\n", program, len(names)-len(gone)))
	}
	return interrupted(err)
}

// removable returns the releases that can be removed at present.
func (c *pruneCommand) removable(s *session) ([]release.Use, error) {
	ch, err := s.changeReleases()
	if err != nil {
		return nil, err
	}
	defer ch.End()
	return ch.Removable(int(c.Keep))
}

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
