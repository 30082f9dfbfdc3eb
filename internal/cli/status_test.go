package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/record"
	"l4d2-host/internal/systemd"
)

// running makes an instance that was started with its present files, and
// answers.
func (h *host) running(n instance.Name, g gameServer, extra string) (port uint16) {
	h.t.Helper()
	port = g.start(h.t)
	h.onPort(n, port, extra)
	must(h.t, os.MkdirAll(filepath.Join(h.layout.Upper(n), "left4dead2/cfg"), 0o755))
	config, err := os.ReadFile(h.layout.ServerConfig(n))
	must(h.t, err)
	must(h.t, os.WriteFile(filepath.Join(h.layout.Upper(n), serverConfigPath), config, 0o644))
	time.Sleep(30 * time.Millisecond) // the clock of files has ticks
	h.writeStart(n)
	h.set(n, up)
	return port
}

// jsonOf is what status --json prints, times and measures taken out.
func (h *host) jsonOf(n instance.Name, args ...string) (got, measured map[string]any) {
	h.t.Helper()
	h.run(ExitDone, append([]string{"status", "--json", string(n)}, args...)...)
	must(h.t, json.Unmarshal(h.out.Bytes(), &got))
	measured = map[string]any{}
	for _, key := range []string{"cpu_percent", "disk", "uptime_seconds"} {
		if _, ok := got[key]; !ok {
			h.t.Errorf("no %s", key)
		}
		measured[key] = got[key]
		delete(got, key)
	}
	return got, measured
}

