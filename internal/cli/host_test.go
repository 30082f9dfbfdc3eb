package cli

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"l4d2-host/internal/ssh"
	"l4d2-host/internal/systemd"
)

// fakeSSH is an ssh that runs a script in place of the other machine's shell,
// which finds the command as $1.
func fakeSSH(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nfor last; do :; done\nset -- \"$last\"\n" + script + "\n"
	must(t, os.WriteFile(filepath.Join(dir, "ssh"), []byte(text), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestHostByBus(t *testing.T) {
	h := newHost(t)
	var asked []string
	h.program.ConnectTo = func(_ context.Context, host ssh.Host) (Manager, error) {
		asked = append(asked, host.String())
		return h.systemd, nil
	}
	h.program.Connect = func(context.Context) (Manager, error) { panic("this machine's systemd is asked") }
	// The instance is not one of this machine.
	h.run(ExitDone, "-H", "root@games", "start", "far")
	h.says(&h.out, "far: started (pid 42)\n")
	h.called("reset l4d2@far.service", "start l4d2@far.service")
	mount := escaped(h.layout.Merged("far")) + ".mount"
	h.systemd.units[mount] = systemd.Unit{Name: mount, LoadState: "loaded", ActiveState: "active"}
	h.run(ExitFailed, "stop", "far", "--host=root@games")
	h.says(&h.err, "far: stopped, but "+h.layout.Merged("far")+" is still mounted")
	h.systemd.calls = nil
	h.systemd.units[mount] = systemd.Unit{Name: mount, LoadState: "not-found", ActiveState: "inactive"}
	h.run(ExitDone, "restart", "-Hroot@games", "far")
	h.run(ExitDone, "stop", "--host", "root@games", "far")
	h.says(&h.out, "far: stopped\n")
	if want := slices.Repeat([]string{"root@games"}, 4); !slices.Equal(asked, want) {
		t.Errorf("asked %q", asked)
	}
}

// Whatever needs the other machine's files is done by l4d2ctl there.
func TestHostByItsOwnProgram(t *testing.T) {
	h := newHost(t)
	spec := filepath.Join(t.TempDir(), "it's.yaml")
	must(t, os.WriteFile(spec, []byte("port: 27015\n"), 0o600))
	for _, c := range []struct {
		args []string
		want string // what the other shell gets, and the input
	}{
		{[]string{"-H", "games", "list", "--json"}, "l4d2ctl list --json\n"},
		{[]string{"list", "--json", "--host=games"}, "l4d2ctl list --json\n"},
		{[]string{"delete", "-Hgames", "--yes", "a"}, "l4d2ctl delete --yes a\n"},
		{[]string{"--host", "games", "init", "a", "-"}, "l4d2ctl init a -\n"},
		{[]string{"--host", "games", "init", "a", spec}, "l4d2ctl init a -\nport: 27015\n"},
	} {
		fakeSSH(t, `echo "$1"; cat`)
		h.out.Reset()
		if code := h.program.Run(context.Background(), c.args); code != ExitDone || h.out.String() != c.want {
			t.Errorf("%q: exit %d, %q, want %q\n%s", c.args, code, &h.out, c.want, &h.err)
		}
	}
	for script, want := range map[string]int{
		"exit 1": ExitFailed, "exit 2": ExitUsage, "exit 130": ExitInterrupted, "exit 255": ExitFailed, "exit 127": ExitFailed,
	} {
		fakeSSH(t, script)
		if code := h.program.Run(context.Background(), []string{"-H", "games", "list"}); code != want {
			t.Errorf("%s: exit %d, want %d", script, code, want)
		}
	}
	h.says(&h.err, "l4d2ctl: hint: l4d2ctl has to be installed on games for this")
}

// What is wrong is not sent.
func TestHostWrongUsage(t *testing.T) {
	h := newHost(t)
	fakeSSH(t, "echo reached")
	for _, args := range [][]string{
		{"-H", "games"}, {"-H", "games", "list", "--xml"}, {"-H", "games", "start", "A"},
		{"-H", "-oProxyCommand=touch x", "list"}, {"-H", "a b", "list"}, {"--host=", "list"},
		{"delete", "-yHgames", "a"},
	} {
		h.out.Reset()
		if code := h.program.Run(context.Background(), args); code != ExitUsage || strings.Contains(h.out.String(), "reached") {
			t.Errorf("%q: exit %d: %s%s", args, code, &h.out, &h.err)
		}
	}
	if code := h.program.Run(context.Background(), []string{"-H", "games", "init", "a", "/nowhere.yaml"}); code != ExitFailed {
		t.Errorf("exit %d for a spec that is not there", code)
	}
}
