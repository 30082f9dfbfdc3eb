package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"l4d2-host/internal/debian"
)

func TestRootIsBuiltOnce(t *testing.T) {
	NeedRoot(t)
	first, err := Root(t.Context(), Debian12)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Root(t.Context(), Debian12)
	if err != nil || first != second {
		t.Fatalf("second root: %s, %v; first was %s", second, err, first)
	}
	if after, err := os.Stat(second); err != nil || !os.SameFile(before, after) {
		t.Errorf("built again: %v", err)
	}
}

func TestFailedBuild(t *testing.T) {
	NeedRoot(t)
	cache := t.TempDir()
	t.Setenv(debian.CacheVariable, cache)
	// No program that mmdebstrap needs is found: it fails at once.
	bin := t.TempDir()
	for name, script := range map[string]string{
		"mmdebstrap": "#!/bin/sh\nmkdir -p \"$(eval echo \\${$(($# - 1))})/half\"\necho no network >&2\nexit 1\n",
		"unshare":    "#!/bin/sh\nwhile [ \"$1\" != mmdebstrap ]; do shift; done\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	_, err := Root(t.Context(), Debian12)
	if err == nil || !strings.Contains(err.Error(), "no network") {
		t.Errorf("want what mmdebstrap said, got: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "roots", "*[^k]"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestKeyDependsOnDistributionAndPackages(t *testing.T) {
	keys := map[string]bool{}
	for _, dist := range Distributions {
		keys[rootKey(dist, nil)] = true
		keys[rootKey(dist, []string{"polkitd"})] = true
	}
	if len(keys) != 2*len(Distributions) {
		t.Errorf("keys: %v", keys)
	}
}

func TestLockWaitsNoLongerThanItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lock(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("second lock: %v", err)
	}
	held.Close()
	again, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
