// Package limittest is one test, of what an administrator can bound: apart from
// the others on booted systems because it takes minutes of one processor.
package limittest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"l4d2-host/internal/kernel"
	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
	"l4d2-host/internal/standin"
)

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

// servers are what the scripts start.
var servers = []struct{ name, arguments string }{
	{"plain", "+map c1m1_hotel"},
	{"eater", "+eat 70"},
	{"eater2", "+eat 70"},
	{"burner", "+burn"},
	{"writer", "+write"},
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
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "srcds_linux")
	must(standin.BuildFor(ctx, "386", program))
	must(r.Push(program, "/var/lib/l4d2/installation/srcds_linux"))
	_, err = r.Sh(ctx, "chown -R l4d2:l4d2 /var/lib/l4d2/installation")
	must(err)
	for i, s := range servers {
		must(r.WriteFile("/root/spec.yaml", fmt.Appendf(nil, "port: %d\narguments: [%s]\n", 28140+i, s.arguments), 0o644))
		_, err := r.Sh(ctx, "l4d2ctl init "+s.name+" /root/spec.yaml")
		must(err)
	}
	must(r.Poweroff(ctx))

	v := kernel.Versions[2]
	k, err := kernel.Get(ctx, v)
	must(err)
	p := kernel.Payload{System: true, Disk: filepath.Join(t.TempDir(), "disk"), Limit: 8 * time.Minute}
	must(kernel.DiskFrom(ctx, r.Path("/"), p.Disk, 1024))
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
