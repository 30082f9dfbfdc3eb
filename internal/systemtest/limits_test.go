package systemtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/kernel"
	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
	"l4d2-host/internal/standin"
)

// The example tells someone when systemd has given up on a server, and is
// silent about a server that is running again.
func TestOnFailure(t *testing.T) {
	onEach(t, func(h *host) {
		h.sh(`cd /usr/share/doc/l4d2-host/examples
install -D -m 0755 l4d2-notify /usr/local/libexec/l4d2-notify
install -D -m 0644 l4d2-notify@.service -t /etc/systemd/system
install -D -m 0644 on-failure.conf -t /etc/systemd/system/l4d2@told.service.d
printf '#!/bin/sh\ncat >>/root/mail\n' >/usr/sbin/sendmail && chmod 755 /usr/sbin/sendmail`)
		h.t.Cleanup(func() {
			h.sh("rm -rf /usr/sbin/sendmail /root/mail /usr/local/libexec/l4d2-notify /etc/systemd/system/l4d2-notify@.service")
		})
		h.init("told", 28130)
		h.dropIn("told", "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=1s\nRestartSteps=0\n")
		h.sh("l4d2ctl start told")
		h.answers(28130)
		pid := h.mainPID("told")
		h.sh("kill -KILL %d", pid)
		h.eventually("a restart", func() bool { now := h.mainPID("told"); return now != 0 && now != pid })
		h.answers(28130)
		h.eventually("a notice of the crash ends", func() bool { return h.sh("systemctl show -P ActiveState l4d2-notify@told") == "inactive" })
		h.sh("test ! -e /root/mail")
		h.sh("kill -KILL %d", h.mainPID("told"))
		h.eventually("systemd gives up", func() bool { return h.show("told", "ActiveState") == "failed" })
		h.eventually("a mail", func() bool { return strings.Contains(h.sh("cat /root/mail 2>/dev/null || true"), " is down\n\n") })
		h.eventually("the notice ends", func() bool { return h.sh("systemctl show -P ActiveState l4d2-notify@told") == "inactive" })
		wantIn(t, "mail", h.sh("cat /root/mail"), "To: root\nSubject: Left 4 Dead 2 server told on ", " is down\n\n", "l4d2ctl start told", "killed by signal KILL")
		if got := h.sh("systemctl show -P Result l4d2-notify@told"); got != "success" {
			t.Errorf("the notice ended with %s", got)
		}
	})
}

// limited are shell scripts for a system where limits bind, each with what it
// shows. until waits for a command to succeed, 2 minutes at most.
var limited = []struct{ shows, script string }{
	{"the examples are taken up", `
cd /usr/share/doc/l4d2-host/examples
install -D -m 0644 server-limits.conf /etc/systemd/system/l4d2@.service.d/limits.conf
install -D -m 0644 all-servers-limits.conf /etc/systemd/system/l4d2.slice.d/limits.conf
systemctl daemon-reload
l4d2ctl start plain
group=/sys/fs/cgroup/l4d2.slice/l4d2@plain.service
is() { [ "$(cat $1)" = "$2" ] || { echo "$1 is $(cat $1), want $2"; exit 1; }; }
is $group/memory.high 2147483648
is $group/memory.max 3221225472
is $group/memory.swap.max 0
is $group/cpu.max "150000 100000"
is $group/cpu.weight 200
is $group/pids.max 200
is /sys/fs/cgroup/l4d2.slice/memory.max 8589934592
is /sys/fs/cgroup/l4d2.slice/cpu.max "200000 100000"
[ "$(systemctl show -P IOWeight l4d2@plain)" = 50 ]
case $(cat $group/io.max) in *" wbps=50000000 "*) ;; *) echo "io.max is $(cat $group/io.max)"; exit 1 ;; esac
pid=$(systemctl show -P MainPID l4d2@plain)
[ "$(ps -o ni= -p $pid | tr -d ' ')" = -5 ]
# the real program's kind, in its sandbox
[ "$(od -An -tx1 -j4 -N1 /proc/$pid/exe | tr -d ' ')" = 01 ]
found=$(l4d2ctl check --json plain || true)
case $found in *'runs no 32-bit programs'*) echo "$found"; exit 1 ;; *'srcds_linux is a 32-bit program'*) ;; *) echo "$found"; exit 1 ;; esac
l4d2ctl stop plain
rm -r /etc/systemd/system/l4d2@.service.d /etc/systemd/system/l4d2.slice.d
systemctl daemon-reload
`},
	{"a server above MemoryMax is killed, and starts again", `
systemctl set-property --runtime l4d2@eater.service MemoryMax=64M MemorySwapMax=0
l4d2ctl start eater
until_ sh -c '[ "$(systemctl show -P NRestarts l4d2@eater)" -ge 1 ]'
until_ systemctl is-active l4d2@eater
journalctl -u l4d2@eater | grep -q "result 'oom-kill'"
journalctl -k | grep -q 'Memory cgroup out of memory.*srcds_linux'
systemctl stop l4d2@eater
! grep l4d2:eater /proc/self/mountinfo
`},
	{"the slice bounds two servers together, neither of which is too large", `
systemctl set-property --runtime l4d2.slice MemoryMax=110M MemorySwapMax=0
kills() { sed -n 's/^oom_kill //p' /sys/fs/cgroup/l4d2.slice/memory.events; }
systemctl set-property --runtime l4d2@eater.service MemoryMax=infinity
l4d2ctl start eater
before=$(kills)
until_ sh -c '[ "$(cat /sys/fs/cgroup/l4d2.slice/l4d2@eater.service/memory.current)" -gt 73400320 ]'
sleep 3
[ "$(kills)" = "$before" ] || { echo "one alone was killed"; exit 1; }
[ "$(systemctl show -P NRestarts l4d2@eater)" = 0 ]
l4d2ctl start eater2
until_ sh -c '[ "$(sed -n "s/^oom_kill //p" /sys/fs/cgroup/l4d2.slice/memory.events)" -gt '"$before"' ]'
systemctl stop l4d2@eater l4d2@eater2
systemctl revert l4d2.slice
`},
	{"CPUQuota holds a server back", `
l4d2ctl start burner
systemctl set-property --runtime l4d2@burner.service CPUQuota=20%
group=/sys/fs/cgroup/l4d2.slice/l4d2@burner.service
value() { sed -n "s/^$1 //p" $group/cpu.stat; }
sleep 2
from=$(value usage_usec) begin=$(cut -d. -f1 /proc/uptime)
sleep 5
to=$(value usage_usec) end=$(cut -d. -f1 /proc/uptime)
used=$(( (to - from) / 10000 / (end - begin) ))
echo "the server used $used % of a processor, throttled $(value nr_throttled) times"
[ $used -ge 5 ] && [ $used -le 35 ] && [ "$(value nr_throttled)" -gt 10 ]
systemctl stop l4d2@burner
`},
	{"IOWriteBandwidthMax holds a server back", `
l4d2ctl start writer
group=/sys/fs/cgroup/l4d2.slice/l4d2@writer.service
written() { sed -n 's/.* wbytes=\([0-9]*\) .*/\1/p' $group/io.stat; }
rate() {
	from=$(written) begin=$(cut -d. -f1 /proc/uptime)
	sleep 6
	to=$(written) end=$(cut -d. -f1 /proc/uptime)
	echo $(( (to - from) / (end - begin) ))
}
free=$(rate)
systemctl set-property --runtime l4d2@writer.service 'IOWriteBandwidthMax=/var/lib/l4d2 256K'
sleep 2
bounded=$(rate)
echo "the server wrote $free bytes a second, and $bounded when it might write 256000"
[ $free -gt 768000 ] && [ $bounded -gt 64000 ] && [ $bounded -lt 384000 ]
systemctl stop l4d2@writer
`},
}

