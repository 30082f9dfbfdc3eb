package systemtest

import (
	"strconv"
	"strings"
	"testing"
)

func TestLife(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("life", 27101)
		if got := h.list()["life"]; got.State != "inactive" || got.Port != 27101 || got.PID != 0 || got.Enabled {
			t.Errorf("before the start: %+v", got)
		}
		h.sh("systemctl start l4d2@life")
		info := h.answers(27101)
		if info.Name != "Server life" || info.Map != "c1m1_hotel" {
			t.Errorf("A2S answer %+v", info)
		}
		pid := h.mainPID("life")
		if comm := h.sh("cat /proc/%d/comm", pid); comm != "srcds_linux" {
			t.Errorf("the main process is %q", comm)
		}
		if got := h.list()["life"]; got.State != "active" || got.PID != pid || got.Uptime == nil {
			t.Errorf("while running: %+v, want pid %d", got, pid)
		}
		// One mount in the manager's namespace, one in the game's.
		if n := h.mounts("life"); n != 1 {
			t.Errorf("%d overlays in the manager's namespace", n)
		}
		if n := h.sh("grep -c ' %s .*l4d2:life ' /proc/%d/mountinfo", merged("life"), pid); n != "1" {
			t.Errorf("%s overlays in the game's namespace", n)
		}
		if got := h.sh("stat -c '%%U:%%G %%a' %s/left4dead2/cfg/server.cfg", merged("life")); got != "root:l4d2 640" {
			t.Errorf("server.cfg is %s", got)
		}
		if got := h.sh("cat %s/left4dead2/addons/mod.txt", merged("life")); got != "of the mod" {
			t.Errorf("the layer's file reads %q", got)
		}
		h.sh("l4d2ctl restart life")
		h.answers(27101)
		if again := h.mainPID("life"); again == pid {
			t.Error("the same process after a restart")
		}
		h.sh("l4d2ctl stop life")
		h.wantGone("life")
		if got := h.show("life", "ActiveState"); got != "inactive" {
			t.Errorf("after the stop it is %s", got)
		}
		// What the server wrote is kept in its upper directory.
		h.sh("ls /var/lib/l4d2/runtime/life/upper/left4dead2/logs/*.log")
		wantIn(t, "journal", h.journal("life"), "mounted "+merged("life"), "copied server.cfg", "unmounted "+merged("life"))
	})
}

func TestCrash(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("crash", 27102)
		h.dropIn("crash", "[Service]\nRestartSec=100ms\n")
		h.sh("l4d2ctl start crash")
		h.answers(27102)
		for _, crash := range []func(){
			func() { h.Console(h.ctx, 27102, password, "crash") }, // SIGSEGV; no answer comes
			func() { h.sh("kill -KILL %d", h.mainPID("crash")) },
		} {
			pid := h.mainPID("crash")
			restarts, err := strconv.Atoi(h.show("crash", "NRestarts"))
			h.must(err)
			crash()
			h.eventually("a restart", func() bool {
				return h.show("crash", "NRestarts") == strconv.Itoa(restarts+1) && h.show("crash", "ActiveState") == "active"
			})
			h.answers(27102)
			if now := h.mainPID("crash"); now == pid || now == 0 {
				t.Errorf("pid %d, was %d", now, pid)
			}
			if n := h.mounts("crash"); n != 1 {
				t.Errorf("%d overlays are mounted", n)
			}
		}
		if n := strings.Count(h.journal("crash"), "unmounted "+merged("crash")); n != 2 {
			t.Errorf("unmounted %d times after 2 crashes", n)
		}
		wantIn(t, "journal", h.journal("crash"), "the game crashed: killed by signal SEGV", "the game crashed: killed by signal KILL")
		h.sh("l4d2ctl stop crash")
		h.wantGone("crash")
	})
}

func TestStartTimeout(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("slow", 27103)
		h.dropIn("slow", "[Service]\nExecStartPre=sleep 600\nTimeoutStartSec=1s\nRestart=no\n")
		h.fails("systemctl start l4d2@slow")
		if got := h.show("slow", "Result"); got != "timeout" {
			t.Errorf("result %s", got)
		}
		h.wantGone("slow")
		wantIn(t, "journal", h.journal("slow"), "unmounted "+merged("slow"))
	})
}

