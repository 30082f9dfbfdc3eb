package tree

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
)

// open opens a directory for the time of the test.
func open(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiskUse(t *testing.T) {
	dir := t.TempDir()
	fd := open(t, dir)
	if u := DiskUse(context.Background(), fd); u != (Usage{}) {
		t.Errorf("nothing takes %+v", u)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o644))
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "link")))
	must(t, os.Symlink("/", filepath.Join(dir, "root")))
	// A hole takes nothing.
	must(t, os.WriteFile(filepath.Join(dir, "hole"), nil, 0o644))
	must(t, os.Truncate(filepath.Join(dir, "hole"), 1<<40))
	u := DiskUse(context.Background(), fd)
	if u.Bytes < 1<<20 || u.Bytes > 1<<20+64<<10 || u.Files != 3 || u.Missed != nil {
		t.Errorf("%+v, want 1 MiB in 3 files", u)
	}
}

func TestDiskUseIsALowerBound(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, strings.Repeat("d/", 100)), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o644))
	u := DiskUse(context.Background(), open(t, dir))
	if !errors.Is(u.Missed, beneath.ErrDeep) || u.Files < 60 || u.Bytes < 512 {
		t.Errorf("%+v", u)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if u := DiskUse(ctx, open(t, dir)); !errors.Is(u.Missed, context.Canceled) {
		t.Errorf("%+v", u)
	}
}

func TestChangedSince(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "sub", "old")
	must(t, os.MkdirAll(filepath.Join(dir, "sub", "quiet"), 0o755))
	must(t, os.WriteFile(old, []byte("old"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "sub", "quiet", "file"), nil, 0o644))
	fd := open(t, dir)
	tick()
	start := time.Now()
	tick()
	if c := ChangedSince(context.Background(), fd, start, 3); c.Count != 0 || c.Missed != nil {
		t.Errorf("nothing changed, got %+v", c)
	}
	// A copy that keeps its time, as rsync and cp -a make it.
	must(t, os.WriteFile(filepath.Join(dir, "new"), nil, 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "new"), time.Unix(1, 0), time.Unix(1, 0)))
	must(t, os.Chmod(old, 0o600))
	c := ChangedSince(context.Background(), fd, start, 3)
	slices.Sort(c.Paths)
	if want := []string{".", "new", "sub/old"}; c.Count != 3 || !slices.Equal(c.Paths, want) {
		t.Errorf("%+v, want %q", c, want)
	}
	must(t, os.Remove(old))
	for _, name := range []string{"a", "b", "c"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o644))
	}
	if c := ChangedSince(context.Background(), fd, start, 3); c.Count != 6 || len(c.Paths) != 3 {
		t.Errorf("%+v, want 6, the directory of the removed file among them", c)
	}
}

// tick lets the clock that files are stamped by move on.
func tick() { time.Sleep(30 * time.Millisecond) }
