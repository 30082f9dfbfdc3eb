package systemtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"l4d2-host/internal/roll"
)

// rolling is what l4d2ctl restart --when-empty --status --json says.
type rolling struct {
	Running bool
	roll.State
}

func (h *host) rolling() (v rolling) {
	h.t.Helper()
	out := h.sh("l4d2ctl restart --when-empty --status --json")
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	return v
}

// states are those of the servers of the present roll, in their order.
func (v rolling) states() string {
	var states []string
	for _, s := range v.Servers {
		states = append(states, s.State)
	}
	return strings.Join(states, " ")
}

// Players come and go, the terminal is closed meanwhile, and a second roll is
// refused.
func TestRollingRestart(t *testing.T) {
	onEach(t, func(h *host) {
		pids := map[string]int{}
		var names []string
		for i := range 4 {
			name := fmt.Sprintf("roll%d", i+1)
			h.init(name, 28310+i)
			names = append(names, name)
		}
		h.sh("l4d2ctl start %s", strings.Join(names, " "))
		for i, name := range names {
			h.answers(28310 + i)
			pids[name] = h.mainPID(name)
		}
		h.console(28310, "players 3 Nick")
		h.console(28311, "bots 4")                // nobody
		h.console(28312, "standin_status 1")      // by A2S it is empty
		h.console(28313, "standin_a2s 1; bots 2") // by its console it is

		// One that is not started.
		h.sh(`printf 'port: 28319\nconfig: []\n' >/root/roll5.yaml; l4d2ctl init roll5 /root/roll5.yaml`)
		h.t.Cleanup(func() { h.sh("l4d2ctl delete --yes roll5") })

		// The terminal goes while it waits.
		h.sh("setsid -w env --default-signal=HUP timeout --signal=HUP 600 l4d2ctl restart --when-empty --warn '{time} %%s $HOME' --within 5h %s roll5 >/root/roll.log 2>&1 & echo $! >/root/roll.pid", strings.Join(names, " "))
		h.eventually("the one with bots alone is restarted", func() bool { return h.show("roll2", "MainPID") != fmt.Sprint(pids["roll2"]) })
		h.eventually("it is seen to wait", func() bool {
			return strings.Contains(h.sh("cat /root/roll.log"), "roll3: waiting: nobody plays by its answer to a query, but 1 by its console") &&
				h.rolling().states() == "waiting restarted waiting waiting"
		})
		h.sh("kill -HUP $(pgrep -f '^l4d2ctl restart --when-empty --warn')")
		h.eventually("l4d2ctl is gone", func() bool { return h.sh("pgrep -f '^l4d2ctl restart --when-empty --warn' || true") == "" })
		if v := h.rolling(); !v.Running || v.Servers[0].Players == nil || *v.Servers[0].Players != 3 || v.Servers[1].At == nil || v.Deadline == nil {
			t.Errorf("%+v", v)
		}
		wantIn(t, "the log", h.sh("cat /root/roll.log"), "roll5: it does not run, and stays so", "roll1: waiting: players: 3", "roll4: waiting: players: 1", "roll2: restarted, players can join")
		wantIn(t, "status", h.sh("setpriv --reuid nobody --regid nogroup --clear-groups l4d2ctl restart --when-empty --status"), ": goes on", "roll1  waiting", "players: 3")
		wantIn(t, "systemctl", h.sh("systemctl status --no-pager l4d2-restart"), "1 of 4 restarted; waiting roll1: players: 3")
		h.fails("l4d2ctl restart --when-empty roll2", "another rolling restart is under way", "--cancel")
		h.fails("setpriv --reuid nobody --regid l4d2 --clear-groups l4d2ctl restart --when-empty roll2", "must be root")
		if got := h.sh("systemctl show -P CapabilityBoundingSet -P ProtectSystem -P NoNewPrivileges l4d2-restart | tr '\\n' ' '"); !strings.Contains(got, "strict") || !strings.Contains(got, "yes") || strings.Contains(got, "cap_") {
			t.Errorf("the sandbox: %q", got)
		}
		// 1.7 with systemd 252 and 257.
		var exposure float64
		security := h.sh("systemd-analyze security --no-pager l4d2-restart | tail -n 1")
		if _, score, found := strings.Cut(security, "l4d2-restart.service: "); !found {
			t.Errorf("systemd-analyze security: %s", security)
		} else if n, err := fmt.Sscan(score, &exposure); n != 1 || exposure > 1.8 {
			t.Errorf("systemd-analyze security: %s, %v", security, err)
		}

		// They leave, one by one; one server is restarted by someone else.
		h.console(28313, "standin_a2s -1")
		h.console(28310, "players 0")
		h.sh("l4d2ctl restart roll3")
		h.eventually("all is done", func() bool { v := h.rolling(); return !v.Running && v.Outcome != nil })
		if v := h.rolling(); *v.Outcome != roll.Done || v.states() != "restarted restarted skipped restarted" {
			t.Errorf("%+v", v)
		}
		for i, name := range names {
			h.answers(28310 + i)
			if h.mainPID(name) == pids[name] {
				t.Errorf("%s was not restarted", name)
			}
		}
		if got := h.sh("systemctl is-active l4d2-restart l4d2@roll5 || true"); got != "inactive\ninactive" {
			t.Errorf("in the end: %s", got)
		}
		if got := h.sh("journalctl -u l4d2-restart --boot -o cat -p warning"); got != "" {
			t.Errorf("warnings in the journal: %s", got)
		}
	})
}

