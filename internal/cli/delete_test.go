package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/systemd"
)

// mount puts a file system where the instance's overlay would be.
func (h *host) mount(n instance.Name) {
	h.t.Helper()
	must(h.t, unix.Mount("none", h.layout.Merged(n), "tmpfs", 0, ""))
	h.t.Cleanup(func() {
		if err := unix.Unmount(h.layout.Merged(n), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			h.t.Error(err)
		}
	})
}

// helper makes l4d2-overlay a shell script.
func (h *host) helper(script string) {
	h.t.Helper()
	must(h.t, os.WriteFile(h.program.Helper, []byte("#!/bin/sh\n"+script), 0o755))
}

const unmounting = `echo "asked: $*" >&2; PATH=/usr/bin:/bin umount "$L4D2_ROOT/runtime/$2/merged"`

func TestDelete(t *testing.T) {
	h := newHost(t, "a", "b")
	h.set("a", up)
	h.set("a", func(u *systemd.Unit) { u.Enabled = true })
	h.run(ExitDone, "delete", "a")
	h.says(&h.out, "a: deleted\n")
	h.says(&h.err,
		"a: stopping l4d2@a.service\na: disabling l4d2@a.service\n"+
			"a: removing "+h.layout.Instance("a")+" and "+h.layout.Runtime("a")+"\n")
	if got := strings.Join(h.systemd.calls, ", "); got != "stop l4d2@a.service, disable l4d2@a.service, reset l4d2@a.service" {
		t.Errorf("systemd was asked for %s", got)
	}
	h.there("a", false)
	h.there("b", true)

	h.run(ExitDone, "delete", "a")
	h.says(&h.out, "a: no such instance, nothing to delete\n")
}

func TestDeleteBrokenSpec(t *testing.T) {
	h := newHost(t, "a")
	must(t, os.WriteFile(h.layout.Spec("a"), []byte("port: x\n"), 0o640))
	h.run(ExitDone, "delete", "a")
	h.there("a", false)
}

func TestDeleteClearsLeftOverMount(t *testing.T) {
	h := newHost(t, "a")
	h.mount("a")
	h.helper(unmounting)
	h.run(ExitDone, "delete", "a")
	h.says(&h.err, "a: unmounting what is left at "+h.layout.Merged("a"), "asked: unmount a\n")
	h.there("a", false)
}

func TestDeleteRemovesNothing(t *testing.T) {
	failing := func(context.Context, *systemd.Unit) error { return errors.New("it will not") }
	for name, c := range map[string]struct {
		prepare func(*host)
		want    []string
	}{
		"the job fails": {
			func(h *host) { h.set("a", up); h.systemd.on["stop"] = failing },
			[]string{"it will not"}},
		"it runs again": {
			func(h *host) {
				h.set("a", up)
				h.systemd.on["stop"] = func(context.Context, *systemd.Unit) error { return nil }
			},
			[]string{"l4d2@a.service was stopped, but it is active again"}},
		"disabling fails": {
			func(h *host) {
				h.set("a", func(u *systemd.Unit) { u.Enabled = true })
				h.systemd.on["disable"] = failing
			},
			[]string{"it will not"}},
		"the helper fails": {
			func(h *host) { h.mount("a"); h.helper("echo held by pid 1 >&2; exit 1") },
			[]string{"held by pid 1\n", "unmount " /* and the path */, "exit status 1", "end the processes named above"}},
		"the helper lies": {
			func(h *host) { h.mount("a"); h.helper("exit 0") },
			[]string{"something is still mounted at "}},
		"no helper": {
			func(h *host) { h.mount("a") },
			[]string{"no such file"}},
		"mounted, and no systemd": {
			func(h *host) { h.mount("a"); h.helper(unmounting); h.systemd = nil },
			[]string{"is mounted, and systemd is not running", "unmount it first: L4D2_ROOT="}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, "a")
			c.prepare(h)
			h.run(ExitFailed, "delete", "--yes", "a")
			h.says(&h.err, append(c.want, "l4d2ctl: delete: a: ", "hint: nothing of a has been removed\n")...)
			h.saysNot(&h.out, "deleted")
			h.there("a", true)
		})
	}
}

func TestDeleteWithoutSystemd(t *testing.T) {
	h := newHost(t, "a")
	h.systemd = nil
	h.run(ExitDone, "delete", "a")
	h.says(&h.err, "systemd is not running: nothing to stop")
	h.there("a", false)
}

// A unit that ends failed has still ended; only the mount counts.
func TestDeleteOfUnitThatEndsFailed(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	h.systemd.on["stop"] = func(_ context.Context, u *systemd.Unit) error {
		u.ActiveState, u.Result = "failed", "timeout"
		return nil
	}
	h.run(ExitDone, "delete", "a")
	h.there("a", false)
}

func TestDeleteAsks(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "yes": true, "n\n": false, "\n": false, "": false, "yea\n": false} {
		h := newHost(t, "a")
		s := &session{Program: &h.program, output: &output{out: &h.out, err: &h.err}, ctx: context.Background(), layout: h.layout}
		err := s.ask(strings.NewReader(answer), "a")
		if (err == nil) != want {
			t.Errorf("answer %q: got %v, want it to go on: %v", answer, err, want)
		}
		h.says(&h.err, h.layout.Upper("a"), "[y/N]")
	}
}

// Waiting for an answer must not outlast Ctrl-C.
func TestDeleteAskInterrupted(t *testing.T) {
	h := newHost(t, "a")
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	s := &session{Program: &h.program, output: &output{out: &bytes.Buffer{}, err: &h.err}, ctx: ctx, layout: h.layout}
	silent, typing, err := os.Pipe()
	must(t, err)
	defer typing.Close()
	defer silent.Close()
	if err := s.ask(silent, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyATerminalIsOne(t *testing.T) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	must(t, err)
	defer null.Close()
	if isTerminal(null) {
		t.Error("/dev/null is no terminal")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	defer terminal.Close()
	if !isTerminal(terminal) {
		t.Error("/dev/ptmx is a terminal")
	}
}
