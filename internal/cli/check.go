package cli

import (
	"errors"
	"fmt"
	"strings"

	"l4d2-host/internal/doctor"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type checkCommand struct {
	Name *nameArg `arg:"" optional:"" help:"Instance to check, besides the machine; all of them if there is none."`
	JSON bool     `help:"Print an array of objects, for programs."`
}

// Help is what --help prints besides.
func (*checkCommand) Help() string {
	return "Looks for everything that can keep a server from starting or from keeping what it writes, and says what to do. " +
		"It changes nothing. Exits with 1 if there is an error; a warning is none. Without root it checks what it can.\n\n" +
		"Example: l4d2ctl check"
}

func (c *checkCommand) Run(s *session) error {
	d := &doctor.Doctor{Layout: s.layout, Superuser: s.Superuser, Helper: s.Helper}
	var names []instance.Name
	if c.Name != nil {
		names = append(names, c.Name.Name)
	}
	// Without the group there is no store; the doctor says so itself.
	if st, err := s.OpenStore(s.layout); err == nil {
		d.Store = st
		if c.Name != nil {
			if _, err := st.ReadSpec(c.Name.Name); errors.Is(err, store.ErrUnknown) {
				return unknown(c.Name.Name)
			}
		}
	}
	m, err := s.Connect(s.ctx)
	switch {
	case err == nil:
		defer m.Close()
		d.Systemd = m
	case !errors.Is(err, systemd.ErrNotRunning):
		s.warn("%v: units are not checked", err)
	}
	findings := d.Examine(s.ctx, names)
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if err := s.printFindings(findings, c.JSON); err != nil {
		return err
	}
	if doctor.Wrong(findings) {
		return errors.New("something is wrong")
	}
	return nil
}

func (s *session) printFindings(findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		return s.printJSON(findings)
	}
	var b strings.Builder
	counts := map[string]int{}
	for _, f := range findings {
		counts[f.Level]++
		subject := f.Check
		if f.Instance != "" {
			subject = string(f.Instance) + ": " + f.Check
		}
		fmt.Fprintf(&b, "%-8s %s: %s\n", f.Level, subject, printable.Line(f.Text))
		if f.Advice != "" {
			fmt.Fprintf(&b, "         → %s\n", printable.Line(f.Advice))
		}
	}
	fmt.Fprintf(&b, "%d ok, %d warnings, %d errors, %d not checked\n",
		counts[doctor.OK], counts[doctor.Warning], counts[doctor.Error], counts[doctor.Unknown])
	s.print(b.String())
	return nil
}
