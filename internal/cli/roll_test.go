package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

// rollEnds lets the unit end as soon as it has begun, with that state.
func (h *host) rollEnds(outcome string, servers ...roll.Server) {
	h.systemd.on["transient"] = func(_ context.Context, u *systemd.Unit) error {
		at := time.Now().UTC().Truncate(time.Second)
		state := roll.State{Begun: at, AtOnce: 1, Servers: servers}
		if outcome != "" {
			state.Ended, state.Outcome = &at, &outcome
		}
		text, err := json.Marshal(state)
		must(h.t, err)
		must(h.t, os.WriteFile(filepath.Join(h.program.RollDir, rollState), text, 0o644))
		u.InvocationID = "ab02"
		return nil
	}
}

func TestRollStartsAUnit(t *testing.T) {
	h := newHost(t, "a", "b", "c")
	h.set("a", up)
	h.set("c", up)
	h.systemd.journal = []string{"a: waiting: players: 2", "\x1b[31m"}
	h.rollEnds(roll.Done, roll.Server{Name: "a", State: roll.Restarted}, roll.Server{Name: "c", State: roll.Skipped, Detail: "why"})
	h.run(ExitDone, "restart", "--when-empty", "--within", "90m", "--at-once=2", "--force", "--warn=-$HOME %n {time}", "c", "b", "a", "c")
	h.says(&h.err, "b: it does not run, and stays so\n", "a: waiting: players: 2\n", "\\x1b[31m\n")
	h.says(&h.out, "a: restarted\n", "c: skipped: why\n")
	h.called("reset l4d2-restart.service", "transient l4d2-restart.service")
	executable, err := os.Executable()
	must(t, err)
	want := []string{executable, "--root", h.layout.Root(), "restart", "--when-empty", "--in-unit", "--at-once", "2", "--within", "1h30m0s",
		"--force", "--warn=-$HOME %n {time}", "--", "c", "a"}
	if got := h.systemd.transient.Command; !slices.Equal(got, want) {
		t.Errorf("the unit runs %q, want %q", got, want)
	}
	if h.systemd.run != "ab02" {
		t.Errorf("followed the run %q", h.systemd.run)
	}
	// What the unit runs is understood as it was meant.
	var line commandLine
	if _, err := h.program.newParser(&line).Parse(want[1:]); err != nil {
		t.Fatal(err)
	}
	if c := line.Restart; !c.InUnit || c.Within != 90*time.Minute || c.AtOnce != 2 || !c.Force || c.Warn != "-$HOME %n {time}" || len(c.Names) != 2 {
		t.Errorf("%+v", c)
	}
}

func TestRollAll(t *testing.T) {
	h := newHost(t, "a", "b")
	h.run(ExitDone, "restart", "--when-empty", "--all")
	h.says(&h.err, "none of them runs: nothing to restart\n")
	h.called()
	h.set("b", up)
	h.rollEnds(roll.Done)
	h.run(ExitDone, "restart", "--when-empty", "--all")
	if c := h.systemd.transient.Command; c[len(c)-1] != "b" || c[len(c)-2] != "--" {
		t.Errorf("%q", c)
	}
	h.program.Superuser = false
	h.run(ExitFailed, "restart", "--when-empty", "--all")
	h.says(&h.err, "must be root")
}

func TestRollOutcomes(t *testing.T) {
	for outcome, want := range map[string]string{
		roll.SomeFailed: "a restart failed", roll.SomeLeft: "left as they are: 1", roll.Cancelled: "the rolling restart was cancelled",
		"": "the rolling restart was ended before it was done",
	} {
		h := newHost(t, "a")
		h.set("a", up)
		h.rollEnds(outcome, roll.Server{Name: "a", State: roll.Left, Detail: "at the deadline"})
		h.run(ExitFailed, "restart", "--when-empty", "--json", "a")
		h.says(&h.err, want)
		var v rolled
		if err := json.Unmarshal(h.out.Bytes(), &v); err != nil || v.Running || v.Servers[0].State != roll.Left {
			t.Errorf("%v: %s", err, &h.out)
		}
	}
}

func TestSecondRollIsRefused(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	h.systemd.on["transient"] = func(context.Context, *systemd.Unit) error { return systemd.ErrExists }
	h.run(ExitFailed, "restart", "--when-empty", "a")
	h.says(&h.err, "another rolling restart is under way\n", "hint: see how far it has got: l4d2ctl restart --when-empty --status\n",
		"hint: end it: l4d2ctl restart --when-empty --cancel\n")
}

