package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/systemd"
)

func TestListJSON(t *testing.T) {
	h := newHost(t, "a", "b", "c", "d")
	since := time.Now().Add(-time.Hour)
	port := gameServer{bots: 1, hostname: "Versus \x1b[31m1", mapName: "c1m1_hotel", players: []string{"Nick", "Coach"}}.start(t)
	h.onPort("a", port, "")
	h.set("a", up)
	h.set("a", func(u *systemd.Unit) { u.Enabled, u.Since, u.NRestarts = true, since, 2 })
	must(t, os.WriteFile(h.layout.Spec("c"), []byte("port: x\n"), 0o640))
	must(t, os.WriteFile(h.layout.Spec("d"), []byte("port: x\n"), 0o640))
	must(t, os.Remove(h.layout.Env("d")))
	h.run(ExitFailed, "list", "--json")

	var got []map[string]any
	must(t, json.Unmarshal(h.out.Bytes(), &got))
	if len(got) != 4 {
		t.Fatalf("%d instances, want 4", len(got))
	}
	if up := got[0]["uptime_seconds"].(float64); up < 3600 || up > 4200 {
		t.Errorf("up for %v s, want an hour", up)
	}
	delete(got[0], "uptime_seconds")
	for _, l := range got[2:] {
		if text, _ := l["error"].(string); !strings.Contains(text, "instance.yaml:1") {
			t.Errorf("error of %s: %q does not say where", l["name"], text)
		}
		delete(l, "error")
	}
	silent := func(m map[string]any) map[string]any {
		for _, key := range []string{"hostname", "map", "players", "max_players", "bots", "query_error"} {
			m[key] = nil
		}
		return m
	}
	stopped := func(name string, port any) map[string]any {
		return silent(map[string]any{"name": name, "port": port, "state": "inactive", "substate": "dead",
			"pid": nil, "since": nil, "uptime_seconds": nil, "restarts": nil, "enabled": false})
	}
	want := []map[string]any{
		{"name": "a", "port": float64(port), "state": "active", "substate": "running", "pid": 42.0,
			"since": since.UTC().Format(time.RFC3339), "restarts": 2.0, "enabled": true, "error": nil,
			"hostname": "Versus \x1b[31m1", "map": "c1m1_hotel", "players": 2.0, "max_players": 8.0, "bots": 1.0, "query_error": nil},
		stopped("b", 27016.0),
		stopped("c", 27017.0), // what was generated still tells its port
		stopped("d", nil),
	}
	want[1]["error"] = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	h.says(&h.err, "l4d2ctl: list: c: ", "l4d2ctl: list: d: ")
}

func TestListTable(t *testing.T) {
	h := newHost(t, "a", "long-name", "b")
	h.onPort("a", gameServer{mapName: "c1m1_hotel\x1b[2J\n", players: []string{"x"}}.start(t), "")
	h.set("a", up)
	h.set("b", func(u *systemd.Unit) { u.ActiveState, u.SubState, u.NRestarts = "activating", "auto-restart", 7 })
	h.run(ExitDone, "list")
	port := strconv.Itoa(int(h.listedPort("a")))
	want := "" +
		"NAME       PORT   STATE         MAP                  PLAYERS  PID  UPTIME  RESTARTS  BOOT\n" +
		"a          " + port + "  active        c1m1_hotel\\x1b[2J\\n  1/8      42   -       0         disabled\n" +
		"b          27017  auto-restart  -                    -        -    -       7         disabled\n" +
		"long-name  27016  inactive      -                    -        -    -       -         disabled\n"
	if diff := cmp.Diff(want, h.out.String()); diff != "" {
		t.Error(diff)
	}
	if h.err.Len() > 0 {
		t.Errorf("stderr: %s", &h.err)
	}
	must(t, os.WriteFile(h.layout.Spec("a"), []byte("port: x\nport: y\n"), 0o640))
	h.run(ExitFailed, "list")
	h.says(&h.out, "BOOT      ERROR\n", "instance.yaml:1")
}

func (h *host) listedPort(n instance.Name) uint16 {
	h.t.Helper()
	env, err := instance.ReadEnv(h.layout, n)
	must(h.t, err)
	return env.Port
}

// The port that a running server has is the one that it was started with.
func TestListAsksWhereTheServerRuns(t *testing.T) {
	h := newHost(t, "a")
	h.onPort("a", gameServer{mapName: "c2m1_highway"}.start(t), "")
	h.set("a", up)
	h.writeStart("a")
	h.onPort("a", 27099, "")
	h.run(ExitDone, "list")
	h.says(&h.out, "a     27099  active  c2m1_highway  0/8 ")
}

// None waits for another's answer: here none answers before all have been asked.
func TestListAsksSideBySide(t *testing.T) {
	names := []instance.Name{"a", "b", "c", "d", "e", "f"}
	h := newHost(t, names...)
	var together sync.WaitGroup
	together.Add(len(names))
	for _, n := range names {
		h.set(n, up)
		h.onPort(n, gameServer{mapName: "c5m1_waterfront", together: &together}.start(t), "")
	}
	h.program.Patience = time.Minute
	h.run(ExitDone, "list")
	if got := strings.Count(h.out.String(), "active  c5m1_waterfront  0/8 "); got != len(names) {
		t.Errorf("%d have answered:\n%s", got, &h.out)
	}
}

