package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
)

type resetCommand struct {
	Name     nameArg    `arg:"" help:"Instance whose changes to give up; it must be stopped."`
	Paths    []gamePath `arg:"" optional:"" name:"path" help:"Only these files and directories, relative to the game's root."`
	Yes      bool       `short:"y" help:"Do not ask; needed where there is no terminal."`
	NoBackup bool       `help:"Keep no backup of what is given up."`
}

// Help is what --help prints besides.
func (*resetCommand) Help() string {
	return "Shows what the server has changed, asks, and removes it, so that it sees again what its layers bring. " +
		"A backup is kept first. The spec is not touched.\n\n" +
		"Example: l4d2ctl reset versus left4dead2/cfg"
}

func (c *resetCommand) Run(s *session) error {
	n := c.Name.Name
	k, err := s.openStack(n)
	if err != nil {
		return err
	}
	defer k.close()
	some, err := hasState(k.upper)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	if !some {
		s.result(n, "no changes, nothing to reset")
		return nil
	}
	names, err := c.names(n, k)
	if err != nil {
		return err
	}
	if err := s.running(n, "its files cannot be removed beneath it"); err != nil {
		return err
	}
	if err := c.show(s, k, names); err != nil {
		return err
	}
	if err := s.agree(n, c.Yes); err != nil {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	h, err := s.hold(st, n)
	if err != nil {
		return err
	}
	defer h.Release()
	kept, err := s.keep(st, n, !c.NoBackup)
	if err != nil {
		return err
	}
	if err := s.forget(h, names); err != nil {
		return fmt.Errorf("%s: reset: %w", n, err)
	}
	s.result(n, "reset")
	if kept != "" {
		s.hint("get it back with: %s restore --state-only %s %s", program, n, kept)
	}
	return nil
}

// names returns the paths to remove, none in another one; none for all.
func (c *resetCommand) names(n instance.Name, k stack) ([]string, error) {
	var names []string
	var wrong problems
	for _, p := range c.Paths {
		if p == "." {
			return nil, nil
		}
		if err := resettable(n, k, string(p)); err != nil {
			wrong = append(wrong, err)
		}
		names = append(names, string(p))
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(names, func(above string) bool { return strings.HasPrefix(name, above+"/") })
	}), nil
}

// resettable returns an error unless the removal of name from upper brings back
// what the layers have there.
func resettable(n instance.Name, k stack, name string) error {
	_, err := k.upper.Stat(name)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return fmt.Errorf("%s: %w", n, err)
	}
	above, err := k.view().Lookup(path.Dir(name))
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	beneath, err := k.lowers.Lookup(name)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	if beneath.Top() != nil && above.Hider != nil && above.Hider.Layer == k.upper {
		return &problem{
			err: fmt.Errorf("%s: %s alone cannot be reset: the server has deleted or replaced %s as a whole",
				n, visible(name), visible(above.HiderPath)),
			hints: []string{fmt.Sprintf("reset that: %s reset %s %s", program, n, visible(above.HiderPath))},
		}
	}
	if missing {
		return &problem{err: fmt.Errorf("%s: the server has not changed %s", n, visible(name)),
			hints: []string{fmt.Sprintf("see what it has: %s diff %s", program, n)}}
	}
	return nil
}

// show says what is about to go.
func (c *resetCommand) show(s *session, k stack, names []string) error {
	n := c.Name.Name
	if names == nil {
		names = []string{"."}
	}
	var list []changed
	for _, name := range names {
		some, err := s.changes(n, k, name)
		if err != nil {
			return err
		}
		list = append(list, some...)
	}
	s.step(n, "this is given up:")
	for line := range strings.Lines(changeTable(list)) {
		s.note("    " + line)
	}
	s.step(n, "%s", summary(list))
	return nil
}

// forget removes names from upper, or all of it. From here on an interrupt is
// too late: the steps take milliseconds.
func (s *session) forget(h *store.Hold, names []string) error {
	if err := s.ctx.Err(); err != nil {
		return interrupted(err)
	}
	if names == nil {
		return h.Clear()
	}
	return h.Forget(names)
}