func TestEnableAndTarget(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("ta", 27104)
		h.init("tb", 27105)
		h.init("tc", 27106)
		h.sh("systemctl enable --now l4d2@ta")
		h.sh("systemctl enable l4d2@tb")
		h.sh("systemctl start l4d2@tc")
		if rows := h.list(); !rows["ta"].Enabled || !rows["tb"].Enabled || rows["tc"].Enabled {
			t.Errorf("enabled: %+v", rows)
		}
		states := func() string {
			return strings.Join(strings.Fields(h.sh("systemctl is-active l4d2@ta l4d2@tb l4d2@tc || true")), " ")
		}
		want := func(what, want string) {
			t.Helper()
			if got := states(); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		want("enable --now starts, enable does not", "active inactive active")
		h.sh("systemctl start l4d2.target")
		// A stop within the first milliseconds of a start can kill the mount step
		// before it ignores signals; the unit then ends failed, if unmounted.
		h.eventually("starting the target starts tb", func() bool { return states() == "active active active" })
		h.sh("systemctl stop l4d2.target")
		want("stopping the target stops all", "inactive inactive inactive")
		h.wantGone("ta")
		h.wantGone("tc")
		h.sh("systemctl start l4d2.target")
		h.eventually("starting the target starts those enabled", func() bool { return states() == "active active inactive" })
		pid := h.mainPID("ta")
		h.sh("systemctl restart l4d2.target")
		h.eventually("restarting the target restarts them", func() bool {
			return states() == "active active inactive" && h.mainPID("ta") != pid
		})
		h.sh("systemctl disable --now l4d2@ta l4d2@tb")
		want("disable --now", "inactive inactive inactive")
		if rows := h.list(); rows["ta"].Enabled || rows["tb"].Enabled {
			t.Errorf("still enabled: %+v", rows)
		}
	})
}

func TestTwentyAtOnce(t *testing.T) {
	onEach(t, func(h *host) {
		var units, names []string
		for i := range 20 {
			name := "many" + strconv.Itoa(i)
			names = append(names, name)
			units = append(units, "l4d2@"+name)
			h.init(name, 27200+i)
		}
		h.sh("systemctl start %s", strings.Join(units, " "))
		for i := range names {
			h.answers(27200 + i)
		}
		if n := h.sh("grep -c ' l4d2:many[0-9]* ' /proc/1/mountinfo"); n != "20" {
			t.Errorf("%s overlays are mounted", n)
		}
		for _, name := range names {
			if n := h.show(name, "NRestarts"); n != "0" {
				t.Errorf("%s was restarted %s times", name, n)
			}
		}
		h.sh("systemctl start l4d2.target && systemctl stop l4d2.target")
		for _, name := range names {
			h.wantGone(name)
			if got := h.show(name, "Result"); got != "success" {
				t.Errorf("%s: result %s", name, got)
			}
		}
	})
}

func TestTwoStartsAtOnce(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("twice", 27107)
		h.sh("systemctl start l4d2@twice & systemctl start l4d2@twice & l4d2ctl start twice & wait")
		h.answers(27107)
		if n := h.mounts("twice"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		// The helper called by hand beneath a running server must refuse.
		h.fails("/usr/libexec/l4d2-host/l4d2-overlay mount twice", "in use", "srcds_linux")
		if n := h.mounts("twice"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
	})
}

func TestSpecChangedWhileRunning(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("edit", 27108)
		h.sh("l4d2ctl start edit")
		h.answers(27108)
		changed := strings.Replace(yaml("edit", 27108), "Server edit", "Server changed", 1)
		h.initWith("edit", changed)
		if name := h.answers(27108).Name; name != "Server edit" {
			t.Errorf("the running server is now %q", name)
		}
		h.sh("l4d2ctl restart edit")
		if name := h.answers(27108).Name; name != "Server changed" {
			t.Errorf("after the restart it is %q", name)
		}
	})
}

// The machines have no manual pages: units.TestDocumentation looks for those.
func TestUnitsVerify(t *testing.T) {
	onEach(t, func(h *host) {
		if out := h.sh("systemd-analyze verify --man=no /usr/lib/systemd/system/l4d2.target /usr/lib/systemd/system/l4d2.slice l4d2@verify.service"); out != "" {
			t.Errorf("systemd-analyze verify:\n%s", out)
		}
	})
}

func TestDropIns(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("drop", 27109)
		h.dropIn("drop", `[Service]
Type=exec
MemoryMax=600M
CPUWeight=50
Nice=5
ExecStartPre=+/bin/touch /run/drop.before
ExecStartPost=+/bin/touch /run/drop.started
ExecStopPost=+/bin/touch /run/drop.after
ExecStart=
ExecStart=/usr/bin/env LD_LIBRARY_PATH=.:bin ./srcds_linux -game left4dead2 -port ${L4D2_PORT} +map c5m1_waterfront
`)
		h.sh("l4d2ctl start drop")
		if m := h.answers(27109).Map; m != "c5m1_waterfront" {
			t.Errorf("the command line was not replaced: map %s", m)
		}
		for property, want := range map[string]string{"MemoryMax": "629145600", "CPUWeight": "50", "Nice": "5"} {
			if got := h.show("drop", property); got != want {
				t.Errorf("%s = %s, want %s", property, got, want)
			}
		}
		h.sh("l4d2ctl stop drop && rm /run/drop.before /run/drop.started /run/drop.after")
	})
}
