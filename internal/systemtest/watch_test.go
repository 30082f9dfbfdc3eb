package systemtest

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The watchdog of these tests; all the watcher's limits scale with it. The unit
// has 45 s.
const (
	watchdog    = 2 * time.Second
	watchdogSet = "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=10s\nRestartSec=100ms\n"
)

// watcher returns the pid of the instance's watcher.
func (h *host) watcher(name string) string {
	h.t.Helper()
	return h.sh("for p in $(cat /sys/fs/cgroup$(systemctl show -P ControlGroup l4d2@%s)/cgroup.procs); do ! grep -qx l4d2-watch /proc/$p/comm || echo $p; done", name)
}

// memory returns how many kB a process has that it shares with no other, of the
// same program neither: what one watcher more costs.
func (h *host) memory(pid string) int {
	h.t.Helper()
	n, err := strconv.Atoi(h.sh("awk '/^Private_Dirty:/ { print $2 }' /proc/%s/smaps_rollup", pid))
	h.must(err)
	return n
}

func TestReadyMeansJoinable(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("ready", 28200, "+standin_grind 2")
		h.sh("systemctl start --no-block l4d2@ready")
		h.eventually("a reason why it is not ready", func() bool {
			return h.show("ready", "StatusText") == "waiting for the server to open UDP port 28200"
		})
		if got := h.show("ready", "ActiveState"); got != "activating" {
			t.Errorf("before players can join it is %s", got)
		}
		h.sh("systemctl start l4d2@ready")
		ctx, cancel := context.WithTimeout(h.ctx, 10*time.Second)
		defer cancel()
		if _, err := h.Ask(ctx, 28200); err != nil {
			t.Errorf("started, and does not answer: %v", err)
		}
		pid := h.mainPID("ready")
		if comm := h.sh("cat /proc/%d/comm", pid); comm != "srcds_linux" {
			t.Errorf("the main process is %q", comm)
		}
		status := func(want string) {
			t.Helper()
			// "show" would escape the backslashes once more.
			got := ""
			for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if got = h.sh("systemctl status l4d2@ready"); strings.Contains(got, `Status: "`+want+`"`) {
					return
				}
			}
			t.Errorf("never %s, but:\n%s", want, got)
		}
		status("c1m1_hotel, 0/8 players, Server ready")
		h.console(28200, "players 3")
		h.console(28200, "hostname \"\x1b]0;x\x07\xff\"")
		status(`c1m1_hotel, 3/8 players, \x1b]0;x\a\xff`)

		// The watcher is systemd's child and not the game's.
		watcher := h.watcher("ready")
		if got := h.sh("grep ^PPid: /proc/%s/status", watcher); got != "PPid:\t1" {
			t.Errorf("the watcher's %s", got)
		}
		if got := h.sh("grep -l '^PPid:.%d$' /proc/[0-9]*/status || true", pid); got != "" {
			t.Errorf("the game has children: %s", got)
		}
		own := h.memory(watcher)
		t.Logf("%s: the watcher has %d kB of memory to itself", h.Name(), own)
		if own == 0 || own > 6<<10 {
			t.Errorf("the watcher has %d kB of memory to itself, want less than 6 MB", own)
		}
		if got := h.sh("tr '\\0' '\\n' </proc/%d/environ | grep -E 'NOTIFY|WATCHDOG' || true", pid); got != "" {
			t.Errorf("the game's environment has %s", got)
		}

		begin := time.Now()
		h.sh("systemctl stop l4d2@ready")
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("the stop took %s", took)
		}
		if got := h.show("ready", "Result"); got != "success" {
			t.Errorf("after the stop the result is %s", got)
		}
		h.wantGone("ready")
	})
}

