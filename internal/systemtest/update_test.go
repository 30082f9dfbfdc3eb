package systemtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"l4d2-host/internal/standin"
)

// updated is a system of its own whose game comes from the stand-in of steamcmd.
type updated struct {
	*host
	builds int
}

const (
	steamHome = "/var/lib/l4d2/steam"
	content   = steamHome + "/valve/content" // what the stand-in takes for Valve's
	staged    = "/var/lib/l4d2/releases/.staging"
	current   = "/var/lib/l4d2/installation"
)

// TestUpdate is the life of an installation that updates make: each part goes on
// from what the one before has left.
func TestUpdate(t *testing.T) {
	onOwn(t, func(h *host) {
		u := &updated{host: h}
		for _, part := range []func(){
			u.verified, u.plain, u.missing, u.first, u.sandboxed, u.running, u.nothingNew,
			u.killed, u.applied, u.cancelled, u.loggedIn, u.packaged, u.machineDown, u.diskFull,
		} {
			part()
		}
	})
}

// valve says what Valve has from now on: another build, and how its servers and
// programs behave.
func (u *updated) valve(settings ...string) {
	u.t.Helper()
	u.builds++
	u.sh("printf 'build %d\\n' >%s/left4dead2/news.txt", u.builds, content)
	u.behave(settings...)
}

// behave is valve for the build that there is.
func (u *updated) behave(settings ...string) {
	u.t.Helper()
	text := fmt.Sprintf("BUILD=%d\nANONYMOUS=windows\n%s\n", u.builds, strings.Join(settings, "\n"))
	u.must(u.WriteFile(steamHome+"/valve/settings", []byte(text), 0o644))
	u.sh("chown -R l4d2:l4d2 %s/valve", steamHome)
}

// conf writes update.conf.
func (u *updated) conf(lines ...string) {
	u.t.Helper()
	u.must(u.WriteFile("/etc/l4d2-host/update.conf", []byte(strings.Join(append(lines, "RETRY_DELAY=0", ""), "\n")), 0o644))
}

// update runs an update that succeeds, and returns what l4d2ctl printed.
func (u *updated) update() string {
	u.t.Helper()
	out := u.sh("l4d2ctl update")
	u.idle()
	return out
}

// idle wants nothing to be mounted nor staged.
func (u *updated) idle() {
	u.t.Helper()
	u.unmounted()
	u.sh("test ! -e %s", staged)
}

// unmounted wants the overlay to be gone from all mount namespaces.
func (u *updated) unmounted() {
	u.t.Helper()
	u.eventually("the update's overlay is gone", func() bool {
		return u.sh("grep -l ' l4d2-update ' /proc/[0-9]*/mountinfo 2>/dev/null || true") == ""
	})
}

// news is which build an instance, or the current release, has; the chain is
// read through an overlay, since the file need not lie in the topmost release.
func (u *updated) news(name string) string {
	u.t.Helper()
	return u.sh("cat %s/left4dead2/news.txt", merged(name))
}

func (u *updated) release() string {
	u.t.Helper()
	return u.sh("readlink %s", current)
}

// begin starts an update that hangs half-way, and waits until it does.
func (u *updated) begin() {
	u.t.Helper()
	u.valve("UPDATE_FAILS=hang")
	u.sh("systemctl start --no-block l4d2-update")
	u.hangs()
}

func (u *updated) hangs() {
	u.t.Helper()
	u.eventually("the update hangs", func() bool {
		return u.sh("grep -q UPDATE_FAILS %s/valve/settings || ls %s/merged/steamapps/downloading 2>/dev/null || true", steamHome, staged) != ""
	})
}

func (u *updated) log() string {
	u.t.Helper()
	text, err := u.Journal(u.ctx, "--boot", "--output=cat", "--unit=l4d2-update")
	u.must(err)
	return text
}

// verified looks at the units as systemd does.
func (u *updated) verified() {
	u.t.Helper()
	if out := u.sh("systemd-analyze verify --man=no /usr/lib/systemd/system/l4d2-update.service /usr/lib/systemd/system/l4d2-update.timer"); out != "" {
		u.t.Errorf("systemd-analyze verify:\n%s", out)
	}
	if got := u.sh("systemctl is-enabled l4d2-update.timer || true"); got != "disabled" {
		u.t.Errorf("the timer is %s", got)
	}
	u.sh("systemctl start l4d2-update.timer && systemctl stop l4d2-update.timer")
}