// The keys are what programs may rely on: whoever changes this test changes
// that.
func TestStatusJSON(t *testing.T) {
	h := newHost(t, "a", "b")
	must(t, os.MkdirAll(h.layout.Overlay("mod-1"), 0o755))
	must(t, os.Symlink("mod-1", h.layout.Overlay("mod")))
	port := h.running("a", gameServer{bots: 1, hostname: "Versus", mapName: "c1m1_hotel", players: []string{"Nick\x1b[0m", ""}}, "overlays: [mod]\n")
	since := time.Unix(1_700_000_000, 0)
	cpu, memory := 3*time.Second, uint64(5<<20)
	h.set("a", func(u *systemd.Unit) {
		u.Since, u.Changed, u.NRestarts, u.Enabled = since, since, 1, true
		u.Result, u.StatusText, u.CPU, u.Memory = "success", "playing", &cpu, &memory
	})
	h.writeEnd("a", record.End{At: since, Result: "success", Code: "killed", Status: "SEGV"})

	got, measured := h.jsonOf("a", "--players")
	at := since.UTC().Format(time.RFC3339)
	want := map[string]any{
		"name": "a", "port": float64(port), "state": "active", "substate": "running", "pid": 42.0,
		"since": at, "restarts": 1.0, "enabled": true, "error": nil,
		"hostname": "Versus", "map": "c1m1_hotel", "players": 2.0, "max_players": 8.0, "bots": 1.0, "query_error": nil,
		"state_since": at, "result": "success", "status_text": "playing",
		"last_exit":   map[string]any{"at": at, "result": "success", "code": "killed", "status": "SEGV"},
		"cpu_seconds": 3.0, "memory_bytes": float64(memory),
		"layers": []any{
			map[string]any{"name": "mod", "path": h.layout.Overlay("mod"), "target": "mod-1"},
			map[string]any{"name": "installation", "path": h.layout.Installation(), "target": nil},
		},
		"unapplied": false, "pending": []any{},
		"player_list": []any{
			map[string]any{"name": "Nick\x1b[0m", "score": 0.0, "connected_seconds": 60.0},
			map[string]any{"name": "", "score": 10.0, "connected_seconds": 120.0},
		},
		"unknown": map[string]any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d := measured["disk"].(map[string]any); len(d) != 3 || d["bytes"].(float64) <= 0 || d["files"].(float64) != 3 || d["complete"] != true {
		t.Errorf("disk %v", d)
	}
	if measured["cpu_percent"] != 0.0 || measured["uptime_seconds"].(float64) < 1e6 {
		t.Errorf("%v", measured)
	}
	if strings.Contains(h.out.String(), "\x1b") {
		t.Errorf("an escape as it is: %q", &h.out)
	}

	got, measured = h.jsonOf("b")
	want = map[string]any{
		"name": "b", "port": 27016.0, "state": "inactive", "substate": "dead", "pid": nil,
		"since": nil, "restarts": nil, "enabled": false, "error": nil,
		"hostname": nil, "map": nil, "players": nil, "max_players": nil, "bots": nil, "query_error": nil,
		"state_since": nil, "result": "success", "status_text": nil, "last_exit": nil,
		"cpu_seconds": nil, "memory_bytes": nil,
		"layers":    []any{map[string]any{"name": "installation", "path": h.layout.Installation(), "target": nil}},
		"unapplied": false, "pending": nil, "player_list": nil, "unknown": map[string]any{},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if measured["cpu_percent"] != nil {
		t.Errorf("%v", measured)
	}
}

func (h *host) writeEnd(n instance.Name, e record.End) {
	h.t.Helper()
	dir, err := os.Open(h.layout.Runtime(n))
	must(h.t, err)
	defer dir.Close()
	must(h.t, record.WriteEnd(int(dir.Fd()), e))
}

func TestStatusText(t *testing.T) {
	h := newHost(t, "a")
	h.running("a", gameServer{bots: 1, hostname: "Ver\"sus\x1b]0;x\a", mapName: "c1m1\x1b[2J", players: []string{"Nick\nb  failed"}}, "")
	cpu, memory := 3*time.Second, uint64(5_000_000)
	h.set("a", func(u *systemd.Unit) {
		u.Changed, u.CPU, u.Memory, u.StatusText = time.Now().Add(-time.Hour), &cpu, &memory, "line\r\x1b[1m"
	})
	h.writeEnd("a", record.End{At: time.Now().Add(-time.Minute), Result: "success", Code: "killed", Status: "SEGV"})
	h.run(ExitDone, "status", "a", "--players")
	h.says(&h.out,
		"a  active (running) since ", ", 1h00m; at boot: disabled\n",
		`"Ver\"sus\x1b]0;x\a", c1m1\x1b[2J, 1/8 players, port `, "\n",
		`  players    Nick\nb  failed, score 0, here for 1m00s`+"\n",
		`  says       line\r\x1b[1m`+"\n",
		"  process    42, restarted automatically: 0\n",
		"  last exit  killed by signal SEGV, 1m0",
		"  cpu        0.0% of a processor now, 3s in all\n",
		"  memory     5.0 MB\n",
		"  disk       ", " files of its own\n",
		"  layers     1 installation\n",
		"  restart    would change nothing\n")
	h.saysNot(&h.out, "\x1b")
}

func TestStatusOfWhatARestartChanges(t *testing.T) {
	h := newHost(t, "a")
	for _, l := range []instance.Name{"kept", "dropped", "swapped", "linked-1", "linked-2", "edited", "added"} {
		must(t, os.MkdirAll(filepath.Join(h.layout.Overlay(l), "left4dead2"), 0o755))
	}
	must(t, os.Symlink("linked-1", h.layout.Overlay("linked")))
	port := h.running("a", gameServer{mapName: "m"}, "arguments: [-tickrate 100, +rcon_password hush]\n"+
		"overlays: [kept, dropped, swapped, linked, edited]\nconfig: [hostname a]\n")
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "would change nothing\n")

	h.onPort("a", 27099, "arguments: ['+sv_tags \"a b\"', +rcon_password hush2]\n"+
		"overlays: [added, kept, swapped, linked, edited]\nconfig: [hostname b, rcon_password hush3]\n")
	must(t, os.Rename(h.layout.Overlay("swapped"), h.layout.Overlay("away")))
	must(t, os.Mkdir(h.layout.Overlay("swapped"), 0o755))
	must(t, os.Remove(h.layout.Overlay("linked")))
	must(t, os.Symlink("linked-2", h.layout.Overlay("linked")))
	must(t, os.WriteFile(filepath.Join(h.layout.Overlay("edited"), "left4dead2", "new\n.vpk"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(h.layout.Upper("a"), serverConfigPath), []byte("rcon_password mine"), 0o644))
	h.set("a", func(u *systemd.Unit) { u.Stale = true })
	h.run(ExitDone, "status", "a")
	h.says(&h.out, fmt.Sprintf(", m, 0/8 players, port %d\n", port),
		"  restart    would change port: 27099 instead of ",
		`would change arguments: +sv_tags 'a b' +rcon_password ********`, ` instead of -tickrate 100 +rcon_password ********`,
		"would change layers: with added, without dropped\n",
		"would change server.cfg: lines added: 2, removed: 1\n",
		"would change server.cfg: the server has changed its own; the generated one comes back\n",
		"would change unit: its files changed; systemctl daemon-reload has systemd read them\n",
		"would change layer swapped: another directory has its name now\n",
		"would change layer linked: another directory has its name now\n",
		`would change layer edited: changed since the start: 2 (`, `"left4dead2/new\n.vpk"`)
	h.saysNot(&h.out, "hush")
	h.saysNot(&h.out, "layer kept")
	h.saysNot(&h.out, "layer installation")

	got, _ := h.jsonOf("a")
	if pending := got["pending"].([]any); len(pending) != 9 {
		t.Errorf("%d changes: %v", len(pending), pending)
	}

	// Changed back, but for one.
	h.onPort("a", port, "arguments: [-tickrate 100, +rcon_password hush]\n"+
		"overlays: [dropped, kept, swapped, linked, edited]\nconfig: [hostname a]\n")
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "would change layers: in another order\n")
	h.saysNot(&h.out, "change port")
	h.saysNot(&h.out, "change arguments")
}

func TestStatusOfSpecNotApplied(t *testing.T) {
	h := newHost(t, "a")
	must(t, os.WriteFile(h.layout.Spec("a"), []byte("port: 27015\nconfig: [hostname new]\n"), 0o640))
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "edited and not applied; this does it: l4d2ctl init a "+h.layout.Spec("a")+"\n")
	must(t, os.WriteFile(h.layout.Spec("a"), []byte("port: x\n"), 0o640))
	h.run(ExitFailed, "status", "a")
	h.says(&h.err, "l4d2ctl: status: a: ", "instance.yaml:1")
	h.says(&h.out, "a  inactive (dead)")
}

