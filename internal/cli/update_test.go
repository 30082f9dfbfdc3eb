package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

// publish makes release n, of a build, the current one.
func (h *host) publish(n instance.Name, build string) {
	h.t.Helper()
	h.makeCurrent(build, n)
}

// updates lets the unit's job do something, as long as it likes.
func (h *host) updates(do func(ctx context.Context, u *systemd.Unit) error) {
	h.systemd.on["start"] = do
}

func TestUpdate(t *testing.T) {
	h := newHost(t)
	must(t, os.WriteFile(filepath.Join(h.layout.Installation(), "srcds_linux"), nil, 0o755))
	h.run(ExitFailed, "update")
	h.says(&h.err, "the installation is a plain one", "l4d2ctl: hint: make it the first release, without copying it, with: l4d2ctl adopt\n")
	h.called()

	must(t, os.RemoveAll(h.layout.Installation()))
	h.updates(func(context.Context, *systemd.Unit) error { h.publish("2026-11-25", "7"); return nil })
	h.run(ExitDone, "update")
	h.called("reset l4d2-update.service", "start l4d2-update.service")
	if h.out.String() != "release 2026-11-25, build 7, is current\n" {
		t.Errorf("%q", h.out.String())
	}
	h.run(ExitDone, "update", "--json")
	h.says(&h.out, `"release": "2026-11-25"`, `"build": "7"`, `"changed": false`)
	h.updates(func(context.Context, *systemd.Unit) error { return nil })
	h.run(ExitDone, "update")
	h.says(&h.out, "up to date: release 2026-11-25, build 7,\n")
	h.updates(func(context.Context, *systemd.Unit) error { h.publish("2026-11-25.2", ""); return nil })
	h.run(ExitDone, "update")
	h.says(&h.out, "release 2026-11-25.2 is current\n")
	h.says(&h.err, "running servers keep theirs until their next start\n")
}

func TestUpdateFails(t *testing.T) {
	h := newHost(t)
	h.publish("a", "7")
	h.systemd.journal = []string{"the disk is full", "l4d2-update: hint: make room"}
	h.updates(func(_ context.Context, u *systemd.Unit) error {
		u.InvocationID = "ab02"
		return &systemd.JobError{Unit: u.Name, Verb: "start", Result: "failed"}
	})
	h.run(ExitFailed, "update")
	h.says(&h.err, "l4d2ctl: update: start l4d2-update.service: the unit failed\n    the disk is full\n    l4d2-update: hint: make room\nl4d2ctl: hint: more: journalctl -u l4d2-update\n")
	if h.systemd.run != "ab02" || h.out.Len() > 0 {
		t.Errorf("run %s; %s", h.systemd.run, h.out.String())
	}
	h.updates(func(_ context.Context, u *systemd.Unit) error {
		return &systemd.JobError{Unit: u.Name, Verb: "start", Result: "canceled"}
	})
	h.run(ExitFailed, "update")
	h.says(&h.err, "someone else cancelled the job\n")
	h.systemd.calls = nil
	h.systemd.units[updateUnit] = systemd.Unit{LoadState: "not-found"}
	h.run(ExitFailed, "update")
	h.says(&h.err, "no such unit is installed", "comes with the package l4d2-host")
	h.called()
}

// Progress as lines, each 10 percent and each new phase once; and Ctrl-C leaves
// the unit alone.
func TestUpdateFollowed(t *testing.T) {
	h := newHost(t)
	h.publish("a", "7")
	set := func(text string) {
		h.systemd.mu.Lock()
		h.systemd.units[updateUnit] = systemd.Unit{LoadState: "loaded", ActiveState: "activating", StatusText: text}
		h.systemd.mu.Unlock()
		time.Sleep(2 * followEvery)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	release := make(chan struct{})
	defer close(release)
	h.updates(func(ctx context.Context, _ *systemd.Unit) error {
		for _, text := range []string{"preparing", "downloading: 1.00% (1 of 100 bytes)", "downloading: 2.00% (2 of 100 bytes)", "downloading: 11.00% (11 of 100 bytes)", "evil\x1b[2J"} {
			set(text)
		}
		cancel()
		<-release
		return ctx.Err()
	})
	h.runIn(ctx, ExitInterrupted, "update")
	got := h.err.String()
	for _, line := range []string{"preparing\ndownloading: 1.00% (1 of 100 bytes)\ndownloading: 11.00% (11 of 100 bytes)\nevil\\x1b[2J\n",
		"the update goes on by itself", "l4d2ctl: hint: this ends it: l4d2ctl update --cancel\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("lacks %q:\n%s", line, got)
		}
	}
	h.called("reset l4d2-update.service", "start l4d2-update.service")
}

func TestUpdateCancel(t *testing.T) {
	h := newHost(t)
	h.run(ExitDone, "update", "--cancel")
	h.says(&h.out, "no update is running\n")
	h.called()
	h.systemd.units[updateUnit] = systemd.Unit{LoadState: "loaded", ActiveState: "activating"}
	h.run(ExitDone, "update", "--cancel")
	h.says(&h.out, "cancelled; the next update goes on with what was downloaded\n")
	h.called("stop l4d2-update.service")
	if _, err := os.Lstat(filepath.Join(h.layout.Root(), "releases")); err == nil {
		t.Error("something was made")
	}
	h.systemd.units[updateUnit] = systemd.Unit{LoadState: "loaded", ActiveState: "activating"}
	h.systemd.on["stop"] = func(_ context.Context, u *systemd.Unit) error { h.publish("a", "7"); return nil }
	h.run(ExitDone, "update", "--cancel")
	h.says(&h.out, "too late: release a is current\n")
}

