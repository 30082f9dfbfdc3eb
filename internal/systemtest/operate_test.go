package systemtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// looked is what l4d2ctl status --json says.
type looked struct {
	listed
	Map      *string `json:"map"`
	Players  *int    `json:"players"`
	Restarts int     `json:"restarts"`
	LastExit *struct {
		Result, Code, Status string
	} `json:"last_exit"`
	CPUSeconds  *float64 `json:"cpu_seconds"`
	MemoryBytes *uint64  `json:"memory_bytes"`
	Disk        *struct {
		Bytes    int64
		Complete bool
	}
	Layers     []struct{ Name string }
	Pending    []struct{ What, Detail string }
	PlayerList []struct{ Name string } `json:"player_list"`
	Unknown    map[string]string
}

func (h *host) status(name string, args ...string) looked {
	h.t.Helper()
	res, err := h.Run(h.ctx, append([]string{"l4d2ctl", "status", name, "--json"}, args...)...)
	h.must(err)
	var v looked
	if err := json.Unmarshal([]byte(res.Stdout), &v); err != nil {
		h.t.Fatalf("l4d2ctl status --json: %v: %s%s", err, res.Stdout, res.Stderr)
	}
	return v
}

// changes are the things that a restart would change.
func (v looked) changes() string {
	var whats []string
	for _, c := range v.Pending {
		whats = append(whats, c.What)
	}
	return strings.Join(whats, ", ")
}

func TestStatus(t *testing.T) {
	onEach(t, func(h *host) {
		h.layer("look", map[string]string{"addons/look.txt": "x", "addons/mod.txt": "another"})
		h.initWith("look", strings.Replace(yaml("look", 28301), "[mod]", "[look, mod]", 1))
		h.t.Cleanup(func() { h.sh("l4d2ctl delete --yes look; rm -r /var/lib/l4d2/overlays/look") })
		if v := h.status("look"); v.State != "inactive" || v.LastExit != nil || v.Disk.Bytes != 0 || len(v.Layers) != 3 || len(v.Unknown) != 0 {
			t.Errorf("before the first start: %+v", v)
		}
		if out := h.sh("l4d2ctl conflicts look"); out != "left4dead2/addons/mod.txt: overlays/look (7 B) over overlays/mod (10 B)" {
			t.Errorf("conflicts: %s", out)
		}
		h.sh("l4d2ctl start look")
		h.answers(28301)
		h.watched()
		h.console(28301, "players 2 Nick Coach")
		var v looked
		h.eventually("an answer in time", func() bool { v = h.status("look", "--players"); return v.Map != nil && v.PlayerList != nil })
		if v.State != "active" || v.PID != h.mainPID("look") || *v.Map != "c1m1_hotel" || *v.Players != 2 || v.PlayerList[1].Name != "Coach" {
			t.Errorf("running: %+v", v)
		}
		if v.CPUSeconds == nil || *v.CPUSeconds <= 0 || v.Disk == nil || v.Disk.Bytes <= 0 || !v.Disk.Complete || v.Layers[0].Name != "look" {
			t.Errorf("running: %+v", v)
		}
		if v.Pending == nil || v.changes() != "" || len(v.Unknown) != 0 {
			t.Errorf("a restart would change %+v; unknown: %v", v.Pending, v.Unknown)
		}

		// What a restart would change, and what it does then.
		h.initWith("look", strings.Replace(yaml("look", 28302), "[mod]", "[mod, look]", 1))
		h.sh("echo y >/var/lib/l4d2/overlays/look/left4dead2/addons/new.txt")
		if got := h.status("look").changes(); got != "port, layers, layer look" {
			t.Errorf("a restart would change %q", got)
		}
		if v := h.list()["look"]; v.Port != 28302 {
			t.Errorf("%+v", v)
		}
		h.eventually("it is asked where it runs", func() bool { return h.status("look").Map != nil })
		wantIn(t, "status", h.sh("l4d2ctl status look"), "would change port: 28302 instead of 28301",
			"would change layers: in another order", "left4dead2/addons/new.txt")
		h.sh("l4d2ctl restart look")
		h.answers(28302)
		if v := h.status("look"); v.Pending == nil || v.changes() != "" {
			t.Errorf("after the restart it would change %+v; unknown: %v", v.Pending, v.Unknown)
		}
		if v := h.status("look"); v.LastExit == nil || v.LastExit.Result != "success" {
			t.Errorf("after the restart: %+v", v.LastExit)
		}

		// A crash that the unit counts as a clean end.
		h.Console(h.ctx, 28302, password, "crash")
		h.eventually("the crash is told", func() bool {
			v := h.status("look")
			return v.State == "active" && v.Restarts == 1 && v.LastExit.Code == "killed" && v.LastExit.Status == "SEGV"
		})
		h.answers(28302)
		wantIn(t, "status", h.sh("l4d2ctl status look"), "look  active (running)", "last exit  killed by signal SEGV", "restarted automatically: 1")

		// Others learn what they may.
		out := h.sh("setpriv --reuid nobody --regid nogroup --clear-groups l4d2ctl status look")
		wantIn(t, "status of nobody", out, "look  active (running)", "port not known: ", "only root and the group l4d2 may read it")
		out = h.sh("setpriv --reuid nobody --regid l4d2 --clear-groups l4d2ctl status look")
		wantIn(t, "status of a member", out, "look  active (running)", "c1m1_hotel", "would change nothing",
			"not all was counted", "permission denied") // UMask=0077
	})
}

