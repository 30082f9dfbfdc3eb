package beneath

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// walked returns what Walk visits, and why it did not enter what it did not.
func walked(t *testing.T, p place) (paths []string, errs map[string]error) {
	t.Helper()
	errs = map[string]error{}
	must(t, Walk(context.Background(), p.fd, func(e Entry) {
		paths = append(paths, e.Path)
		if e.Err != nil {
			errs[e.Path] = e.Err
		}
	}))
	slices.Sort(paths)
	return paths, errs
}

func TestWalk(t *testing.T) {
	p := newPlace(t)
	must(t, os.MkdirAll(p.path("a/b"), 0o755))
	must(t, os.WriteFile(p.path("a/b/file"), []byte("x"), 0o644))
	must(t, os.Symlink(p.outside, p.path("link")))
	must(t, os.Symlink("/", p.path("a/root")))
	must(t, unix.Mkfifo(p.path("fifo"), 0o644))
	for range 2 { // also a second time through the same descriptor
		got, errs := walked(t, p)
		if want := []string{"a", "a/b", "a/b/file", "a/root", "fifo", "link"}; !slices.Equal(got, want) || len(errs) > 0 {
			t.Errorf("visited %q (%v), want %q", got, errs, want)
		}
	}
}

func TestWalkManyInOneDirectory(t *testing.T) {
	p := newPlace(t)
	for i := range 3000 {
		must(t, os.WriteFile(p.path(strings.Repeat("x", 1+i%200)+string(rune('a'+i/200))), nil, 0o644))
	}
	if got, _ := walked(t, p); len(got) != 3000 {
		t.Errorf("visited %d of 3000", len(got))
	}
}

func TestWalkDeep(t *testing.T) {
	p := newPlace(t)
	must(t, os.MkdirAll(p.path(strings.Repeat("d/", maxDepth+10)), 0o755))
	got, errs := walked(t, p)
	if len(got) != maxDepth+1 || len(errs) != 1 {
		t.Fatalf("visited %d directories, %v", len(got), errs)
	}
	for path, err := range errs {
		if !errors.Is(err, ErrDeep) || strings.Count(path, "/") != maxDepth {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestWalkEnds(t *testing.T) {
	p := newPlace(t)
	must(t, os.MkdirAll(p.path("a/b/c"), 0o755))
	ctx, cancel := context.WithCancel(context.Background())
	visited := 0
	err := Walk(ctx, p.fd, func(Entry) { visited++; cancel() })
	if !errors.Is(err, context.Canceled) || visited != 1 {
		t.Errorf("visited %d, %v", visited, err)
	}
}

func TestWalkDoesNotCrossMounts(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // and never unlock: the thread goes with its namespace
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	p := newPlace(t)
	must(t, os.Mkdir(p.path("mounted"), 0o755))
	must(t, unix.Mount("none", p.path("mounted"), "tmpfs", 0, ""))
	defer unix.Unmount(p.path("mounted"), unix.MNT_DETACH)
	must(t, os.WriteFile(p.path("mounted/file"), nil, 0o644))
	got, errs := walked(t, p)
	if !slices.Equal(got, []string{"mounted"}) || !errors.Is(errs["mounted"], unix.EXDEV) {
		t.Errorf("visited %q, %v", got, errs)
	}
}