// With and without force, what is told to players, and what ends a roll.
func TestRollingRestartDeadline(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("due1", 28320)
		h.init("due2", 28321)
		h.sh("l4d2ctl start due1 due2")
		h.answers(28320)
		h.answers(28321)
		h.console(28320, "players 2")
		pid := h.mainPID("due1")
		out := h.fails("l4d2ctl restart --when-empty --within 3s --json --all", "due1: left as it is: at the deadline: players: 2", "left as they are: 1", `"outcome": "left"`)
		if h.mainPID("due1") != pid || strings.Contains(out, "told its players") {
			t.Errorf("due1 runs as %d, before as %d: %s", h.mainPID("due1"), pid, out)
		}
		if got := h.sh("systemctl is-failed l4d2-restart"); got != "failed" { // for whoever watches units
			t.Errorf("the unit is %s", got)
		}
		h.sh("l4d2ctl restart --when-empty --within 3s --force --warn 'Back in {time}; \"quit' due1 >/dev/null 2>&1; test $? = 2")
		out = h.sh("l4d2ctl restart --when-empty --within 4s --force --warn 'Back soon; quit // {time}' due1 due2")
		wantIn(t, "by force", out, "due1: restarting it now, at the deadline: players: 2", "due1: restarted", "due2: restarted")
		if h.mainPID("due1") == pid {
			t.Error("due1 was not restarted")
		}
		h.sh("journalctl --sync")
		wantIn(t, "what players saw", h.journal("due1"), "Console: Back soon; quit // 4 seconds")

		// One that cannot start any more ends it, and the others are left.
		h.answers(28320)
		h.dropIn("due1", "[Service]\nRestart=no\nExecStartPre=/bin/sh -c 'echo no good; exit 7'\n")
		h.fails("l4d2ctl restart --when-empty due1 due2", "no good", "due1: restart l4d2@due1.service: the unit failed", "due2: left as it is: the restart of due1 failed", "a restart failed, and the rest was not tried")
		if v := h.rolling(); *v.Outcome != roll.SomeFailed || v.states() != "failed left" {
			t.Errorf("%+v", v)
		}

		// It is cancelled while it waits, and the unit is at rest then.
		h.console(28321, "players 1")
		h.sh("l4d2ctl restart --when-empty due2 >/root/due.log 2>&1 & echo $! >/root/due.pid")
		h.eventually("it waits", func() bool { return strings.Contains(h.sh("cat /root/due.log"), "due2: waiting: players: 1") })
		h.sh("l4d2ctl restart --when-empty --cancel")
		h.eventually("the one who watches is told", func() bool { return strings.Contains(h.sh("cat /root/due.log"), "the rolling restart was cancelled") })
		if got := h.sh("systemctl is-active l4d2-restart || true"); got != "inactive" {
			t.Errorf("the unit is %s", got)
		}
	})
}
