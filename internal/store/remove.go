package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/mountinfo"
)

// Remove removes n with its state and everything the operator put beside its
// spec. The caller has stopped and unmounted it: while anything is mounted
// there, Remove names it and removes nothing. From its first step on n cannot
// start any more; after an error or a crash, Remove again finishes. The error
// is ErrUnknown when nothing is left of n.
func (s *Store) Remove(n instance.Name) error {
	lock, err := s.lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if err := s.exists(n); errors.Is(err, ErrUnknown) {
		return err
	}
	unlock, err := s.lockInstance(n)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.checkUnmounted(n); err != nil {
		return err
	}
	if err := s.hide(n); err != nil {
		return err
	}
	return s.clear(n)
}

// lockInstance keeps the helper from mounting, even if it has never run: then
// the directory of its lock is made, to go again at the end.
func (s *Store) lockInstance(n instance.Name) (unlock func(), err error) {
	if err := os.Mkdir(s.Layout.Runtime(n), 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := rootOwned(s.Layout.Runtime(n)); err != nil {
		return nil, err
	}
	lock, err := lockfile.TryLock(s.Layout.Lock(n))
	if errors.Is(err, lockfile.ErrHeld) {
		err = advice.With(err, "it is being mounted, unmounted or backed up: try again when that has ended")
	}
	if err != nil {
		return nil, err
	}
	return func() { lock.Unlock() }, nil
}

func (s *Store) checkUnmounted(n instance.Name) error {
	for _, parent := range []string{s.Layout.RuntimeDir(), s.Layout.Instances()} {
		at, below, err := mounts(parent, n)
		if err != nil {
			return err
		}
		for _, m := range append(at, below...) {
			return advice.With(fmt.Errorf("%s is mounted at %s: nothing is removed", m.Source, m.Point), "unmount it first")
		}
	}
	return nil
}

// mounts returns what is mounted at n in parent and below it, for this process
// or the host.
func mounts(parent string, n instance.Name) (at, below []mountinfo.Mount, err error) {
	own, err := mountinfo.Self()
	if err != nil {
		return nil, nil, err
	}
	host, err := mountinfo.PID(1)
	if err != nil {
		return nil, nil, err
	}
	parent, err = filepath.EvalSymlinks(parent) // as the kernel shows mount points
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(parent, string(n))
	for _, m := range append(own, host...) {
		if m.Point == dir {
			at = append(at, m)
		} else if strings.HasPrefix(m.Point, dir+"/") {
			below = append(below, m)
		}
	}
	return at, below, nil
}

// hide takes n from those that can start, in one rename.
func (s *Store) hide(n instance.Name) error {
	if found, err := present(s.Layout.Instance(n)); !found {
		return err
	}
	// Of a removal that did not end, followed by a restored backup, say.
	if err := s.removeFrom(s.Layout.Instances(), filepath.Base(s.deleted(n))); err != nil {
		return err
	}
	if err := rename(s.Layout.Instance(n), s.deleted(n), unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	s.at("hidden")
	return syncDir(s.Layout.Instances())
}

// clear removes what is left of n. The hidden spec goes last, as the sign that
// there is still something to do.
func (s *Store) clear(n instance.Name) error {
	if err := s.removeFrom(s.Layout.RuntimeDir(), string(n)); err != nil {
		return err
	}
	s.at("state removed")
	if err := syncDir(s.Layout.RuntimeDir()); err != nil {
		return err
	}
	for _, path := range []string{s.staging(n), s.deleted(n)} {
		if err := s.removeFrom(s.Layout.Instances(), filepath.Base(path)); err != nil {
			return err
		}
		s.at("removed " + filepath.Base(path))
	}
	return syncDir(s.Layout.Instances())
}

func (s *Store) removeFrom(parent, name string) error {
	dir, err := openDir(parent)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := beneath.RemoveAll(dir, name); err != nil {
		return fmt.Errorf("%s: %w", parent, err)
	}
	return nil
}