// plain: an installation that is in use as it is, is left alone.
func (u *updated) plain() {
	u.t.Helper()
	u.fails("l4d2ctl update", "the installation is a plain one", "l4d2ctl adopt")
	u.fails("systemctl start l4d2-update")
	wantIn(u.t, "journal", u.log(), "the installation is a plain one", "l4d2ctl adopt")
	u.sh("test -d %s && test -x %s/srcds_linux", current, current)
	// From here on Valve has the game, and this machine nothing.
	u.sh("mkdir -p %s && mv %s %s && install -d -o l4d2 -g l4d2 %s", filepath.Dir(content), current, content, current)
}

// missing: no steamcmd, and settings that are wrong.
func (u *updated) missing() {
	u.t.Helper()
	u.fails("l4d2ctl update", "there is no steamcmd", "apt install steamcmd")
	u.unmounted()
	u.conf("PASSWORD=secret")
	u.fails("l4d2ctl update", "there is no setting PASSWORD")
	u.conf("STEAMCMD=/nowhere/steamcmd")
	u.fails("l4d2ctl update", "/nowhere/steamcmd: no such file", "correct STEAMCMD=")
	u.conf()

	program := filepath.Join(u.t.TempDir(), "steamcmd")
	u.must(standin.BuildSteamcmd(u.ctx, program))
	data, err := os.ReadFile(program)
	u.must(err)
	u.must(u.WriteFile("/usr/games/steamcmd", data, 0o755))
}

// first: the installation, by the detour that anonymous users have to make.
func (u *updated) first() {
	u.t.Helper()
	u.valve()
	out := u.update()
	wantIn(u.t, "l4d2ctl update", out, ", build 1, is current")
	wantIn(u.t, "journal", u.log(), "Invalid platform", "updating for windows", "updating for linux", "build 1, over no release")
	u.sh("test -x %s/srcds_linux && test ! -e %s/srcds.exe", current, current)
	if got := u.sh("stat -c '%%U:%%G' %s/ %s/left4dead2 /var/lib/l4d2/%s/.. | tr '\n' ' '", current, current, u.release()); got != "l4d2:l4d2 l4d2:l4d2 root:root" {
		u.t.Errorf("owners: %s", got)
	}
}

// probe stands for a steamcmd with other plans. It prints what it should not have
// been able to do.
const probe = `#!/bin/sh
for path in /var/lib/l4d2/instances /var/lib/l4d2/overlays /var/lib/l4d2/runtime /var/lib/l4d2/backups /var/lib/l4d2/installation \
	/var/lib/l4d2/releases/2* /var/lib/l4d2/releases/.staging/tree /usr/libexec/l4d2-host/l4d2-overlay /root; do
	ls $path/ >/dev/null 2>&1 && echo "BAD: sees $path"
	cat $path >/dev/null 2>&1 && echo "BAD: reads $path"
done
for root in /proc/[0-9]*/root; do
	[ -e $root/srcds_linux ] && echo "BAD: sees a server's $root"
done
for path in /etc/new /usr/bin/new /var/lib/new /var/lib/l4d2/new /var/lib/l4d2/releases/new /var/lib/l4d2/releases/.staging/new /run/new /home/new /sys/new; do
	(: >$path) 2>/dev/null && echo "BAD: writes $path"
done
sed -n 's/^Cap\(Prm\|Eff\|Bnd\):\t*0*\([0-9a-f]*[1-9a-f][0-9a-f]*\)$/BAD: capabilities \2/p' /proc/self/status
unshare -m true 2>/dev/null && echo "BAD: namespaces"
chmod u+s /bin/sh 2>/dev/null && echo "BAD: set-uid"
: >$HOME/can && : >/var/lib/l4d2/releases/.staging/merged/can && rm $HOME/can /var/lib/l4d2/releases/.staging/merged/can && echo "GOOD: as $(id -un)"
exit 1
`

