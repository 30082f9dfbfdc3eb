package store

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/lockfile"
)

// lived returns a store with the instances a, which has run, and b.
func lived(t *testing.T) *Store {
	t.Helper()
	s := newStore(t)
	initialise(t, s, "a", specA, Created)
	initialise(t, s, "b", specB, Created)
	liveOn(t, s)
	return s
}

func liveOn(t *testing.T, s *Store) {
	t.Helper()
	put(t, s.Layout.Instance("a")+"/notes/x", "mine")
	put(t, s.Layout.Upper("a")+"/left4dead2/logs/x", "log")
	must(t, os.MkdirAll(s.Layout.Merged("a"), 0o755))
	must(t, os.MkdirAll(s.Layout.Upper("b"), 0o755))
	must(t, os.Symlink(s.Layout.Installation(), s.Layout.Upper("a")+"/link"))
	put(t, s.Layout.Installation()+"/game", "kept")
}

func checkGone(t *testing.T, s *Store) {
	t.Helper()
	equal(t, "instances", ls(t, s.Layout.Instances()), []string{"b"})
	equal(t, "runtime", ls(t, s.Layout.RuntimeDir()), []string{"b"})
	equal(t, "installation", ls(t, s.Layout.Installation()), []string{"game"})
	if err := s.Remove("a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Remove of nothing: %v", err)
	}
	equal(t, "runtime afterwards", ls(t, s.Layout.RuntimeDir()), []string{"b"})
}

func TestRemove(t *testing.T) {
	s := lived(t)
	must(t, s.Remove("a"))
	checkGone(t, s)
}

// Each of the places alone is something to remove.
func TestRemoveRest(t *testing.T) {
	for _, place := range []func(*Store) string{
		func(s *Store) string { return s.Layout.Instance("a") },
		func(s *Store) string { return s.Layout.Runtime("a") },
		func(s *Store) string { return s.deleted("a") },
		func(s *Store) string { return s.staging("a") },
	} {
		s := lived(t)
		must(t, s.Remove("a"))
		put(t, place(s)+"/x/y", "")
		if err := s.Remove("a"); err != nil {
			t.Errorf("Remove of %s: %v", place(s), err)
		}
		checkGone(t, s)
	}
	s := lived(t) // and all of them at once
	put(t, s.deleted("a")+"/x", "")
	put(t, s.staging("a")+"/x", "")
	must(t, s.Remove("a"))
	checkGone(t, s)
}

func TestRemoveMounted(t *testing.T) {
	for what, place := range map[string]func(*Store) string{
		"merged":         func(s *Store) string { return s.Layout.Merged("a") },
		"runtime itself": func(s *Store) string { return s.Layout.Runtime("a") },
		"a stray mount":  func(s *Store) string { return s.Layout.Upper("a") + "/left4dead2/logs" },
		"instance":       func(s *Store) string { return s.Layout.Instance("a") },
	} {
		t.Run(what, func(t *testing.T) {
			s := lived(t)
			dir := place(s)
			must(t, unix.Mount("l4d2:a", dir, "tmpfs", 0, "mode=755"))
			t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
			before := tree(t, s.Layout.Instances())
			got := wantError(t, s.Remove("a"), "l4d2:a is mounted at "+dir+": nothing is removed")
			if got != "unmount it first" {
				t.Errorf("advice %q", got)
			}
			if after := tree(t, s.Layout.Instances()); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
	t.Run("neighbour", func(t *testing.T) { // a mount at a.b is none at a
		s := lived(t)
		put(t, s.Layout.Merged("a.b")+"/x", "")
		must(t, unix.Mount("l4d2:a.b", s.Layout.Merged("a.b"), "tmpfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(s.Layout.Merged("a.b"), unix.MNT_DETACH)) })
		must(t, s.Remove("a"))
	})
	t.Run("behind a link", func(t *testing.T) { // mountinfo shows the path without links
		s := lived(t)
		elsewhere := t.TempDir() + "/runtime"
		must(t, os.Rename(s.Layout.RuntimeDir(), elsewhere))
		must(t, os.Symlink(elsewhere, s.Layout.RuntimeDir()))
		must(t, unix.Mount("l4d2:a", s.Layout.Merged("a"), "tmpfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(s.Layout.Merged("a"), unix.MNT_DETACH)) })
		wantError(t, s.Remove("a"), "l4d2:a is mounted at "+elsewhere+"/a/merged: nothing is removed")
	})
}

func TestRemoveWhileHeld(t *testing.T) {
	s := lived(t)
	lock, err := lockfile.TryLock(s.Layout.Lock("a"))
	must(t, err)
	defer lock.Unlock()
	err = s.Remove("a")
	if !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("Remove while the helper works: %v", err)
	}
	if got := wantError(t, err, "lock "+s.Layout.Lock("a")); got != "it is being mounted, unmounted or backed up: try again when that has ended" {
		t.Errorf("advice %q", got)
	}
	if _, _, err := s.Load("a"); err != nil {
		t.Errorf("the instance afterwards: %v", err)
	}
}

func TestRemoveRefusesLink(t *testing.T) {
	s := lived(t)
	must(t, os.RemoveAll(s.Layout.Runtime("a")))
	must(t, os.Symlink("b", s.Layout.Runtime("a")))
	wantError(t, s.Remove("a"), s.Layout.Runtime("a")+": not a directory, but a symbolic link")
	equal(t, "the neighbour's state", ls(t, s.Layout.Runtime("b")), []string{"upper"})
}

// Remove is killed at each of its steps: the instance is whole or cannot
// start, Init does not revive its state, and the next Remove finishes.
func TestRemoveCrash(t *testing.T) {
	var steps []string
	s := lived(t)
	s.step = func(name string) { steps = append(steps, name) }
	must(t, s.Remove("a"))
	if len(steps) < 4 {
		t.Fatalf("only the steps %q", steps)
	}
	for _, step := range steps[:len(steps)-1] { // after the last nothing is left to do
		s := lived(t)
		die(t, s, "remove", step)
		_, _, err := s.Load("a")
		if wantError(t, err, "its removal was interrupted") == "" {
			t.Errorf("killed at %q: no advice", step)
		}
		_, err = s.Init("a", "spec.yaml", []byte(specA))
		wantError(t, err, "its removal was interrupted")
		must(t, s.Remove("a"))
		checkGone(t, s)
	}
	if last := steps[len(steps)-1]; !strings.HasSuffix(last, ".deleted") {
		t.Errorf("the hidden spec is not the last to go, but %q", last)
	}
}