// A server that no player can join fails to start, and the reason is told.
func TestNeverJoinable(t *testing.T) {
	onEach(t, func(h *host) {
		const short = watchdogSet + "TimeoutStartSec=8s\nTimeoutStopSec=2s\nRestart=no\n"
		servers := []server{
			{name: "closed", argument: "+standin_slow 600", want: "waiting for the server to open UDP port 28201"},
			{name: "silent", argument: "+standin_deaf 1", want: "waiting for the server to answer queries (A2S_INFO) on port 28202"},
			// While it works, it gets more time than the unit grants.
			{name: "late", argument: "+standin_grind 12", dropIn: strings.Replace(short, "WatchdogSec=2s", "WatchdogSec=10s", 1)},
		}
		for i := range servers {
			servers[i].port, servers[i].dropIn = 28201+i, cmp.Or(servers[i].dropIn, short)
		}
		h.initAll(servers)
		out := h.fails("l4d2ctl start closed silent late")
		for _, s := range servers[:2] {
			wantIn(t, "l4d2ctl", out, "the unit failed: result timeout: "+s.want)
			wantIn(t, "journal", h.journal(s.name), "no player could join: ended while "+s.want)
			if got := h.show(s.name, "StatusText"); got != s.want {
				t.Errorf("%s: status %q, want %q", s.name, got, s.want)
			}
			h.wantGone(s.name)
		}
		wantIn(t, "l4d2ctl", out, "late: started")
		h.interrupted("closed")
	})
}

// interrupted is Ctrl-C while a server, which will never be ready, is started.
func (h *host) interrupted(name string) {
	h.t.Helper()
	h.dropIn(name, "[Service]\nTimeoutStartSec=5min\nTimeoutStopSec=2s\nRestart=no\n")
	job := "systemctl show -P Job l4d2@" + name
	if out := h.sh(`l4d2ctl start %s 2>/root/interrupted & pid=$!
until [ -n "$(%s)" ]; do sleep 0.05; done
kill -INT $pid; wait $pid; echo $?`, name, job); out != "130" {
		h.t.Errorf("interrupted, l4d2ctl start ends with %s", out)
	}
	wantIn(h.t, "l4d2ctl", h.sh("cat /root/interrupted"), "interrupted: the job is cancelled")
	if id := h.sh("%s", job); id != "" {
		h.t.Errorf("job %s is left", id)
	}
	// What systemd had begun goes on.
	h.sh("systemctl stop l4d2@%s", name)
	h.wantGone(name)
}

// server is an instance of a test that needs several.
type server struct {
	name     string
	port     int
	argument string // of the server, in the spec
	dropIn   string
	begin    func(s server) // what is to be found, or left alone
	want     string         // what the status says in the end
	pid      int            // of the main process, as first started
}

// initAll makes the servers, with one reload of systemd for all.
func (h *host) initAll(servers []server) {
	h.t.Helper()
	var names []string
	for _, s := range servers {
		var arguments []string
		if s.argument != "" {
			arguments = append(arguments, s.argument)
		}
		h.initWith(s.name, yaml(s.name, s.port, arguments...))
		h.must(h.WriteFile("/etc/systemd/system/l4d2@"+s.name+".service.d/test.conf", []byte(s.dropIn), 0o644))
		names = append(names, s.name)
	}
	all := strings.Join(names, " ")
	h.t.Cleanup(func() {
		h.sh("for n in %s; do l4d2ctl delete --yes $n && rm -r /etc/systemd/system/l4d2@$n.service.d || exit; done; systemctl daemon-reload", all)
	})
	h.sh("systemctl daemon-reload")
}

// startAll starts the servers and begins what is to be seen.
func (h *host) startAll(servers []server) {
	h.t.Helper()
	h.initAll(servers)
	var names []string
	for _, s := range servers {
		names = append(names, s.name)
	}
	h.sh("l4d2ctl start %s", strings.Join(names, " "))
	for i, s := range servers {
		servers[i].pid = h.mainPID(s.name)
	}
	for _, s := range servers {
		s.begin(s)
	}
}

// later runs a console command without waiting for its answer; the function
// returned waits.
func (h *host) later(port int, command string) (wait func() error) {
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	h.t.Cleanup(cancel)
	go func() {
		_, err := h.Console(ctx, port, password, command)
		result <- err
	}()
	return func() error { return <-result }
}

