// Package packagetest installs, upgrades and removes the packages on booted
// Debian systems, in every order and state that dpkg and rpm know, and looks at
// what that does to servers and their data.
package packagetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
)

// limit is for whatever is waited for: far longer than it takes.
const limit = 2 * time.Minute

// host is a booted system in one step of the story.
type host struct {
	*rig.Rig
	t   *testing.T
	ctx context.Context
}

// step is one thing that an administrator does, and what must come of it. Each
// begins where the one before ended.
type step struct {
	name string
	do   func(h *host)
}

// TestPackages runs all steps on every distribution, side by side.
func TestPackages(t *testing.T) {
	machine.NeedRoot(t)
	for _, dist := range machine.Distributions {
		t.Run(string(dist), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
			defer cancel()
			r, err := rig.Bare(ctx, machine.Options{Dist: dist, Log: os.Stderr, BindReadOnly: []string{"/usr:" + hostUsr}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					text, _ := r.Journal(context.Background(), "--lines=80")
					t.Logf("the end of the journal:\n%s", text)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			(&host{r, t, ctx}).prepare()
			for _, s := range slices.Concat(debSteps, rpmSteps) {
				if !t.Run(s.name, func(t *testing.T) { s.do(&host{r, t, ctx}) }) {
					t.Fatalf("%s failed: the steps that follow build on it", s.name)
				}
			}
		})
	}
}

// The packages on the machine.
const (
	newDeb = "/root/new.deb"
	oldDeb = "/root/old.deb"
	newRPM = "/root/new.rpm"
	oldRPM = "/root/old.rpm"
)

func (h *host) prepare() {
	h.t.Helper()
	for inside, pattern := range map[string]string{
		newDeb: "dist/*.deb", oldDeb: "build/previous/*.deb",
		newRPM: "dist/*.rpm", oldRPM: "build/previous/*.rpm",
	} {
		found, err := filepath.Glob(h.Module(pattern))
		if err != nil || len(found) != 1 {
			h.t.Fatalf("%d files match %s, want one: run make deb rpm previous", len(found), pattern)
		}
		h.must(h.Push(found[0], inside))
	}
	// The machine is thrown away: what it writes need not reach the disk.
	h.must(h.WriteFile("/etc/dpkg/dpkg.cfg.d/unsafe", []byte("force-unsafe-io\n"), 0o644))
	h.must(h.WriteFile("/usr/local/bin/rpm", []byte(hostRPM), 0o755))
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// sh runs a script that must succeed, and returns what it printed.
func (h *host) sh(format string, args ...any) string {
	h.t.Helper()
	out, err := h.Sh(h.ctx, fmt.Sprintf(format, args...))
	h.must(err)
	return out
}

// fails runs a script that must fail and print each of want.
func (h *host) fails(script string, want ...string) {
	h.t.Helper()
	res, err := h.Shell(h.ctx, script)
	h.must(err)
	if res.Code == 0 {
		h.t.Errorf("%s succeeded: %s", script, res.Stdout)
	}
	h.wantIn(script, res.Stdout+res.Stderr, want...)
}

func (h *host) wantIn(what, text string, want ...string) {
	h.t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			h.t.Errorf("%s: lacks %q:\n%s", what, w, text)
		}
	}
}

// want fails the test unless a script prints exactly this.
func (h *host) want(want, format string, args ...any) {
	h.t.Helper()
	if got := h.sh(format, args...); got != want {
		h.t.Errorf("%s: printed %q, want %q", fmt.Sprintf(format, args...), got, want)
	}
}

// The two servers: one that starts at boot, and one that was started by hand.
var ports = map[string]int{"enabled": 28000, "byhand": 28001}

const helper = "/usr/libexec/l4d2-host/l4d2-overlay"

// makeServers makes both, with a file each that they wrote.
func (h *host) makeServers() {
	h.t.Helper()
	h.must(h.InstallGame(h.ctx))
	for name, port := range ports {
		h.must(h.WriteFile("/root/"+name+".yaml", fmt.Appendf(nil, "port: %d\narguments: [+map c1m1_hotel]\n", port), 0o644))
		h.sh("l4d2ctl init %s /root/%[1]s.yaml", name)
	}
	h.sh("systemctl enable l4d2@enabled")
}

// answers waits until the server runs and answers.
func (h *host) answers(name string) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	_, err := h.Ask(ctx, ports[name])
	h.must(err)
}

// pids returns the main process of each server that runs.
func (h *host) pids() map[string]int {
	h.t.Helper()
	pids := map[string]int{}
	for name := range ports {
		pid, err := strconv.Atoi(h.sh("systemctl show -P MainPID l4d2@%s", name))
		h.must(err)
		if pid != 0 {
			pids[name] = pid
		}
	}
	return pids
}