// sandboxed: steamcmd sees its home and the tree that it updates, and nothing else
// of ours.
func (u *updated) sandboxed() {
	u.t.Helper()
	u.initWith("up-a", yaml("up-a", 28200))
	u.sh("l4d2ctl start up-a")
	u.must(u.WriteFile("/usr/local/bin/probe", []byte(probe), 0o755))
	u.conf("STEAMCMD=/usr/local/bin/probe", "ATTEMPTS=1")
	out := u.fails("l4d2ctl update", "GOOD: as l4d2", "exit status 1", "it goes on where it stopped")
	if strings.Contains(u.log(), "BAD: ") {
		u.t.Errorf("the sandbox leaks:\n%s", out)
	}
	u.conf()
	u.sh("l4d2ctl delete --yes up-a")
}

// running: servers that run and write keep their release, and take the new one
// at their next start.
func (u *updated) running() {
	u.t.Helper()
	names := []string{"up-a", "up-b", "up-c", "up-d", "up-e"}
	for i, name := range names {
		u.initWith(name, yaml(name, 28200+i))
	}
	u.sh("l4d2ctl start %s", strings.Join(names, " "))
	writing := "for i in $(seq 150); do for n in %s; do echo $i >>/var/lib/l4d2/runtime/$n/merged/left4dead2/written.txt || exit; done; sleep 0.01; done"
	u.sh("systemd-run -q --unit=writing sh -c '%s'", fmt.Sprintf(writing, strings.Join(names, " ")))
	u.valve("PAUSE=10ms")
	u.sh("rm %s/left4dead2/motd.txt", content)
	wantIn(u.t, "l4d2ctl update", u.update(), ", build 2, is current", "running servers keep theirs")
	for i, name := range names {
		if got := u.news(name); got != "build 1" {
			u.t.Errorf("%s runs, and has %s", name, got)
		}
		u.sh("test -e %s/left4dead2/motd.txt", merged(name))
		u.answers(28200 + i)
	}
	u.eventually("the writer ends", func() bool { return u.sh("systemctl is-active writing || true") == "inactive" })
	for _, name := range names {
		if got := u.sh("tail -n1 %s/left4dead2/written.txt", merged(name)); got != "150" {
			u.t.Errorf("%s has written up to %s", name, got)
		}
	}
	u.sh("l4d2ctl restart up-a")
	u.answers(28200)
	if got := u.news("up-a"); got != "build 2" {
		u.t.Errorf("after a restart up-a has %s", got)
	}
	u.sh("test ! -e %s/left4dead2/motd.txt", merged("up-a"))
	u.sh("l4d2ctl stop up-b up-c up-d up-e && l4d2ctl delete --yes up-b && l4d2ctl delete --yes up-c && l4d2ctl delete --yes up-d && l4d2ctl delete --yes up-e")
}

// nothingNew: no release for nothing, also where steamcmd downloads all again.
func (u *updated) nothingNew() {
	u.t.Helper()
	before := u.release()
	wantIn(u.t, "l4d2ctl update", u.update(), "up to date: release ", ", build 2,")
	u.behave("SAME_FILES=yes")
	u.conf("VALIDATE=yes")
	wantIn(u.t, "l4d2ctl update --json", u.sh("l4d2ctl update --json"), `"changed": false`, `"build": "2"`)
	u.conf()
	u.idle()
	if after := u.release(); after != before {
		u.t.Errorf("%s became %s", before, after)
	}
}

// killed: steamcmd in mid-update, and then the step that runs it.
func (u *updated) killed() {
	u.t.Helper()
	u.valve("UPDATE_FAILS=die")
	wantIn(u.t, "l4d2ctl update", u.update(), ", build 3, is current")
	wantIn(u.t, "journal", u.log(), "killed", "attempt 2 of 5")

	before := u.release()
	u.begin()
	wantIn(u.t, "status", u.sh("systemctl status l4d2-update || true"), "Status: \"downloading: ")
	u.sh("kill -KILL $(systemctl show -P MainPID l4d2-update)")
	u.eventually("the update has failed", func() bool { return u.sh("systemctl is-active l4d2-update || true") == "failed" })
	u.unmounted()
	if after := u.release(); after != before {
		u.t.Errorf("%s became %s", before, after)
	}
	u.sh("test -n \"$(ls %s/tree/steamapps/downloading)\"", staged)
	wantIn(u.t, "l4d2ctl update", u.update(), ", build 4, is current")
	// It was killed between the Windows version and ours.
	wantIn(u.t, "journal", u.log(), "resuming the update that was interrupted", "steamcmd is going to look at every one")
}

