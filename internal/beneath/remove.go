package beneath

import (
	"errors"
	"io"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// RemoveAll removes name in dir with all that is in it; nothing there is
// success. It stops with an error that unwraps to EXDEV (or, for a file that
// is a mount point, EBUSY) at the first mount: what is mounted is left alone,
// and so is the rest of the tree.
func RemoveAll(dir int, name string) error {
	r := remover{top: -1}
	return r.remove(dir, name, name, 0)
}

// RemoveContents is RemoveAll for everything in dir, but not dir itself.
func RemoveContents(dir int) error {
	r := remover{top: dir}
	return r.contents(dir, ".", 0)
}

const (
	// maxDepth bounds the descriptors held at once (one a level).
	maxDepth = 64
	// maxPasses bounds how often a directory is read again because it was not
	// empty after everything seen in it was removed. A tree of a million levels
	// takes 16,000; one that someone keeps filling would take for ever.
	maxPasses = 100_000
)

// remover removes what is in the directory top, or, until it has opened the
// first directory (top is -1), the name that it was called for. It never steps back through "..", which a
// rename can lead elsewhere; what lies deeper than maxDepth is moved up to top
// and removed from there.
type remover struct {
	top   int
	moved int // directories moved up so far
}

// remove removes name in dir; display is its path for messages.
func (r *remover) remove(dir int, name, display string, depth int) error {
	for range maxPasses {
		err := unix.Unlinkat(dir, name, 0)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EISDIR) {
			return wrap("unlink", display, err)
		}
		// Often it is empty.
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if depth == maxDepth {
			return r.moveUp(dir, name, display)
		}
		if err := r.descend(dir, name, display, depth); err != nil {
			return err
		}
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOENT):
			return wrap("rmdir", display, err)
		}
	}
	return wrap("rmdir", display, errors.New("someone keeps filling it"))
}

func (r *remover) descend(dir int, name, display string, depth int) error {
	fd, err := OpenDir(dir, name)
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			return nil // exchanged meanwhile: remove looks again
		}
		return wrap("open", display, errors.Unwrap(err))
	}
	defer unix.Close(fd)
	if r.top < 0 {
		r.top = fd
		defer func() { r.top = -1 }()
	}
	return r.contents(fd, display, depth+1)
}

// contents removes everything in the open directory fd.
func (r *remover) contents(fd int, display string, depth int) error {
	for range maxPasses {
		names, err := readNames(fd)
		if err != nil {
			return wrap("read", display, err)
		}
		if len(names) == 0 {
			return nil
		}
		for _, name := range names {
			if err := r.remove(fd, name, path.Join(display, name), depth); err != nil {
				return err
			}
		}
	}
	return wrap("remove", display, errors.New("someone keeps filling it"))
}

// readNames returns the names in the directory fd from its beginning on, a
// bounded number of them: none if it is empty.
func readNames(fd int) ([]string, error) {
	// A description of its own, so that closing the os.File leaves fd open and
	// the offset is at the start.
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again), "")
	defer f.Close()
	names, err := f.Readdirnames(4096)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// moveUp moves the directory name out of dir to the top, where a later pass of
// the top directory finds it.
func (r *remover) moveUp(dir int, name, display string) error {
	for {
		r.moved++
		up := ".l4d2-host-deep-" + strconv.Itoa(r.moved)
		err := unix.Renameat2(dir, name, r.top, up, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return wrap("move up", display, err)
		}
		return nil
	}
}
