package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
)

// End is how a run of an instance ended, in systemd's words for it
// (systemd.exec(5), $SERVICE_RESULT and those after it).
type End struct {
	At time.Time
	// Result is success (also of a crash that the unit forgives), exit-code,
	// signal, core-dump, timeout, watchdog, oom-kill, …
	Result string
	// Code is how the main process ended, exited, killed or dumped, and Status
	// its exit code or the signal's name (SEGV). Both are empty if none was
	// started: the step before it failed.
	Code, Status string
}

// ThisEnd is the end that systemd tells the steps after it of, in their
// environment. It is nil for a process that is no such step.
func ThisEnd() *End {
	result := os.Getenv("SERVICE_RESULT")
	if result == "" {
		return nil
	}
	return &End{At: time.Now(), Result: result, Code: os.Getenv("EXIT_CODE"), Status: os.Getenv("EXIT_STATUS")}
}

// Crashed says that a signal ended the main process that nobody sent to stop
// it, as far as the end alone can tell.
func (e End) Crashed() bool { return e.Code == "killed" || e.Code == "dumped" }

const (
	endFormat = "l4d2-host ended 1"
	maxEnd    = 4 << 10 // bytes
)

// WriteEnd keeps e in the instance's runtime directory dir, which not everyone
// can open.
func WriteEnd(dir int, e End) error {
	text := fmt.Sprintf("%s\nat %d\nresult %s\ncode %s\nstatus %s\n", endFormat, e.At.UnixNano(), e.Result, e.Code, e.Status)
	return beneath.WriteFile(dir, instance.EndedFile, beneath.File{Data: []byte(text), Mode: 0o644})
}

// ReadEnd returns the last end of n, or ErrNone.
func ReadEnd(l instance.Layout, n instance.Name) (End, error) {
	path := l.Ended(n)
	data, err := instance.ReadFile(path, maxEnd)
	if errors.Is(err, fs.ErrNotExist) {
		return End{}, ErrNone
	}
	if err != nil {
		return End{}, err
	}
	e, err := decodeEnd(string(data))
	if err != nil {
		return End{}, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func decodeEnd(text string) (End, error) {
	lines := strings.Split(text, "\n")
	if lines[0] != endFormat || len(lines) != 6 {
		return End{}, errVersion
	}
	var e End
	var at int64
	if _, err := fmt.Sscanf(lines[1], "at %d", &at); err != nil {
		return End{}, fmt.Errorf("line 2: %w", err)
	}
	e.At = time.Unix(0, at)
	for i, f := range []struct {
		name string
		to   *string
	}{{"result", &e.Result}, {"code", &e.Code}, {"status", &e.Status}} {
		value, found := strings.CutPrefix(lines[i+2], f.name+" ")
		if !found {
			return End{}, fmt.Errorf("line %d: no %s", i+3, f.name)
		}
		*f.to = value
	}
	return e, nil
}