// watched has list --watch, at a terminal, show what changes, until Ctrl-C.
func (h *host) watched() {
	h.t.Helper()
	h.sh(`cd /root && (script -qfec 'stty rows 30 cols 100; echo $$ >watched.pid; exec l4d2ctl list --watch' watched >/dev/null; echo "exit code $?" >>watched) &`)
	shows := func(want string) {
		h.t.Helper()
		h.eventually("list --watch shows "+want, func() bool { return strings.Contains(h.sh("cat /root/watched 2>/dev/null || true"), want) })
	}
	shows(" 0/8 ")
	h.console(28301, "players 1 Rochelle")
	shows(" 1/8 ")
	h.sh("kill -INT $(cat /root/watched.pid)")
	shows("exit code 130")
}

// typed is someone at a terminal who types a command at the prompt, waits for the
// answer, and leaves.
const typed = `cd /root && mkfifo keys && exec 8<>keys
(script -qfec 'l4d2ctl console talk' typed <keys >/dev/null; echo "exit code $?" >>typed) &
shown() { n=0; until grep -q "$1" typed 2>/dev/null; do n=$((n + 1)); [ $n -lt 600 ] || break; sleep 0.1; done; }
shown 'talk> '; printf 'echo typed\r' >&8
shown '^typed'; printf 'exit\r' >&8
shown '^exit code'; cat typed`

func TestConsole(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("talk", 28303)
		h.fails("l4d2ctl console talk status", "talk: not running", "l4d2ctl start talk")
		h.sh("l4d2ctl start talk")
		h.answers(28303)
		wantIn(t, "console", h.sh("l4d2ctl console talk status"), "hostname: Server talk")
		if out := h.sh("l4d2ctl console talk cvarlist"); strings.Count(out, "z_standin_") != 3000 || !strings.HasSuffix(out, "total convars/concommands") {
			t.Errorf("a long answer: %d bytes", len(out))
		}
		if out := h.sh("l4d2ctl console talk echo 'a; quit'"); out != `a; quit` && out != `"a; quit"` {
			t.Errorf("quoted: %q", out)
		}
		if out := h.sh("printf 'echo one\\necho two\\n' | l4d2ctl console talk"); out != "one\ntwo" {
			t.Errorf("lines: %q", out)
		}
		wantIn(t, "the prompt", h.sh("%s", typed), "talk: connected", "talk> ", "\ntyped", "talk: left", "exit code 0")
		// The server keeps its password until its next start.
		h.initWith("talk", strings.Replace(yaml("talk", 28303), password, "another", 1))
		wantIn(t, "console", h.sh("l4d2ctl console talk echo hi"), "hi")
		h.fails("setpriv --reuid nobody --regid nogroup --clear-groups l4d2ctl console talk status", "sudo")
		wantIn(t, "console of a member", h.sh("setpriv --reuid nobody --regid l4d2 --clear-groups l4d2ctl console talk echo hi"), "hi")

		h.sh("l4d2ctl console talk 'rcon_password changed'")
		h.fails("l4d2ctl console talk status", "wrong rcon password", "it is not tried again", "l4d2ctl restart talk")
		h.eventually("the journal has it", func() bool { return strings.Count(h.journal("talk"), "Bad Password") == 1 })

		// A port that someone else has gets no password: the game is made to run
		// without its TCP port.
		h.sh("l4d2ctl stop talk")
		h.dropIn("talk", "[Service]\nType=exec\nWatchdogSec=0\nExecStart=\nExecStart=/bin/sleep 600\n")
		h.sh("l4d2ctl start talk")
		h.sh("systemd-run -q --unit=listens --uid=nobody -p WorkingDirectory=/var/lib/l4d2/installation ./srcds_linux -game left4dead2 -ip 0.0.0.0 -port 28303 || " +
			"systemd-run -q --unit=listens --uid=nobody -p WorkingDirectory=/var/lib/l4d2/installation /var/lib/l4d2/installation/srcds_linux -game left4dead2 -ip 0.0.0.0 -port 28303")
		h.answers(28303)
		h.fails("l4d2ctl console talk status", "the password is not sent there")
		h.sh("systemctl stop listens")
		h.fails("l4d2ctl console talk status", "connection refused", "l4d2ctl status talk")
	})
}