// What was written down at another start says nothing of this one.
func TestStatusWithoutRecord(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", up)
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "what it would change is not known: it was not written down\n", "port 27015, nobody listens on its port")
	h.writeStart("a")
	h.set("a", func(u *systemd.Unit) { u.Begun = time.Now().Add(time.Hour) })
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "what it would change is not known: what was written down is of an earlier start\n")
}

func TestStatusOfTheUnknown(t *testing.T) {
	h := newHost(t, "a")
	h.run(ExitFailed, "status", "b")
	h.says(&h.err, "l4d2ctl: status: b: no such instance\nl4d2ctl: hint: make it with: l4d2ctl init b SPEC\n")

	h.systemd = nil
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "a  unknown: systemd is not running on this machine\n", "port 27015\n", "1 installation\n")
	got, _ := h.jsonOf("a")
	if got["state"] != "unknown" || got["unknown"].(map[string]any)["state"] == nil {
		t.Errorf("%v", got)
	}
}

func TestLastExit(t *testing.T) {
	for want, e := range map[string]lastExit{
		"ended with exit code 0":                              {Result: "success", Code: "exited", Status: "0"},
		"stopped by INT":                                      {Result: "success", Code: "killed", Status: "INT"},
		"killed by signal SEGV":                               {Result: "success", Code: "killed", Status: "SEGV"},
		"killed by signal ABRT (core dumped)":                 {Result: "core-dump", Code: "dumped", Status: "ABRT"},
		"killed by signal KILL: the memory ran out":           {Result: "oom-kill", Code: "killed", Status: "KILL"},
		"the server was not started: a step before it failed": {Result: "exit-code"},
	} {
		if got := e.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	// Without a record, systemd knows of a unit that has stopped.
	h := newHost(t, "a")
	h.set("a", func(u *systemd.Unit) {
		u.ActiveState, u.SubState, u.Result, u.ExecMainCode, u.ExecMainStatus, u.Ended = "failed", "failed", "exit-code", 1, 127, time.Now()
	})
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "a  failed, result exit-code", "  last exit  ended with exit code 127, ")
}

// Who is neither root nor in the group learns what may be known, and why the
// rest is not.
func TestStatusWhatMayNotBeRead(t *testing.T) {
	u := unknowns{}
	u.because("port", &fs.PathError{Op: "open", Path: "/x/instance.env", Err: unix.EACCES})
	u.because("disk", errors.New("else"))
	if diff := cmp.Diff(unknowns{"port": "/x/instance.env: only root and the group l4d2 may read it", "disk": "else"}, u); diff != "" {
		t.Error(diff)
	}
}

// The game decides how much there is to look at, and how deep.
func TestStatusOfHostileUpper(t *testing.T) {
	h := newHost(t, "a")
	must(t, os.MkdirAll(filepath.Join(h.layout.Upper("a"), strings.Repeat("d/", 100)), 0o755))
	must(t, os.Symlink("/", filepath.Join(h.layout.Upper("a"), "root")))
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "  disk       at least ", `not all was counted: open "d/d/d`, "…\n")
}
