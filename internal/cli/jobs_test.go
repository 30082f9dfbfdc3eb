package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/systemd"
)

func TestStart(t *testing.T) {
	h := newHost(t, "a", "b")
	h.run(ExitDone, "start", "a", "b", "a")
	h.says(&h.out, "a: started (pid 42)\n", "b: started (pid 42)\n")
	h.says(&h.err, "a: starting l4d2@a.service\n", "b: starting l4d2@b.service\n")
	h.called("reset l4d2@a.service", "start l4d2@a.service", "reset l4d2@b.service", "start l4d2@b.service")

	h.run(ExitDone, "start", "a")
	h.says(&h.out, "a: already running (pid 42)\n")
	h.called()
}

// Who may start servers need not be allowed to reset them.
func TestStartWithoutReset(t *testing.T) {
	h := newHost(t, "a")
	h.systemd.on["reset"] = func(context.Context, *systemd.Unit) error { return systemd.ErrDenied }
	h.run(ExitDone, "start", "a")
	h.called("reset l4d2@a.service", "start l4d2@a.service")
}

func TestUnknownInstanceQueuesNothing(t *testing.T) {
	for _, verb := range []string{"start", "stop", "restart"} {
		h := newHost(t, "a")
		h.run(ExitFailed, verb, "a", "nope", "nor-this")
		h.says(&h.err,
			"l4d2ctl: "+verb+": nope: no such instance\nl4d2ctl: hint: make it with: l4d2ctl init nope SPEC\n",
			"l4d2ctl: "+verb+": nor-this: no such instance\n")
		h.called()
	}
}

func TestHalfDeletedInstanceQueuesNothing(t *testing.T) {
	h := newHost(t, "a")
	must(t, unix.Rename(h.layout.Instance("a"), h.layout.Instances()+"/.a.deleted"))
	h.run(ExitFailed, "start", "a")
	h.says(&h.err, "l4d2ctl: start: a: its removal was interrupted\nl4d2ctl: hint: l4d2ctl delete finishes it\n")
	h.called()
	h.run(ExitDone, "delete", "a")
	h.there("a", false)
}

// One of two fails: both are tried, and both are reported.
func TestStartFails(t *testing.T) {
	h := newHost(t, "a", "b")
	h.systemd.journal = []string{"line 1", "line 2"}
	h.systemd.on["start"] = func(_ context.Context, u *systemd.Unit) error {
		up(u)
		if u.Name == "l4d2@b.service" {
			return nil
		}
		u.ActiveState, u.SubState, u.Result = "activating", "auto-restart", "exit-code"
		u.ExecMainCode, u.ExecMainStatus = 1, 127
		return &systemd.JobError{Unit: u.Name, Verb: "start", Result: "failed"}
	}
	h.run(ExitFailed, "start", "a", "b")
	h.says(&h.out, "b: started")
	h.says(&h.err,
		"l4d2ctl: start: a: start l4d2@a.service: the unit failed: result exit-code: the main process exited with 127\n"+
			"    line 1\n    line 2\n"+
			"l4d2ctl: hint: more: systemctl status l4d2@a\n"+
			"l4d2ctl: hint: systemd goes on trying; this ends it: l4d2ctl stop a\n")
	if h.systemd.run != "ab01" {
		t.Errorf("journal of run %q, want that of the start", h.systemd.run)
	}
}

// The main process ended as it should; the helper after it did not.
func TestExitOfMainProcessIsNotBlamed(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	h.systemd.on["stop"] = func(_ context.Context, u *systemd.Unit) error {
		u.ActiveState, u.Result, u.ExecMainCode, u.ExecMainStatus = "failed", "exit-code", 2, 2
		return nil
	}
	h.run(ExitFailed, "stop", "a")
	h.says(&h.err, "l4d2ctl: stop: a: l4d2@a.service ended, but not well: result exit-code\n")
}

// An assertion that is not met means that there was no run: the invocation is
// an earlier one's.
func TestStartFailsBeforeARun(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", func(u *systemd.Unit) { u.InvocationID = "0f" })
	h.systemd.on["start"] = func(_ context.Context, u *systemd.Unit) error {
		return &systemd.JobError{Unit: u.Name, Verb: "start", Result: "assert"}
	}
	h.systemd.run = "unset"
	h.run(ExitFailed, "start", "a")
	if h.systemd.run != "" {
		t.Errorf("journal of run %q, want any run", h.systemd.run)
	}
	h.says(&h.err, "(nothing in the journal that you may read)")
}

func TestStartedAndGone(t *testing.T) {
	h := newHost(t, "a")
	h.systemd.on["start"] = func(_ context.Context, u *systemd.Unit) error {
		u.ActiveState, u.Result = "failed", "core-dump"
		u.ExecMainCode, u.ExecMainStatus = 3, 11
		return nil
	}
	h.run(ExitFailed, "start", "a")
	h.says(&h.err, "l4d2@a.service started, but it is failed now: result core-dump: the main process dumped core on signal 11")
	h.saysNot(&h.out, "started")
}