// Those that say nothing do not keep the others from being shown.
func TestListOfTheMute(t *testing.T) {
	names := []instance.Name{"a", "b", "c", "d", "e", "f"}
	h := newHost(t, names...)
	for _, n := range names {
		h.set(n, up)
		h.onPort(n, gameServer{mute: n != "f", mapName: "c5m1_waterfront"}.start(t), "")
	}
	h.program.Patience = 2 * time.Second
	h.run(ExitDone, "list")
	if got := strings.Count(h.out.String(), "active  (no answer)      -  "); got != 5 {
		t.Errorf("%d are silent, want 5:\n%s", got, &h.out)
	}
	h.says(&h.out, "active  c5m1_waterfront  0/8 ")
	h.run(ExitDone, "list", "--json")
	h.says(&h.out, `"query_error": "no answer within 2s: it may be loading a map"`)
}

func TestListWithoutSystemd(t *testing.T) {
	h := newHost(t, "a")
	h.systemd = nil
	h.run(ExitDone, "list")
	h.says(&h.out, "a     27015  unknown  -    -        -    -       -         -\n")
	h.says(&h.err, "l4d2ctl: warning: systemd is not running on this machine")
}

func TestListUnitNotInstalled(t *testing.T) {
	h := newHost(t, "a")
	h.set("a", func(u *systemd.Unit) { u.LoadState = "not-found" })
	h.run(ExitDone, "list")
	h.says(&h.err, "l4d2ctl: warning: l4d2@.service is not installed")
}

func TestListNothing(t *testing.T) {
	h := newHost(t)
	h.run(ExitDone, "list", "--json")
	if h.out.String() != "[]\n" {
		t.Errorf("stdout %q", &h.out)
	}
	h.run(ExitDone, "list")
	h.says(&h.err, "l4d2ctl: hint: no instances in "+h.layout.Instances()+": make one with: l4d2ctl init NAME SPEC\n")
	if h.out.Len() > 0 {
		t.Errorf("stdout %q", &h.out)
	}
}

func TestListWatch(t *testing.T) {
	h := newHost(t, "a")
	h.run(ExitFailed, "list", "--watch")
	h.says(&h.err, "standard output is not a terminal")
	h.run(ExitUsage, "list", "--watch", "--json")

	t.Setenv("TERM", "xterm")
	ours, programs := terminal(t)
	h.program.Out = programs
	ctx, interrupt := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.runIn(ctx, ExitInterrupted, "list", "--watch")
	}()
	until(t, ours, otherScreen, toTop, "NAME ", "a     27015  ", "inactive", clearBelow)
	h.systemd.mu.Lock()
	h.set("a", func(u *systemd.Unit) { u.ActiveState = "failed" })
	h.systemd.mu.Unlock()
	until(t, ours, toTop, "a     27015  \x1b[31mfailed\x1b[0m  ", clearToRight, clearBelow)
	interrupt()
	until(t, ours, firstScreen)
	<-ended
	if h.err.Len() > 0 {
		t.Errorf("stderr: %s", &h.err)
	}
}

func TestColours(t *testing.T) {
	h := newHost(t, "a")
	for _, c := range []struct {
		noColour, term string
		want           bool
	}{{"", "xterm", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		t.Setenv("NO_COLOR", c.noColour)
		t.Setenv("TERM", c.term)
		ours, programs := terminal(t)
		h.program.Out = programs
		h.set("a", func(u *systemd.Unit) { u.ActiveState = "failed" })
		h.run(ExitDone, "list")
		if got := until(t, ours, "disabled"); strings.Contains(got, "\x1b") != c.want {
			t.Errorf("NO_COLOR=%s TERM=%s: %q", c.noColour, c.term, got)
		}
	}
}

func TestFit(t *testing.T) {
	text := "12345\n\x1b[31m12345\x1b[0mx\n世界世\nd\n"
	want := "1234\x1b[K\r\n\x1b[31m1234\x1b[0m\x1b[K\r\n…\x1b[K"
	if got := fit(text, 4, 3); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := fit("世界世\n", 5, 3), "世界\x1b[K"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// BenchmarkList200 is a list of 200 servers that all run, each answering on a
// port of its own; systemd is a fake.
func BenchmarkList200(b *testing.B) {
	var names []instance.Name
	for i := range 200 {
		names = append(names, instance.Name(fmt.Sprintf("row%d", i)))
	}
	h := newHost(b, names...)
	for i, n := range names {
		h.onPort(n, gameServer{mapName: "c1m1_hotel", players: make([]string, i%9)}.start(b), "")
		h.set(n, up)
	}
	h.program.Patience = patience
	for b.Loop() {
		h.run(ExitDone, "list")
		if n := strings.Count(h.out.String(), "c1m1_hotel"); n != 200 {
			b.Fatalf("%d of 200 answered", n)
		}
	}
}

func TestUptime(t *testing.T) {
	for seconds, want := range map[int64]string{0: "0s", 59: "59s", 60: "1m00s", 3599: "59m59s", 3600: "1h00m", 86399: "23h59m", 86400: "1d00h", 1e6: "11d13h"} {
		if got := uptime(&seconds); got != want {
			t.Errorf("%d s: got %s, want %s", seconds, got, want)
		}
	}
	if got := uptime(nil); got != "-" {
		t.Errorf("not running: got %s", got)
	}
}
