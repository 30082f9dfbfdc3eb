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
	"io/fs"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/rawio"
)

// Lock is a lock that is held.
type Lock struct{ fd int }

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
		fd, err := rawio.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(fd, how); err != nil {
			unix.Close(fd)
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = ErrHeld
			}
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		// Whoever held it may have removed the file (the instance was deleted):
		// then this lock guards nothing, and the next one at this path is free.
		same, err := guards(fd, path)
		if err == nil && same {
			return &Lock{fd}, nil
		}
		unix.Close(fd)
		if err != nil {
			return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
	}
}

// guards reports whether the file at path still is the one open as fd.
func guards(fd int, path string) (bool, error) {
	var held, now unix.Stat_t
	if err := unix.Fstat(fd, &held); err != nil {
		return false, err
	}
	err := unix.Lstat(path, &now)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return err == nil && held.Dev == now.Dev && held.Ino == now.Ino, err
}

// Unlock gives the lock back; it may be nil.
func (l *Lock) Unlock() error {
	if l == nil {
		return nil
	}
	fd := l.fd
	l.fd = -1 // closed twice, it would be somebody else's
	return unix.Close(fd)
}

func flock(fd, how int) error {
	for {
		if err := unix.Flock(fd, how); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
