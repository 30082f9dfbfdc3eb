package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
)

// asideDir is the one directory beside upper that a change of upper uses: the
// new one until it is whole, then the old one until it is gone. Whoever finds
// it there after a crash can remove it: upper is one or the other, whole.
const asideDir = ".upper.aside"

// Hold is an instance that can neither start nor be removed until Release.
type Hold struct {
	store *Store
	name  instance.Name
	dir   int // its runtime directory
	free  func()
	made  bool // the runtime directory was not there before
}

// ErrMounted says that the instance is mounted.
var ErrMounted = errors.New("it is mounted")

// Hold holds n, which may not exist yet, for work on its own state. The error
// is ErrMounted while it is mounted, or lockfile.ErrHeld while it is being
// mounted, unmounted or worked on.
func (s *Store) Hold(n instance.Name) (*Hold, error) {
	before, err := present(s.Layout.Runtime(n))
	if err != nil {
		return nil, err
	}
	free, err := s.lockInstance(n)
	if err != nil {
		return nil, err
	}
	h := &Hold{store: s, name: n, dir: -1, free: free, made: !before}
	if h.dir, err = openDir(s.Layout.Runtime(n)); err == nil && h.made {
		// As the helper makes it.
		err = errors.Join(unix.Fchown(h.dir, 0, s.GID), unix.Fchmod(h.dir, 0o750))
	}
	if err == nil {
		err = h.checkIdle()
	}
	if err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// Name is whose Hold it is.
func (h *Hold) Name() instance.Name { return h.name }

// Release lets the instance go. What Hold made for one that still does not
// exist goes with it.
func (h *Hold) Release() {
	if h.made {
		if found, err := present(h.store.Layout.Instance(h.name)); err == nil && !found {
			os.Remove(h.store.Layout.Lock(h.name))
			os.Remove(h.store.Layout.Runtime(h.name)) // only if it is empty
		}
	}
	if h.dir >= 0 {
		unix.Close(h.dir)
	}
	h.free()
}

// checkIdle makes sure that no overlay uses upper, here or elsewhere.
func (h *Hold) checkIdle() error {
	// A disk of its own for the instance, mounted at its directory, is welcome.
	_, below, err := mounts(h.store.Layout.RuntimeDir(), h.name)
	if err != nil {
		return err
	}
	for _, m := range below {
		return fmt.Errorf("%w: %s at %s", ErrMounted, strconv.Quote(m.Source), strconv.Quote(m.Point))
	}
	// The kernel's directory in work stays after an unmount only if the overlay
	// may live on elsewhere (package activation).
	var st unix.Stat_t
	if unix.Fstatat(h.dir, "work/work", &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return nil
	}
	upper, err := beneath.OpenDir(h.dir, filepath.Base(h.store.Layout.Upper(h.name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	if err := overlay.InUse(upper); err != nil {
		return advice.With(fmt.Errorf("%s: %w", h.store.Layout.Upper(h.name), err),
			"end the process that still uses it, or reboot")
	}
	return nil
}

// Stage returns an empty directory to become the new upper one: root's alone,
// and the caller's to close. An instance has one at a time.
func (h *Hold) Stage() (int, error) {
	if err := h.Discard(); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(h.dir, asideDir, 0o700); err != nil {
		return -1, &os.PathError{Op: "mkdir", Path: h.path(asideDir), Err: err}
	}
	return beneath.OpenDir(h.dir, asideDir)
}

func (h *Hold) path(name string) string {
	return filepath.Join(h.store.Layout.Runtime(h.name), name)
}

// Discard removes what was staged, or what an earlier run left of that.
func (h *Hold) Discard() error {
	if err := beneath.RemoveAll(h.dir, asideDir); err != nil {
		return fmt.Errorf("%s: %w", h.path(""), err)
	}
	return nil
}

// Install puts what was staged in the place of upper, in one step, and removes
// the old one. A crash leaves the one or the other.
func (h *Hold) Install() error {
	staged, err := beneath.OpenDir(h.dir, asideDir)
	if err != nil {
		return err
	}
	defer unix.Close(staged)
	// All of the new one is on disk before the old one loses its name.
	if err := unix.Syncfs(staged); err != nil {
		return fmt.Errorf("sync %s: %w", h.path(asideDir), err)
	}
	h.store.at("staged upper")
	upper := filepath.Base(h.store.Layout.Upper(h.name))
	err = unix.Renameat2(h.dir, asideDir, h.dir, upper, unix.RENAME_EXCHANGE)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Renameat2(h.dir, asideDir, h.dir, upper, unix.RENAME_NOREPLACE)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: h.path(asideDir), New: h.path(upper), Err: err}
	}
	if err := unix.Fsync(h.dir); err != nil {
		return fmt.Errorf("sync %s: %w", h.path(""), err)
	}
	h.store.at("upper in place")
	return h.Discard()
}

// Clear gives the instance an empty upper directory, with the owner and mode of
// the one it has.
func (h *Hold) Clear() error {
	old, err := beneath.OpenDir(h.dir, filepath.Base(h.store.Layout.Upper(h.name)))
	if err != nil {
		return err
	}
	defer unix.Close(old)
	var st unix.Stat_t
	if err := unix.Fstat(old, &st); err != nil {
		return err
	}
	fd, err := h.Stage()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Fchown(fd, int(st.Uid), int(st.Gid)), unix.Fchmod(fd, st.Mode&0o777)); err != nil {
		return err
	}
	return h.Install()
}

// Forget removes these names from upper, paths relative to it: each in one
// step, with all that is in it. After an error those before it are gone.
func (h *Hold) Forget(names []string) error {
	upper, err := beneath.OpenDir(h.dir, filepath.Base(h.store.Layout.Upper(h.name)))
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	aside, err := h.Stage()
	if err != nil {
		return err
	}
	defer unix.Close(aside)
	for i, name := range names {
		if err := moveOut(upper, name, aside, strconv.Itoa(i)); err != nil {
			return errors.Join(err, h.Discard())
		}
		h.store.at("moved out")
	}
	return h.Discard()
}

func moveOut(upper int, name string, aside int, as string) error {
	dir, err := beneath.OpenDir(upper, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	err = unix.Renameat2(dir, path.Base(name), aside, as, unix.RENAME_NOREPLACE)
	if err != nil {
		return &beneath.Error{Op: "remove", Path: strings.TrimPrefix(name, "./"), Err: err}
	}
	return nil
}
