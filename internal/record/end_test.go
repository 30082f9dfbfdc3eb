package record

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

func TestWriteAndReadEnd(t *testing.T) {
	layout, err := instance.NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(layout.Runtime("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadEnd(layout, "a"); !errors.Is(err, ErrNone) {
		t.Errorf("before the first end: %v", err)
	}
	dir, err := unix.Open(layout.Runtime("a"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for _, want := range []End{
		{At: time.Unix(1_700_000_000, 5), Result: "success", Code: "killed", Status: "SEGV"},
		{At: time.Unix(1_700_000_001, 0), Result: "exit-code", Code: "exited", Status: "127"},
		{At: time.Unix(1_700_000_002, 0), Result: "exit-code"}, // of a step before it
	} {
		if err := WriteEnd(dir, want); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadEnd(layout, "a"); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	for _, text := range []string{"", "x", "l4d2-host ended 2\nat 1\nresult a\ncode b\nstatus c\n",
		endFormat + "\nat x\nresult a\ncode b\nstatus c\n", endFormat + "\nat 1\nresult a\ncode b\nresult c\n", endFormat + "\nat 1\n"} {
		if e, err := decodeEnd(text); err == nil {
			t.Errorf("%q became %+v", text, e)
		}
	}
}

func TestThisEnd(t *testing.T) {
	for _, v := range []string{"SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS"} {
		t.Setenv(v, "")
	}
	if e := ThisEnd(); e != nil {
		t.Errorf("by hand: %+v", e)
	}
	t.Setenv("SERVICE_RESULT", "success")
	t.Setenv("EXIT_CODE", "killed")
	t.Setenv("EXIT_STATUS", "SEGV")
	e := ThisEnd()
	if e == nil || e.Result != "success" || e.Status != "SEGV" || !e.Crashed() || time.Since(e.At) > time.Minute {
		t.Errorf("%+v", e)
	}
}
