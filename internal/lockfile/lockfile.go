// Package lockfile serialises processes through a lock on a file that only root
// can open.
//
// The lock is the kernel's (flock(2)): it goes with the process that holds it,
// however that ends, so a left-over file never blocks anyone. Lock no file
// that others can open: they could hold it for ever.
package lockfile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock is a lock that is held.
type Lock struct{ file *os.File }

// TryLock takes the lock of the file at path, which it makes (mode 0600) if it
// is missing; its directory must exist. It returns ErrHeld when another
// process has the lock.
func TryLock(path string) (*Lock, error) { return lock(path, unix.LOCK_EX|unix.LOCK_NB) }

// Acquire is TryLock, but waits until the lock is free.
func Acquire(path string) (*Lock, error) { return lock(path, unix.LOCK_EX) }

// Share is Acquire for a lock that many may hold together, while nobody has it
// alone.
func Share(path string) (*Lock, error) { return lock(path, unix.LOCK_SH) }

// ErrHeld says that another process has the lock.
var ErrHeld = errors.New("another process holds the lock")

func lock(path string, how int) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		l := &Lock{f}
		if err := flock(f, how); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrHeld
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// Whoever held it may have removed the file (the instance was deleted):
		// then this lock guards nothing, and the next one at this path is free.
		if same, err := l.guards(path); err != nil {
			f.Close()
			return nil, err
		} else if same {
			return l, nil
		}
		f.Close()
	}
}

func (l *Lock) guards(path string) (bool, error) {
	held, err := l.file.Stat()
	if err != nil {
		return false, err
	}
	now, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(held, now), err
}

// Unlock gives the lock back; it may be nil.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