// Ctrl-C ends the watching alone.
func TestRollOutlivesInterrupt(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	ctx, interrupt := context.WithCancel(context.Background())
	defer interrupt()
	h.systemd.on["transient"] = func(_ context.Context, u *systemd.Unit) error {
		up(u)
		time.AfterFunc(50*time.Millisecond, interrupt)
		return nil
	}
	h.runIn(ctx, ExitInterrupted, "restart", "--when-empty", "a")
	h.says(&h.err, "it goes on\n", "--status\n", "--cancel\n")
	h.called("reset l4d2-restart.service", "transient l4d2-restart.service")
}

func TestRollStatusAndCancel(t *testing.T) {
	h := newHost(t, "a")
	status := func() { h.t.Helper(); h.run(ExitDone, "restart", "--when-empty", "--status") }
	status()
	h.says(&h.err, "there has been no rolling restart since the machine was booted\n")
	h.run(ExitDone, "restart", "--when-empty", "--status", "--json")
	h.says(&h.out, "null\n")
	h.run(ExitDone, "restart", "--when-empty", "--cancel")
	h.says(&h.err, "no rolling restart is under way\n")
	h.called()

	h.rollEnds("", roll.Server{Name: "a", State: roll.Waiting, Detail: "players: 2"})
	must(t, h.systemd.StartTransient(context.Background(), systemd.Transient{Name: rollUnit}))
	status()
	h.says(&h.out, "rolling restart, 1 at a time, begun ", ": was ended before it was done\n", "  a  waiting  players: 2\n")
	u := h.systemd.units[rollUnit]
	up(&u)
	h.systemd.units[rollUnit] = u
	h.program.Superuser = false
	status()
	h.says(&h.out, ": goes on\n")
	h.run(ExitDone, "restart", "--when-empty", "--cancel")
	h.says(&h.out, "cancelled\n")
	h.called("transient l4d2-restart.service", "stop l4d2-restart.service")
}

func TestRollUsage(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	for line, want := range map[string]string{
		"--all":                                     "go with --when-empty",
		"--within 1h a":                             "go with --when-empty",
		"--status":                                  "go with --when-empty",
		"--when-empty":                              `expected "<name> ..." or --all`,
		"--when-empty --all a":                      "--all goes with no names",
		"--when-empty --force a":                    "go with --within",
		"--when-empty --warn x a":                   "go with --within",
		"--when-empty --within=-1h a":               "more than nothing",
		"--when-empty --at-once 0 a":                "more than nothing",
		"--when-empty --status --cancel":            "go with nothing else",
		"--when-empty --status a":                   "go with nothing else",
		"--when-empty --cancel --all":               "go with nothing else",
		"--when-empty --status --force":             "go with nothing else",
		`--when-empty --within 1h --warn ";quit" a`: "double quote",
	} {
		h.run(ExitUsage, append([]string{"restart"}, strings.Fields(line)...)...)
		h.says(&h.err, want, "hint: see l4d2ctl restart --help")
	}
	h.called()
}

// The part that the unit runs, with servers that answer.
func TestRollInUnit(t *testing.T) {
	humans := 0
	c := &consoleServer{password: "secret", answer: func(string) string {
		return fmt.Sprintf("players : %d humans, 1 bots (8 max)\n#end\n", humans)
	}}
	h := consoleHost(t, c)
	port := c.portOf(h)
	gameServer{players: []string{"Coach"}, bots: 1, port: port}.start(t)
	h.systemd.on["restart"] = func(_ context.Context, u *systemd.Unit) error { u.InvocationID = "ab09"; return nil }
	h.run(ExitDone, "restart", "--when-empty", "--in-unit", "a", "b")
	h.says(&h.err, "a: nobody plays, restarting it\n", "a: restarted, players can join\n", "b: it does not run, and stays so\n")
	h.called("reset l4d2@a.service", "restart l4d2@a.service")
	state := h.rollState()
	if *state.Outcome != roll.Done || state.Servers[0].State != roll.Restarted || state.Servers[1].State != roll.Skipped {
		t.Errorf("%+v", state)
	}
}

func (h *host) rollState() roll.State {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.program.RollDir, rollState))
	must(h.t, err)
	var state roll.State
	must(h.t, json.Unmarshal(text, &state))
	return state
}