// flood sends queries to the server, far more than it can answer, until the
// test ends.
func (h *host) flood(port int) {
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		err := h.Network(func() error {
			conn, err := net.Dial("udp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return err
			}
			defer conn.Close()
			for {
				select {
				case <-stop:
					return nil
				case <-time.After(time.Millisecond):
				}
				for range 100 {
					conn.Write([]byte("\xff\xff\xff\xffTSource Engine Query\x00")) // refused while it restarts
				}
			}
		})
		if err != nil {
			h.t.Error(err)
		}
	}()
	h.t.Cleanup(func() { close(stop); done.Wait() })
}

func TestHangsAreFound(t *testing.T) {
	onEach(t, func(h *host) {
		servers := []server{
			{name: "deadlock", begin: func(s server) { h.later(s.port, "hang") }},
			{name: "loop", begin: func(s server) { h.later(s.port, "spin") }},
			{name: "stopped", begin: func(s server) { h.sh("kill -STOP %d", s.pid) }},
			{name: "flooded", begin: func(s server) { h.later(s.port, "hang"); h.flood(s.port) }},
		}
		for i := range servers {
			servers[i].port, servers[i].dropIn = 28210+i, watchdogSet
		}
		h.startAll(servers)
		for _, s := range servers {
			// An endless loop is found by the processor time that it uses up:
			// others may want the processor, too.
			restarted := func() bool {
				return h.show(s.name, "NRestarts") == "1" && h.show(s.name, "ActiveState") == "active"
			}
			for end := time.Now().Add(3 * limit); !restarted() && time.Now().Before(end); {
				time.Sleep(100 * time.Millisecond)
			}
			if !restarted() {
				t.Errorf("%s is not restarted", s.name)
				continue
			}
			if h.mainPID(s.name) == s.pid {
				t.Errorf("%s: the same process", s.name)
			}
			wantIn(t, s.name+": journal", h.journal(s.name), "l4d2-watch: the server hangs: c1m1_hotel, no sign of life for",
				"Watchdog request (last status: c1m1_hotel, no sign of life for", "the game hung: ended by systemd's watchdog")
		}
	})
}

func TestHealthyServersAreLeftAlone(t *testing.T) {
	onEach(t, func(h *host) {
		// Several times the watchdog, but less than an endless loop may last.
		const busy = "6"
		mute := func(s server) { h.console(s.port, "standin_mute 600000; changelevel c1m2_streets") }
		var waits []func() error
		load := func(command string) func(server) {
			return func(s server) { waits = append(waits, h.later(s.port, command+" "+busy)) }
		}
		servers := []server{
			{name: "reading", begin: load("load"), want: "it reads files"},
			{name: "computing", begin: load("grind"), want: "it is busy"},
			{name: "muted", begin: mute, want: "it takes packets"},
			{name: "flood", begin: func(s server) { mute(s); h.flood(s.port) }, want: "it takes packets"},
			{name: "deaf", begin: func(s server) { h.console(s.port, "standin_deaf 1") }, want: "it answers on RCON"},
			// Nobody looks any more, and systemd begins anew.
			{name: "unwatched", begin: func(s server) { h.sh("kill -KILL %s", h.watcher(s.name)) }},
			// Off by one line.
			{name: "off", begin: func(s server) { h.later(s.port, "hang") }, dropIn: "[Service]\nWatchdogSec=0\nTimeoutStopSec=1s\n", want: "no sign of life"},
		}
		for i := range servers {
			servers[i].port, servers[i].dropIn = 28220+i, cmp.Or(servers[i].dropIn, watchdogSet)
		}
		h.startAll(servers)
		begin := time.Now()
		for _, s := range servers {
			h.eventually(s.name+": the status "+s.want, func() bool { return strings.Contains(h.show(s.name, "StatusText"), s.want) })
		}
		h.sh("systemctl daemon-reexec")
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Error(err) // it has to have ended well, or nothing was tested
			}
		}
		time.Sleep(time.Until(begin.Add(4 * watchdog)))
		for _, s := range servers {
			if pid := h.mainPID(s.name); pid != s.pid || h.show(s.name, "NRestarts") != "0" {
				t.Errorf("%s: main process %d, was %d", s.name, pid, s.pid)
			}
		}
	})
}
