package systemd

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestUnitOf(t *testing.T) {
	const since = 1_700_000_000_123_456 // µs
	running := map[string]any{
		"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success",
		"MainPID": uint32(42), "NRestarts": uint32(3), "UnitFileState": "enabled-runtime",
		"ActiveEnterTimestamp": uint64(since), "InvocationID": []byte{0xab, 0x01},
		"ExecMainCode": int32(0), "ExecMainStatus": int32(0),
		"EnvironmentFiles":      [][]any{{"/a/instance.env", false}, {"/etc/default/a", true}},
		"InactiveExitTimestamp": uint64(since - 5), "StateChangeTimestamp": uint64(since), "ExecMainExitTimestamp": uint64(0),
		"CPUUsageNSec": uint64(7e9), "MemoryCurrent": uint64(1 << 30), "NeedDaemonReload": true, "StatusText": "playing",
	}
	cpu, memory := 7*time.Second, uint64(1<<30)
	failed := map[string]any{
		"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "Result": "exit-code",
		"UnitFileState": "disabled", "ActiveEnterTimestamp": uint64(since), "InvocationID": []byte{},
		"ExecMainCode": int32(1), "ExecMainStatus": int32(203),
		"ExecMainExitTimestamp": uint64(since + 1), "CPUUsageNSec": uint64(unset), "MemoryCurrent": uint64(unset),
	}
	for _, c := range []struct {
		properties map[string]any
		want       Unit
	}{
		{running, Unit{
			Name: "u", LoadState: "loaded", ActiveState: "active", SubState: "running", Result: "success",
			MainPID: 42, NRestarts: 3, Enabled: true, Since: time.UnixMicro(since), InvocationID: "ab01",
			EnvironmentFiles: []string{"/a/instance.env", "/etc/default/a"},
			Begun:            time.UnixMicro(since - 5), Changed: time.UnixMicro(since),
			CPU: &cpu, Memory: &memory, Stale: true, StatusText: "playing",
		}},
		// A stopped unit remembers when it became active, but is it no more.
		{failed, Unit{
			Name: "u", LoadState: "loaded", ActiveState: "failed", SubState: "failed", Result: "exit-code",
			ExecMainCode: 1, ExecMainStatus: 203, Ended: time.UnixMicro(since + 1),
		}},
		{map[string]any{"LoadState": "not-found", "MainPID": "of another type"}, Unit{Name: "u", LoadState: "not-found"}},
	} {
		if diff := cmp.Diff(c.want, unitOf("u", c.properties)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestUnitExit(t *testing.T) {
	for want, u := range map[string]Unit{
		"":                                 {},
		"the main process exited with 203": {ExecMainCode: 1, ExecMainStatus: 203},
		"the main process was killed by signal 9 (killed)":               {ExecMainCode: 2, ExecMainStatus: 9},
		"the main process dumped core on signal 11 (segmentation fault)": {ExecMainCode: 3, ExecMainStatus: 11},
	} {
		if got := u.Exit(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestUnitExitWords(t *testing.T) {
	for want, u := range map[[2]string]Unit{
		{"", ""}:           {},
		{"exited", "203"}:  {ExecMainCode: 1, ExecMainStatus: 203},
		{"killed", "INT"}:  {ExecMainCode: 2, ExecMainStatus: 2},
		{"dumped", "SEGV"}: {ExecMainCode: 3, ExecMainStatus: 11},
	} {
		if code, status := u.ExitWords(); code != want[0] || status != want[1] {
			t.Errorf("got %q, %q, want %q", code, status, want)
		}
	}
}

func TestJournalArgs(t *testing.T) {
	if got := journalArgs("l4d2@a.service", "", 10); !slices.Contains(got, "--unit=l4d2@a.service") || !slices.Contains(got, "--lines=10") {
		t.Errorf("any run: %q", got)
	}
	got := journalArgs("l4d2@a.service", "ab01", 10)
	want := []string{"_SYSTEMD_INVOCATION_ID=ab01", "+", "INVOCATION_ID=ab01", "_PID=1"}
	if len(got) < 4 || !slices.Equal(got[len(got)-4:], want) {
		t.Errorf("one run: %q, want it to end in %q", got, want)
	}
}

func TestLines(t *testing.T) {
	for in, want := range map[string][]string{"": nil, "\n": nil, "a\n\nb\n": {"a", "", "b"}} {
		if got := lines(in); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
