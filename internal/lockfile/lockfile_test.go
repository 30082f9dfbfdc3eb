package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
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
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	first.Unlock()
	l := <-got
	defer l.Unlock()
	if same, err := guards(l.fd, path); err != nil || !same {
		t.Errorf("the lock taken does not guard %s: %v", path, err)
	}
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