// Who runs on the release before is restarted, and nobody else.
func TestUpdateApplies(t *testing.T) {
	h := newHost(t, "old", "new", "stopped")
	h.publish("a", "7")
	for _, n := range []instance.Name{"old", "new", "stopped"} {
		if n == "new" {
			h.publish("b", "8")
		}
		h.writeStart(n)
		if n == "stopped" {
			continue
		}
		h.set(n, up)
		must(t, unix.Mount("l4d2:"+string(n), h.layout.Merged(n), "overlay", 0, "lowerdir="+h.layout.ReleaseTree("a")+":"+h.layout.Overlays()))
		t.Cleanup(func() { unix.Unmount(h.layout.Merged(n), unix.MNT_DETACH) })
	}
	h.systemd.on["restart"] = func(context.Context, *systemd.Unit) error { return errors.New("found") }
	h.run(ExitFailed, "restart", "--when-empty", "--in-unit", "--outdated", "--within", "1ms", "--force")
	if names := h.rollState().Servers; len(names) != 1 || names[0].Name != "old" {
		t.Errorf("found %+v", names)
	}
	h.rollEnds(roll.Done, roll.Server{Name: "old", State: roll.Restarted})
	h.systemd.calls = nil
	h.run(ExitDone, "update", "--apply", "--within", "6h", "--force")
	h.says(&h.out, "up to date: release b", "old: restarted\n")
	c := h.systemd.transient.Command
	if got := strings.Join(c[3:], " "); got != "restart --when-empty --in-unit --at-once 1 --within 6h0m0s --force --outdated --" {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"Requires", "After"} {
		if got := fmt.Sprint(h.systemd.transient.Settings[name]); got != "[l4d2-update.service]" {
			t.Errorf("%s=%s", name, got)
		}
	}
	h.called("reset l4d2-update.service", "reset l4d2-restart.service", "transient l4d2-restart.service")
	h.run(ExitDone, "update", "--apply", "--json")
	h.says(&h.out, `"changed": false`, `"outcome": "done"`)

	// The unit finds out whom it is for.
	h.rollEnds(roll.Done)
	h.run(ExitDone, "update", "--apply", "--json")
	h.says(&h.err, "nothing to restart\n")
	h.says(&h.out, `"restart": null`)

	// An update that fails restarts none.
	h.systemd.calls = nil
	h.systemd.on["transient"] = func(_ context.Context, u *systemd.Unit) error {
		return &systemd.JobError{Unit: u.Name, Verb: "start", Result: "dependency"}
	}
	h.run(ExitFailed, "update", "--apply")
	h.says(&h.err, "update: start l4d2-update.service: the unit failed\n", "no server is restarted\n")

	// One that is under way is not joined by another one's restarts.
	h.systemd.on["transient"] = func(context.Context, *systemd.Unit) error { return systemd.ErrExists }
	h.run(ExitFailed, "update", "--apply")
	h.says(&h.err, "another rolling restart is under way\n")

	// What the roll before left is not taken for this one's.
	h.systemd.on["transient"] = func(context.Context, *systemd.Unit) error { return nil }
	must(t, os.WriteFile(filepath.Join(h.program.RollDir, rollState), []byte(`{"begun": "2026-01-01T00:00:00Z", "outcome": "done"}`), 0o644))
	h.run(ExitFailed, "update", "--apply")
	h.says(&h.err, "the rolling restart did not begin\n")

	h.run(ExitUsage, "update", "--within", "1h")
	h.says(&h.err, "go with --apply")
	h.run(ExitUsage, "update", "--apply", "--cancel")
	h.program.Superuser = false
	h.run(ExitFailed, "update", "--apply")
	h.says(&h.err, "must be root")
}

// On a terminal it is one line, drawn anew, and gone when something else is said.
func TestUpdateBar(t *testing.T) {
	ours, programs := terminal(t)
	u := &updateProgress{session: &session{Program: &Program{Err: programs}, output: &output{err: programs}}}
	u.status("preparing")
	u.status("")
	u.status("downloading: 10.00% (10000 of 100000 bytes)")
	got := until(t, ours, "preparing\r\n", "downloading", "10%", "B/s")
	if strings.Contains(got, "downloading: 10.00%") {
		t.Errorf("a line and no bar: %q", got)
	}
	u.status("downloading: 60.00% (60000 of 100000 bytes)")
	until(t, ours, "\r", "downloading", "60%")
	// Another phase is another bar; without bytes, percents.
	u.status("verifying: 70.00% (70000 of 100000 bytes)")
	until(t, ours, "verifying", "70%")
	u.status("verifying: 5.00%")
	if got := until(t, ours, "verifying", "5%"); strings.Contains(got, "B/s") {
		t.Errorf("%q", got)
	}
	u.status("committing\x1b[2J")
	until(t, ours, " \r"+`committing\x1b[2J`+"\r\n") // behind the blanks that clear the bar
}
