package overlay

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// LayerError is a lower layer that must not be mounted.
type LayerError struct {
	Layer int // index in Lowers
	Err   error
}

func (e *LayerError) Error() string { return fmt.Sprintf("layer %d: %v", e.Layer+1, e.Err) }
func (e *LayerError) Unwrap() error { return e.Err }

// Check returns why the stack must not be mounted at target although the
// kernel would do it, or would give no reason: a layer twice, a layer and the
// writable directories within each other, an upper directory that cannot carry
// an overlay. A *LayerError tells which layer; every error carries advice.
func (s Stack) Check(target Target) error {
	upper, work, err := s.checkUpper()
	if err != nil {
		return err
	}
	if err := checkTypes(s.Upper, target); err != nil {
		return err
	}
	point, err := identify(target.Dir, target.Name)
	if err != nil {
		return &Error{Op: "stat " + target.Path, Err: err}
	}
	above := ancestry{}
	if err := above.add(s.Upper); err != nil {
		return err
	}
	if err := above.add(s.Work); err != nil {
		return err
	}
	seen := make(map[id]int, len(s.Lowers))
	known := ancestry{} // directories that lie in none of the writable ones
	outside := -1       // one of these, open: most layers share a parent
	for i, lower := range s.Lowers {
		layer, err := identify(lower.FD, "")
		if err != nil {
			return &LayerError{i, err}
		}
		if first, twice := seen[layer]; twice {
			return &LayerError{i, advice.With(fmt.Errorf("it is the same directory as layer %d", first+1), nameOnce)}
		}
		seen[layer] = i
		if above[layer] || layer == point {
			return &LayerError{i, advice.With(errors.New("it contains the instance's own upper, work or merged directory"), layerElsewhere)}
		}
		// That it is none of them itself is known by now.
		at := lower.FD
		if lower.Parent != Unknown {
			at = lower.Parent
		}
		if at == outside {
			continue
		}
		inside, err := known.within(at, upper, work, point)
		if err != nil {
			return &LayerError{i, err}
		}
		if inside {
			return &LayerError{i, advice.With(errors.New("it lies inside the instance's own upper, work or merged directory"), layerElsewhere)}
		}
		outside = at
	}
	return nil
}

const (
	nameOnce       = "name it once in the instance's spec, and run l4d2ctl init again"
	layerElsewhere = "let the layer be a directory of its own, which no instance writes to"
)

// checkUpper checks the writable pair and returns who they are.
func (s Stack) checkUpper() (upper, work id, err error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(s.Upper, &fs); err != nil {
		return id{}, id{}, &Error{Op: "statfs upper", Err: err}
	}
	if err := checkFileSystem(fs); err != nil {
		return id{}, id{}, err
	}
	for _, d := range []struct {
		name string
		fd   int
	}{{"upper", s.Upper}, {"work", s.Work}} {
		// Many file systems keep no such flags, and answer ENOTTY.
		if flags, err := unix.IoctlGetInt(d.fd, unix.FS_IOC_GETFLAGS); err == nil {
			if err := checkFlags(d.name, flags); err != nil {
				return id{}, id{}, err
			}
		}
	}
	if upper, err = identify(s.Upper, ""); err != nil {
		return id{}, id{}, &Error{Op: "stat upper", Err: err}
	}
	if work, err = identify(s.Work, ""); err != nil {
		return id{}, id{}, &Error{Op: "stat work", Err: err}
	}
	// Another subvolume of one btrfs is another device too: there the mount
	// would succeed and the first write fail with EXDEV.
	if upper.dev != work.dev {
		return id{}, id{}, advice.With(errors.New("the upper and the work directory are on different file systems or subvolumes"),
			"let both be plain directories in the instance's runtime directory")
	}
	return upper, work, nil
}

// id tells directories apart, however they were reached.
type id struct{ dev, ino uint64 }

func identify(fd int, name string) (id, error) {
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	if err := unix.Fstatat(fd, name, &st, flags); err != nil {
		return id{}, err
	}
	return id{st.Dev, st.Ino}, nil
}

// ancestry is a set of directories that is closed towards the root.
type ancestry map[id]bool

// add adds the directory fd and all above it.
func (a ancestry) add(fd int) error {
	_, err := a.within(fd)
	return err
}

// within reports whether the directory fd is or lies in one of those given. If
// not, it and all above it are added, and the next call stops at them.
func (a ancestry) within(fd int, of ...id) (bool, error) {
	var path []id
	for up := ""; ; {
		dir, err := identify(fd, up)
		if err != nil {
			return false, &Error{Op: "look above a directory", Err: err}
		}
		for _, o := range of {
			if dir == o {
				return true, nil
			}
		}
		// The root is its own parent.
		if a[dir] || len(path) > 0 && path[len(path)-1] == dir {
			break
		}
		path = append(path, dir)
		up = parent(up)
	}
	for _, dir := range path {
		a[dir] = true
	}
	return false, nil
}

func parent(path string) string {
	if path == "" {
		return ".."
	}
	return path + "/.."
}
