package kernel

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// bootShell runs a shell script under the second oldest kernel.
func bootShell(t *testing.T, ctx context.Context, p Payload, script string) ([]Result, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine: not run under -short")
	}
	k := needKernel(t, Versions[1])
	p.Disk = filepath.Join(t.TempDir(), "disk")
	if err := MakeDisk(ctx, k, p.Disk, 64, nil); err != nil {
		t.Fatal(err)
	}
	p.Commands = [][]string{{"sh", "-c", script}, {"sh", "-c", "echo second"}}
	return Boot(ctx, k, p)
}

func TestExitStatus(t *testing.T) {
	for script, want := range map[string]Result{
		"echo out; printf err >&2; exit 3": {"out\nerr", 3},
		"kill -9 $$":                       {"", 128 + 9},
	} {
		results, err := bootShell(t, t.Context(), Payload{}, script)
		if err != nil || len(results) != 2 || results[0] != want || results[1] != (Result{"second\n", 0}) {
			t.Errorf("%s: %q, %v; want %q and second", script, results, err, want)
		}
	}
}

func TestLimit(t *testing.T) {
	_, err := bootShell(t, t.Context(), Payload{Limit: 8 * time.Second}, "sleep 600")
	if err == nil || !strings.Contains(err.Error(), "not done within 8s") {
		t.Errorf("error %v, want one that tells the limit", err)
	}
}

func TestPanicIsReported(t *testing.T) {
	_, err := bootShell(t, t.Context(), Payload{}, "echo 1 >/proc/sys/kernel/panic; echo c >/proc/sysrq-trigger")
	if err == nil || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v, want one with the kernel's console", err)
	}
}

func TestCut(t *testing.T) {
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	var once sync.Once
	var seen []string
	_, err := bootShell(t, ctx, Payload{Lines: func(line string) {
		seen = append(seen, line)
		once.Do(cut)
	}}, "echo begun; sleep 600")
	if !errors.Is(err, ErrCut) || len(seen) != 1 || seen[0] != "begun" {
		t.Errorf("error %v after %q, want ErrCut", err, seen)
	}
}
