package cli

import (
	"fmt"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/systemd"
)

type stopCommand struct {
	Names []nameArg `arg:"" name:"name" help:"Instances to stop, all at once."`
}

// Help is what --help prints besides.
func (*stopCommand) Help() string {
	return "Example: l4d2ctl stop versus coop"
}

func (c *stopCommand) Run(s *session) error {
	return s.eachUnit(c.Names, func(m Manager, n instance.Name, before systemd.Unit) error {
		done := "stopped"
		if before.Stopped() {
			done = "already stopped"
			if before.ActiveState == "failed" {
				done += fmt.Sprintf(" (its last run failed: %s)", before.Result)
			}
		} else if err := s.bringDown(m, n); err != nil {
			return err
		}
		if err := s.unmounted(m, n); err != nil {
			return err
		}
		s.result(n, "%s", done)
		return nil
	})
}

// bringDown stops the unit and says so if it did not end well.
func (s *session) bringDown(m Manager, n instance.Name) error {
	s.step(n, "stopping %s", unitName(n))
	if err := m.Stop(s.ctx, unitName(n)); err != nil {
		return s.unitProblem(m, n, err)
	}
	after, err := s.unit(m, n)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	switch {
	case after.ActiveState == "failed":
		return s.unitProblem(m, n, fmt.Errorf("%s ended, but not well", unitName(n)))
	case !after.Stopped():
		return s.unitProblem(m, n, fmt.Errorf("%s was stopped, but it is %s again", unitName(n), state(after)))
	}
	return nil
}

// unmounted returns an error if the stopped instance has left its mount.
func (s *session) unmounted(m Manager, n instance.Name) error {
	still, err := s.mountedThere(m, n)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	if !still {
		return nil
	}
	return &problem{
		err: fmt.Errorf("%s: stopped, but %s is still mounted", n, s.layout.Merged(n)),
		hints: []string{
			"who holds it: journalctl -u l4d2@" + string(n),
			fmt.Sprintf("once they are gone: sudo %s unmount %s", s.Helper, n),
		},
	}
}
