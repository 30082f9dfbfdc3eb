package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

const (
	dirMode  fs.FileMode = 0o750
	fileMode fs.FileMode = 0o640
)

// replace writes files beside the instance and puts them in its place in one
// rename. What was there is then at staging(n), for retire.
func (s *Store) replace(n instance.Name, files []file, exists bool) error {
	staging, live := s.staging(n), s.Layout.Instance(n)
	if err := s.stage(staging, files); err != nil {
		return errors.Join(err, discard(staging))
	}
	s.at("staged")
	flag := uint(unix.RENAME_NOREPLACE)
	if exists {
		flag = unix.RENAME_EXCHANGE
	}
	if err := rename(staging, live, flag); err != nil {
		return errors.Join(err, discard(staging))
	}
	s.at("in place")
	if err := syncDir(s.Layout.Instances()); err != nil {
		return fmt.Errorf("the change is made, but may not outlive a power cut: %w", err)
	}
	return nil
}

func (s *Store) stage(dir string, files []file) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	s.at("staging made")
	for _, f := range files {
		if err := s.write(filepath.Join(dir, f.name), f.data); err != nil {
			return err
		}
		s.at("wrote " + f.name)
	}
	// The umask does not bind chmod, as it binds mkdir and open.
	if err := errors.Join(os.Chown(dir, 0, s.GID), os.Chmod(dir, dirMode)); err != nil { //nolint:forbidigo // instances/ is root's alone
		return err
	}
	return syncDir(dir)
}

func (s *Store) write(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = errors.Join(f.Chown(0, s.GID), f.Chmod(fileMode), f.Sync())
	}
	return errors.Join(err, f.Close())
}

// discard removes a staging directory that never was in place.
func discard(dir string) error {
	for _, name := range generated {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := os.Remove(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// retire clears staging(n) away, whether its files were never in place or have
// been replaced. What Init did not make moves to the instance.
func (s *Store) retire(n instance.Name) error {
	old := s.staging(n)
	entries, err := os.ReadDir(old)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	moved := false
	for _, e := range entries {
		path := filepath.Join(old, e.Name())
		if slices.Contains(generated, e.Name()) {
			err = os.Remove(path)
		} else {
			moved = true
			err = s.rescue(n, path)
		}
		if err != nil {
			return err
		}
		s.at("retired " + e.Name())
	}
	if moved {
		if err := syncDir(s.Layout.Instance(n)); err != nil {
			return err
		}
	}
	if err := os.Remove(old); err != nil {
		return err
	}
	return syncDir(s.Layout.Instances())
}

// rescue moves an operator's file to the instance.
func (s *Store) rescue(n instance.Name, path string) error {
	err := rename(path, filepath.Join(s.Layout.Instance(n), filepath.Base(path)), unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %s has a file of that name too: move one of them away, then init again", path, s.Layout.Instance(n))
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%s: there is no instance %s to move it to: move it away, then init again", path, n)
	}
	return err
}

func rename(from, to string, flags uint) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func owner(info fs.FileInfo) *syscall.Stat_t { return info.Sys().(*syscall.Stat_t) }