func TestLogs(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("told", 28304)
		h.sh("l4d2ctl start told")
		h.answers(28304)
		h.sh("journalctl --sync")
		wantIn(t, "logs", h.sh("l4d2ctl logs told"), "mounted "+merged("told"), `Loading map "c1m1_hotel"`, "Started l4d2@told.service")
		if out := h.sh("l4d2ctl logs told -n 1"); strings.Count(out, "\n") != 0 {
			t.Errorf("one line: %s", out)
		}
		if out := h.sh("l4d2ctl logs told --since +2h"); strings.Contains(out, "mounted") {
			t.Errorf("since 2 h from now: %s", out)
		}
		h.fails("l4d2ctl logs told --since yesterweek", "journalctl: exit status 1")
		h.fails("l4d2ctl logs untold", "no such instance")
		// Followed until interrupted, as with Ctrl-C.
		h.sh("(l4d2ctl logs told -f -n 0 >/root/told.log 2>/root/told.err & echo $! >/root/told.pid; wait $!; echo $? >/root/told.code) &")
		h.eventually("what is said later is shown", func() bool {
			h.console(28304, "echo said later")
			return strings.Contains(h.sh("cat /root/told.log"), "said later")
		})
		h.sh("kill -INT $(cat /root/told.pid)")
		h.eventually("it ends", func() bool { return h.sh("cat /root/told.code 2>/dev/null || true") == "130" })
		if out := h.sh("cat /root/told.err; pgrep -f 'journalctl.*l4d2@tol[d]' || true"); out != "" {
			t.Errorf("at the end: %s", out)
		}
	})
}

// A list of many, of which few run and one does not answer.
func TestListOfMany(t *testing.T) {
	const many = 200
	onEach(t, func(h *host) {
		h.initWith("row100", yaml("row100", 28305))
		h.t.Cleanup(func() { h.sh("l4d2ctl stop row100 row101 row102 && rm -rf /var/lib/l4d2/*/row[1-9]*") })
		h.sh("cd /var/lib/l4d2/instances && for i in $(seq 101 %d); do cp -a row100 row$i && sed -i \"s/28305/$((28205 + i))/; s/Server row100/Server row$i/\" row$i/*; done", 100+many-1)
		h.sh("l4d2ctl start row100 row101 row102")
		for i := range 3 {
			h.answers(28305 + i)
		}
		h.console(28307, "standin_mute 600000")
		h.console(28307, "changelevel c5m1_waterfront")
		var out string
		var took time.Duration
		h.eventually("the two that answer, in time", func() bool {
			began := time.Now()
			out = h.sh("l4d2ctl list | grep ^row")
			took = time.Since(began)
			return strings.Count(out, " c1m1_hotel ") == 2
		})
		t.Logf("%s: %d instances listed in %s, a server that says nothing among them", h.Name(), many, took.Round(time.Millisecond))
		for text, want := range map[string]int{"\nrow": many - 1, " inactive ": many - 3, " active ": 3, " (no answer) ": 1} {
			if got := strings.Count(out, text); got != want {
				t.Errorf("%q is %d times in it, want %d", text, got, want)
			}
		}
		rows := h.list()
		for i := range many {
			name := fmt.Sprintf("row%d", 100+i)
			if got := rows[name]; got.Port != 28305+i || (got.PID != 0) != (i < 3) || got.Enabled {
				t.Errorf("%+v", got)
			}
		}
	})
}
