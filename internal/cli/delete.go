package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type deleteCommand struct {
	Name nameArg `arg:"" help:"Instance to remove."`
	Yes  bool    `short:"y" help:"Do not ask; without a terminal, it never does."`
}

// Help is what --help prints besides.
func (*deleteCommand) Help() string {
	return "The game and the layers stay; and nothing is removed unless the server has stopped and is unmounted.\n\n" +
		"Example: l4d2ctl delete --yes versus"
}

// Run removes nothing until the server has stopped and nothing is mounted any
// more: what is removed under a mount is the game itself.
func (c *deleteCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n := c.Name.Name
	st, err := s.open()
	if err != nil {
		return err
	}
	if _, _, err := st.Load(n); errors.Is(err, store.ErrUnknown) {
		s.result(n, "no such instance, nothing to delete")
		return nil
	}
	if !c.Yes {
		if err := s.confirm(n); err != nil {
			return err
		}
	}
	runs, err := s.retire(n)
	if err != nil {
		return untouched(n, err)
	}
	if err := s.clearMount(n, runs); err != nil {
		return untouched(n, err)
	}
	if err := s.ctx.Err(); err != nil {
		return untouched(n, fmt.Errorf("%s: interrupted: %w", n, err))
	}
	s.step(n, "removing %s and %s", s.layout.Instance(n), s.layout.Runtime(n))
	if err := st.Remove(n); err != nil {
		return fmt.Errorf("%s: remove: %w", n, err)
	}
	s.result(n, "deleted")
	return nil
}

// retire stops the unit and takes it out of the boot, if systemd runs.
func (s *session) retire(n instance.Name) (systemdRuns bool, err error) {
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		s.step(n, "systemd is not running: nothing to stop, and not taken out of the boot")
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", n, err)
	}
	defer m.Close()
	u, err := s.unit(m, n)
	if err != nil {
		return true, fmt.Errorf("%s: %w", n, err)
	}
	if s.foreign(u, n) {
		s.step(n, "%s is not of this root: left alone", unitName(n))
		return true, nil
	}
	if !u.Stopped() {
		s.step(n, "stopping %s", unitName(n))
		if err := m.Stop(s.ctx, unitName(n)); err != nil {
			return true, s.unitProblem(m, n, err)
		}
		// That it ended failed is no matter: the mount is looked at next.
		if u, err = s.unit(m, n); err != nil {
			return true, fmt.Errorf("%s: %w", n, err)
		}
		if !u.Stopped() {
			return true, fmt.Errorf("%s: %s was stopped, but it is %s again", n, unitName(n), state(u))
		}
	}
	if u.Enabled {
		s.step(n, "disabling %s", unitName(n))
		if err := m.Disable(s.ctx, unitName(n)); err != nil {
			return true, fmt.Errorf("%s: %w", n, err)
		}
	}
	if err := m.ResetFailed(s.ctx, unitName(n)); err != nil {
		return true, fmt.Errorf("%s: %w", n, err)
	}
	return true, nil
}

// clearMount has the helper unmount what a crash or a busy unmount has left.
func (s *session) clearMount(n instance.Name, systemdRuns bool) error {
	still, err := s.mounted(n, systemdRuns)
	if err != nil || !still {
		return err
	}
	byHand := fmt.Sprintf("%s=%s %s unmount %s", instance.RootVariable, s.layout.Root(), s.Helper, n)
	if !systemdRuns {
		return &problem{
			err:   fmt.Errorf("%s: %s is mounted, and systemd is not running to say who uses it", n, s.layout.Merged(n)),
			hints: []string{"unmount it first: " + byHand},
		}
	}
	s.step(n, "unmounting what is left at %s", s.layout.Merged(n))
	cmd := exec.CommandContext(s.ctx, s.Helper, "unmount", string(n))
	cmd.Env = []string{instance.RootVariable + "=" + s.layout.Root()}
	cmd.Stdout, cmd.Stderr = s.Err, s.Err
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return &problem{
			err:   fmt.Errorf("%s: unmount %s: %w", n, s.layout.Merged(n), err),
			hints: []string{"end the processes named above, then delete it again"},
		}
	}
	if still, err = s.mounted(n, systemdRuns); err == nil && still {
		err = fmt.Errorf("%s: something is still mounted at %s", n, s.layout.Merged(n))
	}
	return err
}

// untouched adds to err that the instance is still there.
func untouched(n instance.Name, err error) error {
	p := &problem{err: err}
	var inner *problem
	if errors.As(err, &inner) {
		p.detail, p.hints = inner.detail, inner.hints
	}
	p.hints = append(p.hints, fmt.Sprintf("nothing of %s has been removed", n))
	return p
}

// confirm asks the operator, if there is one at a terminal.
func (s *session) confirm(n instance.Name) error {
	in, ok := s.In.(*os.File)
	if !ok || !isTerminal(in) {
		return nil
	}
	return s.ask(in, n)
}

func (s *session) ask(in io.Reader, n instance.Name) error {
	s.note(fmt.Sprintf("%s: this stops the server and removes its spec and all its own state:\n    %s\n    %s\n",
		n, s.layout.Instance(n), s.layout.Upper(n)))
	if err := s.goOn(in, n); err != nil {
		return untouched(n, err)
	}
	return nil
}

// goOn asks whether to go on; the error says that it was not confirmed.
func (s *session) goOn(in io.Reader, n instance.Name) error {
	s.note(fmt.Sprintf("%s: go on? [y/N] ", n))
	answer, err := interruptible(s.ctx, func() (string, error) { return bufio.NewReader(in).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", n, err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("%s: not confirmed", n)
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
