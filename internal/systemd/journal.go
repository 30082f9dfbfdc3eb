package systemd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// journalLimit bounds reading the journal, and syncLimit waiting for what is
// still on its way there.
const (
	journalLimit = 10 * time.Second
	syncLimit    = 3 * time.Second
)

// Journal returns the last n lines that the journal has of one run of unit:
// its own and systemd's about it. An empty invocationID means any run. What
// this user may not read is left out.
func (m *Manager) Journal(ctx context.Context, unit, invocationID string, n int) ([]string, error) {
	if os.Geteuid() == 0 || !m.host.Zero() {
		// The last words of a process that just died may still be in
		// journald's socket. Best effort: lines that come late are missing.
		sync, done := context.WithTimeout(ctx, syncLimit)
		_ = m.command(sync, "journalctl", "--sync").Run()
		done()
	}
	ctx, done := context.WithTimeout(ctx, journalLimit)
	defer done()
	out, err := m.command(ctx, append([]string{"journalctl"}, journalArgs(unit, invocationID, n)...)...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			if said := bytes.TrimSpace(exit.Stderr); len(said) > 0 {
				err = fmt.Errorf("journalctl: %s", said)
			}
		}
		return nil, onUnit("journal of", unit, err)
	}
	return lines(string(out)), nil
}

// JournalQuery is which lines of the journal to show.
type JournalQuery struct {
	Unit   string
	Lines  int    // the last ones; below 0 for all
	Since  string // as journalctl takes it; empty for any time
	Follow bool   // go on until ctx ends
}

// ShowJournal writes what the journal has of a unit, its own lines and
// systemd's about it, as journalctl prints it: what does not print is not
// shown. It ends with ctx's error when ctx ends first. A reader that has gone
// is no error. What this user may not read is left out, and errw told so.
func ShowJournal(ctx context.Context, q JournalQuery, out, errw io.Writer) error {
	cmd := exec.CommandContext(ctx, "journalctl", q.args()...)
	cmd.Stdout, cmd.Stderr = out, errw
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGPIPE {
			return nil
		}
		return fmt.Errorf("journalctl: %w", err) // it has said why
	}
	return err
}

// FollowRun calls line for each line that the processes of one run of a unit have
// written to the journal and write from now on, until ctx ends, and then for the
// ones that were on their way. For root: others need not see all.
func (m *Manager) FollowRun(ctx context.Context, invocationID string, line func(string)) error {
	args := []string{"journalctl", "--quiet", "--no-pager", "--output=cat", "_SYSTEMD_INVOCATION_ID=" + invocationID}
	seen := 0
	follow := m.command(ctx, append(args, "--follow", "--lines=all")...)
	stdout, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		return fmt.Errorf("journalctl: %w", err)
	}
	for text := bufio.NewScanner(stdout); text.Scan(); seen++ {
		line(text.Text())
	}
	ended := follow.Wait()
	if ctx.Err() == nil {
		return fmt.Errorf("journalctl: %w", ended)
	}
	rest, done := context.WithTimeout(context.WithoutCancel(ctx), journalLimit)
	defer done()
	_ = m.command(rest, "journalctl", "--sync").Run() // best effort, as above
	out, err := m.command(rest, args...).Output()
	if err != nil {
		return fmt.Errorf("journalctl: %w", err)
	}
	all := lines(string(out))
	for _, text := range all[min(seen, len(all)):] {
		line(text)
	}
	return nil
}

func (q JournalQuery) args() []string {
	args := []string{"--no-pager", "--no-hostname", "--output=short", "--unit=" + q.Unit}
	if q.Lines >= 0 {
		args = append(args, "--lines="+strconv.Itoa(q.Lines))
	} else if q.Follow {
		args = append(args, "--lines=all") // the default is 10 then
	}
	if q.Since != "" {
		args = append(args, "--since="+q.Since)
	}
	if q.Follow {
		args = append(args, "--follow")
	}
	return args
}

// command runs a program where the Manager's systemd is.
func (m *Manager) command(ctx context.Context, argv ...string) *exec.Cmd {
	if !m.host.Zero() {
		return m.host.Command(ctx, false, argv...)
	}
	return exec.CommandContext(ctx, argv[0], argv[1:]...)
}

// journalArgs are journalctl's arguments. The fields with an underscore are
// journald's own and cannot be forged; INVOCATION_ID is what systemd, process
// 1, writes into its lines about a unit, so that one is believed from there
// only.
func journalArgs(unit, invocationID string, n int) []string {
	args := []string{"--quiet", "--no-pager", "--no-hostname", "--output=short", "--lines=" + strconv.Itoa(n)}
	if invocationID == "" {
		return append(args, "--unit="+unit)
	}
	return append(args, "_SYSTEMD_INVOCATION_ID="+invocationID, "+", "INVOCATION_ID="+invocationID, "_PID=1")
}

func lines(out string) []string {
	out = strings.TrimRight(out, "\n")
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}
