package machine

import (
	"context"
	"os"
	"testing"
	"time"
)

// ForTest boots a machine that is closed when the test ends, and whose journal
// is shown should the test have failed. Each change may alter the options, for
// instance to bind directories. It skips the test under -short, and fails it
// where it is not run by root.
func ForTest(t testing.TB, dist Distribution, changes ...func(*Options)) *Machine {
	t.Helper()
	NeedRoot(t)
	o := Options{Dist: dist, Log: testLog{t}}
	for _, change := range changes {
		change(&o)
	}
	m, err := Boot(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			text, err := m.Journal(ctx, "--lines=200")
			t.Logf("machine %s: its journal (error: %v):\n%s", m.Name(), err, text)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// NeedRoot skips a test under -short, and fails it where it is not run by root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a system: not run under -short")
	}
	if os.Geteuid() != 0 {
		t.Fatal("needs root: run make test")
	}
}

// testLog writes lines to a test's log.
type testLog struct{ t testing.TB }

func (l testLog) Write(line []byte) (int, error) {
	l.t.Helper()
	l.t.Logf("%s", line)
	return len(line), nil
}