// keepsRunning does something to which both servers are to stay deaf.
func (h *host) keepsRunning(f func()) {
	h.t.Helper()
	for name := range ports {
		h.answers(name)
	}
	before := h.pids()
	f()
	for name, pid := range h.pids() {
		if pid != before[name] {
			h.t.Errorf("%s was restarted: pid %d before, %d after", name, before[name], pid)
		}
		h.want("1", "grep -c ' l4d2:%s ' /proc/1/mountinfo", name)
		h.answers(name)
	}
	if after := h.pids(); len(after) != len(before) {
		h.t.Errorf("running before: %v, after: %v", before, after)
	}
	h.want("no", "systemctl show -P NeedDaemonReload l4d2@enabled")
}

// stopsByHelper stops a server, with the helper of the version that is to be
// installed now, and starts it again.
func (h *host) stopsByHelper(version string) {
	h.t.Helper()
	const unit = "l4d2@enabled" // the target keeps it loaded, and with it the result
	h.want("l4d2-overlay "+version, "%s --version", helper)
	h.sh("systemctl stop %s", unit)
	h.want("success", "systemctl show -P Result %s", unit)
	h.wantIn("the unit's last step", h.sh("systemctl show -P ExecStopPost %s", unit),
		"path="+helper, "code=exited", "status=0")
	h.wantGone("enabled")
	h.sh("systemctl start %s", unit)
	h.answers("enabled")
}

// wantGone fails the test if a server still runs or is mounted.
func (h *host) wantGone(name string) {
	h.t.Helper()
	h.want("", "grep -l ' l4d2:%s ' /proc/[0-9]*/mountinfo 2>/dev/null || true", name)
	h.want("", "ls -A /var/lib/l4d2/runtime/%s/merged", name)
	h.want("", "pgrep -f '[s]rcds_linux.*-port %d' || true", ports[name])
}

// note has each server write something, and kept fails the test when that, or
// what was decided about the server, is lost.
func (h *host) note() {
	h.t.Helper()
	for name := range ports {
		h.sh("echo precious >/var/lib/l4d2/runtime/%s/merged/left4dead2/note", name)
	}
}

func (h *host) kept() {
	h.t.Helper()
	for name := range ports {
		h.want("precious", "cat /var/lib/l4d2/runtime/%s/upper/left4dead2/note", name)
		h.sh("cmp /root/%s.yaml /var/lib/l4d2/instances/%[1]s/instance.yaml", name)
	}
	h.sh("test -x /var/lib/l4d2/installation/srcds_linux")
}

// hold has a process sit in a server's tree, so that it cannot be unmounted; the
// function that it returns ends that.
func (h *host) hold(name string) (pid string, end func()) {
	h.t.Helper()
	pid = h.sh("cd /var/lib/l4d2/runtime/%s/merged && (setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo $!)", name)
	return pid, func() {
		h.t.Helper()
		h.sh("kill %s && while [ -e /proc/%[1]s/cwd ]; do sleep 0.01; done", pid)
	}
}

// inChroot runs a script in a chroot of the machine's own root, with an empty
// /run and nothing mounted, as when an image is built.
func (h *host) inChroot(script string) {
	h.t.Helper()
	h.sh("%s; code=0; chroot /mnt /bin/sh -c '%s' || code=$?; %s; exit $code", mountRoot, script, unmountRoot)
}

const (
	mountRoot   = "mount --bind / /mnt && mount -t tmpfs none /mnt/run"
	unmountRoot = "umount /mnt/run /mnt"
)

// laidOut fails the test unless the package's user and directories are there.
func (h *host) laidOut() {
	h.t.Helper()
	h.wantIn("the user", h.sh("getent passwd l4d2"), ":Left 4 Dead 2 servers:/var/lib/l4d2:/usr/sbin/nologin")
	h.want(`/var/lib/l4d2 755 root:root
/var/lib/l4d2/backups 700 root:root
/var/lib/l4d2/installation 755 l4d2:l4d2
/var/lib/l4d2/instances 750 root:l4d2
/var/lib/l4d2/overlays 755 root:root
/var/lib/l4d2/releases 755 root:root
/var/lib/l4d2/runtime 755 root:root
/var/lib/l4d2/steam 700 l4d2:l4d2`,
		"stat -c '%%n %%a %%U:%%G' /var/lib/l4d2 /var/lib/l4d2/*")
	h.want("enabled", "systemctl is-enabled l4d2.target")
	// RestartSteps= is systemd 254's
	h.sh("[ $(systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p') -lt 254 ] || test -e %s", dropIn)
}

const (
	dropIn = "/usr/lib/systemd/system/l4d2@.service.d/50-restart-backoff.conf"
	atBoot = "/etc/systemd/system/multi-user.target.wants/l4d2.target"
	wants  = "/etc/systemd/system/l4d2.target.wants"
)
