package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4d2-host/internal/systemd"
)

func TestListJSON(t *testing.T) {
	h := newHost(t, "a", "b", "c", "d")
	since := time.Now().Add(-time.Hour)
	h.set("a", up)
	h.set("a", func(u *systemd.Unit) { u.Enabled, u.Since = true, since })
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
	stopped := func(name string, port any) map[string]any {
		return map[string]any{"name": name, "port": port, "state": "inactive", "substate": "dead",
			"pid": nil, "since": nil, "uptime_seconds": nil, "enabled": false}
	}
	want := []map[string]any{
		{"name": "a", "port": 27015.0, "state": "active", "substate": "running", "pid": 42.0,
			"since": since.UTC().Format(time.RFC3339), "enabled": true, "error": nil},
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
	h := newHost(t, "a", "long-name")
	h.set("a", up)
	h.run(ExitDone, "list")
	want := "" +
		"NAME       PORT   STATE     PID  UPTIME  BOOT\n" +
		"a          27015  active    42   -       disabled\n" +
		"long-name  27016  inactive  -    -       disabled\n"
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

func TestListWithoutSystemd(t *testing.T) {
	h := newHost(t, "a")
	h.systemd = nil
	h.run(ExitDone, "list")
	h.says(&h.out, "a     27015  unknown  -    -       -\n")
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