// prelude comes before each of these scripts.
const prelude = `set -eu
until_() { n=0; until "$@" >/dev/null; do n=$((n + 1)); [ $n -lt 1200 ] || { echo "not within 2 minutes: $*"; systemctl status --no-pager 'l4d2*'; journalctl -b -n 40 --no-pager; exit 1; }; sleep 0.1; done; }
`

// In a container these limits may have no effect: this is a whole Debian with
// its own kernel, and with the game as a 32-bit program, in a virtual machine.
func TestLimits(t *testing.T) {
	machine.NeedRoot(t)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	r, err := rig.New(ctx, machine.Debian13, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &host{Rig: r, t: t, ctx: ctx}
	h.layer("mod", map[string]string{"addons/mod.txt": "of the mod"})
	program := filepath.Join(t.TempDir(), "srcds_linux")
	h.must(standin.BuildFor(ctx, "386", program))
	h.must(r.Push(program, "/var/lib/l4d2/installation/srcds_linux"))
	h.sh("chown -R l4d2:l4d2 /var/lib/l4d2/installation")
	h.initWith("plain", yaml("plain", 28140))
	h.initWith("eater", yaml("eater", 28141, "+eat 70"))
	h.initWith("eater2", yaml("eater2", 28142, "+eat 70"))
	h.initWith("burner", yaml("burner", 28143, "+burn"))
	h.initWith("writer", yaml("writer", 28144, "+write"))
	h.must(r.Poweroff(ctx))

	v := kernel.Versions[2]
	k, err := kernel.Get(ctx, v)
	h.must(err)
	p := kernel.Payload{System: true, Disk: filepath.Join(t.TempDir(), "disk"), Limit: 8 * time.Minute}
	h.must(kernel.DiskFrom(ctx, r.Path("/"), p.Disk, 1024))
	for _, l := range limited {
		p.Commands = append(p.Commands, []string{"sh", "-c", prelude + l.script})
	}
	begin := time.Now()
	results, err := kernel.Boot(ctx, k, p)
	t.Logf("under %s for %s", k.Package, time.Since(begin).Round(time.Second))
	if err != nil {
		t.Error(err)
	}
	for i, l := range limited {
		if i >= len(results) {
			t.Errorf("%s: not run to its end", l.shows)
			continue
		}
		if results[i].Code != 0 {
			t.Errorf("%s: exit code %d:\n%s", l.shows, results[i].Code, results[i].Output)
		} else {
			t.Logf("%s:\n%s", l.shows, results[i].Output)
		}
	}
}
