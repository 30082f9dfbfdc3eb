package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHeldUntilUnlocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrHeld) {
		t.Errorf("TryLock of a held lock = %v, want ErrHeld", err)
	}
	if err := first.Unlock(); err != nil {
		t.Fatal(err)
	}
	second, err := TryLock(path)
	if err != nil {
		t.Fatalf("TryLock of a free lock: %v", err)
	}
	second.Unlock()
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v, want 0600", fi.Mode(), err)
	}
}

// A lock on a file that its holder removed guards nothing: the one who waited
// for it must end up with the lock of the file that is there now.
func TestRemovedWhileWaiting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan *Lock)
	go func() {
		l, err := Acquire(path)
		if err != nil {
			t.Error(err)
		}
		got <- l
	}()
	// It has opened the file, and will be given the lock of that one.
	for limit := time.Now().Add(20 * time.Second); descriptors(t, path) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatal("nobody waits for the lock")
		}
	}
	// Another one is there by the time that the lock is given back.
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	first.Unlock()
	l := <-got
	defer l.Unlock()
	var held, there unix.Stat_t
	if err := errors.Join(unix.Fstat(l.fd, &held), unix.Stat(path, &there)); err != nil {
		t.Fatal(err)
	}
	if held.Ino != there.Ino || held.Dev != there.Dev {
		t.Errorf("the lock taken does not guard %s: it is on inode %d, and there is %d", path, held.Ino, there.Ino)
	}
}

// descriptors counts this process's descriptors of the file at path.
func descriptors(t *testing.T, path string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == path {
			n++
		}
	}
	return n
}

func TestSymlinkRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(path); err == nil {
		t.Error("a symbolic link was followed")
	}
}