// A password that is refused is not tried again while the server runs on.
func TestRollTriesAPasswordOnce(t *testing.T) {
	c := &consoleServer{password: "another", answer: func(string) string { return "" }}
	h := consoleHost(t, c)
	gameServer{port: c.portOf(h)}.start(t)
	c.password = "changed"
	s := &session{Program: &h.program, output: &output{}, ctx: context.Background(), layout: h.layout}
	servers := newRollServers(s, h.systemd)
	for range 3 {
		if _, err := servers.Look(s.ctx, []instance.Name{"a"}); err != nil {
			t.Fatal(err)
		}
		if _, err := servers.Console(s.ctx, "a", "status"); !errors.Is(err, rcon.ErrPassword) {
			t.Errorf("%v", err)
		}
	}
	if got := c.tried(); len(got) != 1 {
		t.Errorf("%d logins", len(got))
	}
	h.set("a", func(u *systemd.Unit) { u.InvocationID = "cd02" })
	c.password = "another"
	_, err := servers.Look(s.ctx, []instance.Name{"a"})
	must(t, err)
	if _, err := servers.Console(s.ctx, "a", "status"); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// A connection that is lost in hours of waiting is made again.
func TestRollReconnects(t *testing.T) {
	h := newHost(t, "a")
	lost := newFakeManager()
	lost.denied = systemd.ErrLost
	s := &session{Program: &h.program, output: &output{}, ctx: context.Background(), layout: h.layout}
	servers := newRollServers(s, lost)
	for range 2 {
		if sights, err := servers.Look(s.ctx, []instance.Name{"a"}); err != nil || sights[0].Condition != roll.Stopped {
			t.Errorf("%+v, %v", sights, err)
		}
	}
	if !lost.closed || servers.m != Manager(h.systemd) {
		t.Error("not connected anew")
	}
}

func TestRollConditions(t *testing.T) {
	h := newHost(t, "a")
	s := &session{Program: &h.program, output: &output{}, ctx: context.Background(), layout: h.layout}
	servers := newRollServers(s, h.systemd)
	servers.runs["a"] = "ab01"
	for want, change := range map[roll.Condition]func(*systemd.Unit){
		roll.Running: up,
		roll.Stopped: down,
		roll.Renewed: func(u *systemd.Unit) { up(u); u.InvocationID = "ab02" },
		roll.Busy:    func(u *systemd.Unit) { up(u); u.ActiveState = "activating" },
	} {
		h.set("a", change)
		h.onPort("a", gameServer{}.start(t), "")
		sights, err := servers.Look(s.ctx, []instance.Name{"a"})
		if err != nil || sights[0].Condition != want || sights[0].Err != nil || (sights[0].Info.MaxPlayers == 8) != (want == roll.Running) {
			t.Errorf("%+v, %v, want %v", sights, err, want)
		}
	}
}

// One that is down after its restart ends the roll, with the end of its journal.
func TestRollInUnitFails(t *testing.T) {
	c := &consoleServer{password: "secret", answer: func(string) string { return "players : 0 humans, 0 bots (8 max)\n" }}
	h := consoleHost(t, c)
	gameServer{port: c.portOf(h)}.start(t)
	h.systemd.journal = []string{"no game"}
	h.systemd.on["restart"] = func(_ context.Context, u *systemd.Unit) error {
		u.ActiveState, u.Result = "failed", "exit-code"
		return &systemd.JobError{Unit: u.Name, Verb: "restart", Result: "failed"}
	}
	h.run(ExitFailed, "restart", "--when-empty", "--in-unit", "a")
	h.says(&h.err, "    no game\n", "a: restart l4d2@a.service: the unit failed: result exit-code\n", "restarted: 0, failed: 1, left as they are: 0")
	if state := h.rollState(); *state.Outcome != roll.SomeFailed || state.Servers[0].Detail != "restart l4d2@a.service: the unit failed: result exit-code" {
		t.Errorf("%+v", state)
	}
}

// Half a restart is a server that is down: what has begun is finished.
func TestRollFinishesARestart(t *testing.T) {
	c := &consoleServer{password: "secret", answer: func(string) string { return "players : 0 humans, 0 bots (8 max)\n" }}
	h := consoleHost(t, c)
	gameServer{port: c.portOf(h)}.start(t)
	ctx, interrupt := context.WithCancel(context.Background())
	h.systemd.on["restart"] = func(ctx context.Context, u *systemd.Unit) error {
		interrupt()
		return ctx.Err()
	}
	h.runIn(ctx, ExitDone, "restart", "--when-empty", "--in-unit", "a")
	if state := h.rollState(); state.Servers[0].State != roll.Restarted {
		t.Errorf("%+v\n%s", state, &h.err)
	}
}

func TestRollText(t *testing.T) {
	s := roll.State{Servers: []roll.Server{{Name: "a", State: roll.Restarted}, {Name: "b", State: roll.Waiting, Detail: "players: 2\n"}, {Name: "c", State: roll.Restarting}}}
	if got, want := rollText(s), `1 of 3 restarted; waiting b: players: 2\n; restarting c`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	s.Servers = make([]roll.Server, 300)
	if got := rollText(s); len([]rune(got)) > rollStatusLength {
		t.Errorf("%d characters", len([]rune(got)))
	}
}

func TestWithoutName(t *testing.T) {
	for text, want := range map[string]string{"a: b: c": "b: c", "ab: c": "ab: c"} {
		if got := withoutName("a", errors.New(text)); got.Error() != want {
			t.Errorf("%q became %q", text, got)
		}
	}
}