// loggedIn: with a name, and without its token.
func (u *updated) loggedIn() {
	u.t.Helper()
	u.valve()
	u.conf("LOGIN=owner")
	u.fails("l4d2ctl update", "Cached credentials not found", "log in once by hand")
	u.sh("install -o l4d2 -g l4d2 /dev/null %s/Steam/token-owner", steamHome)
	u.behave("LOGIN_FAILS=Rate Limit Exceeded")
	u.fails("l4d2ctl update", "Rate Limit Exceeded", "half an hour")
	u.behave("LOGIN_FAILS=No Connection")
	wantIn(u.t, "l4d2ctl update", u.update(), fmt.Sprintf(", build %d, is current", u.builds))
	if strings.Contains(u.sh("journalctl --boot -o cat -u l4d2-update -n 20"), "Invalid platform") {
		u.t.Error("by name, and yet refused")
	}
	u.conf()
}

// packaged: an update outlives an upgrade, and a removal ends it.
func (u *updated) packaged() {
	u.t.Helper()
	u.sh("l4d2ctl stop up-a")
	u.begin()
	pid := u.sh("systemctl show -P MainPID l4d2-update")
	u.sh("dpkg -i /root/l4d2-host.deb")
	if now := u.sh("systemctl show -P MainPID l4d2-update"); now != pid {
		u.t.Errorf("process %s is %s after an upgrade", pid, now)
	}
	// So it ends what would start servers again.
	u.sh("l4d2ctl start up-a")
	u.answers(28200)
	u.console(28200, "players 1")
	u.sh("l4d2ctl restart --when-empty up-a >/dev/null 2>&1 &")
	u.eventually("the rolling restart waits", func() bool { return u.sh("systemctl is-active l4d2-restart || true") == "active" })
	u.sh("dpkg -r l4d2-host")
	if got := u.sh("systemctl is-active l4d2-restart l4d2@up-a || true"); got != "inactive\ninactive" {
		u.t.Errorf("after the removal: %s", got)
	}
	u.unmounted()
	u.sh("dpkg -i /root/l4d2-host.deb")
	wantIn(u.t, "l4d2ctl update", u.update(), fmt.Sprintf(", build %d, is current", u.builds))
	wantIn(u.t, "journal", u.log(), "resuming the update")
}

// machineDown: no clean end for anybody.
func (u *updated) machineDown() {
	u.t.Helper()
	before := u.release()
	u.begin()
	u.must(u.Kill())
	u.must(u.Start(u.ctx))
	if after := u.release(); after != before {
		u.t.Errorf("%s became %s", before, after)
	}
	u.sh("l4d2ctl start up-a")
	u.answers(28200)
	u.sh("l4d2ctl stop up-a")
	wantIn(u.t, "l4d2ctl update", u.update(), fmt.Sprintf(", build %d, is current", u.builds))
	wantIn(u.t, "journal", u.log(), "resuming the update", "steamcmd is going to look at every one")
}

// diskFull: named, nothing lost, and gone on with when there is room.
func (u *updated) diskFull() {
	u.t.Helper()
	u.sh(`rm %s && mount -t tmpfs -o size=64m,mode=750 tmpfs /var/lib/l4d2/releases && chgrp l4d2 /var/lib/l4d2/releases
head -c 8M /dev/urandom >%s/left4dead2/big.vpk && chown l4d2: %s/left4dead2/big.vpk
dd if=/dev/zero of=/var/lib/l4d2/releases/.filler bs=1M count=60 status=none`, current, content, content)
	u.valve()
	out := u.fails("l4d2ctl update", "the disk is full", "make room on the file system of /var/lib/l4d2")
	if strings.Contains(out, "attempt 2") {
		u.t.Errorf("a full disk was tried again: %s", out)
	}
	u.unmounted()
	u.sh("test -d %s/tree/steamapps/downloading && test ! -e %s", staged, current)
	u.sh("rm /var/lib/l4d2/releases/.filler")
	wantIn(u.t, "l4d2ctl update", u.update(), fmt.Sprintf(", build %d, is current", u.builds))
	u.sh("l4d2ctl start up-a")
	u.answers(28200)
	if got, want := u.news("up-a"), fmt.Sprintf("build %d", u.builds); got != want {
		u.t.Errorf("up-a has %s, want %s", got, want)
	}
	u.sh("l4d2ctl stop up-a")
}