func TestErrorsOfSystemd(t *testing.T) {
	h := newHost(t, "a")
	h.systemd.on["start"] = func(context.Context, *systemd.Unit) error { return fmt.Errorf("start: %w", systemd.ErrNoUnit) }
	h.run(ExitFailed, "start", "a")
	h.says(&h.err, "no such unit is installed", "hint: l4d2@.service comes with the package l4d2-host")

	h.systemd.on["start"] = func(context.Context, *systemd.Unit) error { return systemd.ErrDenied }
	h.run(ExitFailed, "start", "a")
	h.says(&h.err, "l4d2ctl: start: a: access denied: needs root or a polkit rule: try sudo\n")

	h.systemd = nil
	h.run(ExitFailed, "start", "a")
	h.says(&h.err, "l4d2ctl: start: systemd is not running on this machine")
}

func TestInterrupted(t *testing.T) {
	for _, verb := range []string{"start", "stop", "restart", "delete"} {
		h := newHost(t, "a")
		if verb != "start" {
			h.set("a", up)
		}
		job := verb
		if verb == "delete" {
			job = "stop"
		}
		ctx, interrupt := context.WithCancel(context.Background())
		h.systemd.on[job] = func(ctx context.Context, u *systemd.Unit) error {
			interrupt()
			u.ActiveState, u.SubState = "activating", "start-pre"
			return fmt.Errorf("interrupted: %w", ctx.Err())
		}
		h.runIn(ctx, ExitInterrupted, verb, "a")
		h.says(&h.err, "the unit is activating (start-pre)\n", "see: systemctl status l4d2@a\n")
		h.there("a", true)
	}
}

func TestStop(t *testing.T) {
	h := newHost(t, "a", "b", "c")
	h.set("a", up)
	h.set("c", func(u *systemd.Unit) { u.ActiveState, u.Result = "failed", "exit-code" })
	h.run(ExitDone, "stop", "a", "b", "c")
	h.says(&h.out, "a: stopped\n", "b: already stopped\n", "c: already stopped (its last run failed: exit-code)\n")
	h.says(&h.err, "a: stopping l4d2@a.service\n")
	h.called("stop l4d2@a.service")
}

func TestStopLeavesMount(t *testing.T) {
	h := newHost(t, "a")
	must(t, unix.Mount("none", h.layout.Merged("a"), "tmpfs", 0, ""))
	defer unix.Unmount(h.layout.Merged("a"), 0)
	h.set("a", up)
	for range 2 { // the second time, nothing is left to stop
		h.run(ExitFailed, "stop", "a")
		h.says(&h.err, "a: stopped, but "+h.layout.Merged("a")+" is still mounted\n", "unmount a\n")
	}
	// The kernel lists the mount by its real path.
	link := t.TempDir() + "/link"
	must(t, unix.Symlink(h.layout.Root(), link))
	h.run(ExitFailed, "--root", link, "stop", "a")
	h.says(&h.err, "is still mounted")
}

func TestRestart(t *testing.T) {
	h := newHost(t, "a", "b")
	h.set("a", up)
	h.run(ExitDone, "restart", "a", "b")
	h.says(&h.out, "a: restarted", "b: started")
	h.says(&h.err, "a: restarting l4d2@a.service\n", "b: not running: starting l4d2@b.service\n")
	h.called("reset l4d2@a.service", "restart l4d2@a.service", "reset l4d2@b.service", "start l4d2@b.service")
}

// The host's unit of the same name is not the one of an image under --root.
func TestUnitOfAnotherRoot(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	h.set("a", func(u *systemd.Unit) { u.EnvironmentFiles = []string{"/var/lib/l4d2/instances/a/instance.env"} })
	for _, verb := range []string{"start", "stop", "restart"} {
		h.run(ExitFailed, verb, "a")
		h.says(&h.err, "runs with /var/lib/l4d2/instances/a/instance.env, not with the instance in "+h.layout.Instance("a"))
	}
	h.run(ExitDone, "list")
	h.says(&h.out, "unknown")
	h.run(ExitDone, "delete", "a")
	h.says(&h.err, "l4d2@a.service is not of this root: left alone")
	h.there("a", false)
	h.called()
}

func TestUnitOfThisRoot(t *testing.T) {
	h := newHost(t, "a")
	link := t.TempDir() + "/link"
	must(t, unix.Symlink(h.layout.Root(), link))
	for _, root := range []string{h.layout.Root(), link} {
		h.set("a", down)
		h.set("a", func(u *systemd.Unit) {
			u.EnvironmentFiles = []string{root + "/instances/a/instance.env", "/etc/default/l4d2"}
		})
		h.run(ExitDone, "start", "a")
	}
}

func TestResultThatCannotBeWritten(t *testing.T) {
	h := newHost(t, "a")
	h.program.Out = fullDisk{}
	h.run(ExitFailed, "list", "--json")
	h.says(&h.err, "l4d2ctl: list: write the result: ")
}

func TestUnitsUnanswered(t *testing.T) {
	h := newHost(t, "a")
	h.systemd.denied = errors.New("no answer")
	for _, verb := range []string{"start", "stop", "restart", "delete"} {
		h.run(ExitFailed, verb, "a")
		h.says(&h.err, "no answer")
	}
	h.there("a", true)
}
