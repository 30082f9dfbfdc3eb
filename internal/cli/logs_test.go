package cli

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// journalctl makes it a shell script.
func (h *host) journalctl(script string) {
	h.t.Helper()
	dir := h.t.TempDir()
	must(h.t, os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+script), 0o755))
	h.t.(interface{ Setenv(key, value string) }).Setenv("PATH", dir)
}

func TestLogs(t *testing.T) {
	h := newHost(t, "a")
	h.journalctl(`echo "$*"; echo said >&2`)
	const always = "--no-pager --no-hostname --output=short --unit=l4d2@a.service"
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, " --lines=100"},
		{[]string{"-n", "5"}, " --lines=5"},
		{[]string{"-n0"}, " --lines=0"},
		{[]string{"--since", "1h ago"}, " --since=1h ago"},
		{[]string{"--since=-1h", "-n7"}, " --lines=7 --since=-1h"},
		{[]string{"-f"}, " --lines=100 --follow"},
		{[]string{"-f", "--since=today"}, " --lines=all --since=today --follow"},
	} {
		h.run(ExitDone, append([]string{"logs", "a"}, tt.args...)...)
		if got, want := h.out.String(), always+tt.want+"\n"; got != want {
			t.Errorf("%q: got %q, want %q", tt.args, got, want)
		}
		h.says(&h.err, "said\n")
	}
	h.run(ExitUsage, "logs", "a", "-n", "-1")
}

func TestLogsEnd(t *testing.T) {
	h := newHost(t, "a")
	h.run(ExitFailed, "logs", "b")
	h.says(&h.err, "b: no such instance", "hint: the journal may have lines of one that was deleted: journalctl -u l4d2@b.service\n")

	h.journalctl(`echo "no such time" >&2; exit 1`)
	h.run(ExitFailed, "logs", "a", "--since", "never")
	h.says(&h.err, "no such time\n", "l4d2ctl: logs: a: journalctl: exit status 1\n")

	h.journalctl(`kill -PIPE $$`) // the reader has gone
	h.run(ExitDone, "logs", "a")

	// Ctrl-C is how it ends.
	ready := filepath.Join(t.TempDir(), "ready")
	h.journalctl(`trap 'echo interrupted; exit 0' INT; : >` + ready + `; while :; do sleep 0.05; done`)
	for _, args := range [][]string{{"-f"}, {}} {
		ctx, interrupt := context.WithCancel(context.Background())
		go func() {
			for {
				if os.Remove(ready) == nil {
					interrupt()
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		h.runIn(ctx, ExitInterrupted, append([]string{"logs", "a"}, args...)...)
		h.says(&h.out, "interrupted\n")
		if len(args) > 0 && h.err.Len() > 0 {
			t.Errorf("stderr: %s", &h.err)
		}
	}
}
