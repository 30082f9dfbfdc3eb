package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
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
	if os.Geteuid() == 0 {
		// The last words of a process that just died may still be in
		// journald's socket. Best effort: lines that come late are missing.
		sync, done := context.WithTimeout(ctx, syncLimit)
		_ = exec.CommandContext(sync, "journalctl", "--sync").Run()
		done()
	}
	ctx, done := context.WithTimeout(ctx, journalLimit)
	defer done()
	out, err := exec.CommandContext(ctx, "journalctl", journalArgs(unit, invocationID, n)...).Output()
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
