package activation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/overlay"
)

// The directories in an instance's runtime directory.
const (
	upperDir  = "upper"
	workDir   = "work"
	mergedDir = "merged"
)

// openRuntime opens the instance's runtime directory, which must be root's
// alone: whoever could change it could exchange the directories in it.
func (a *Activation) openRuntime(create bool) (int, error) {
	path := a.Layout.Runtime(a.Name)
	parent, err := unix.Open(a.Layout.RuntimeDir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: a.Layout.RuntimeDir(), Err: err}
	}
	defer unix.Close(parent)
	if create {
		if err := makeOwned(parent, string(a.Name), 0, a.Owner.GID, 0o750); err != nil {
			return -1, &os.PathError{Op: "mkdir", Path: path, Err: err}
		}
	}
	// A mount here is welcome (a disk of its own for one instance), a link not.
	dir, err := unix.Openat2(parent, string(a.Name), &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(dir, &st); err != nil {
		unix.Close(dir)
		return -1, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		unix.Close(dir)
		return -1, advice.With(fmt.Errorf("%s: others than root can write it (owner %d, mode %#o)", path, st.Uid, st.Mode&0o7777),
			"chown root "+path+" && chmod 0750 "+path)
	}
	return dir, nil
}

// makeOwned makes the directory name in parent unless something is there. It
// gets its name when its owner and mode are right, so that a crash leaves
// nothing that a later run would take for finished.
func makeOwned(parent int, name string, uid, gid int, mode uint32) error {
	var st unix.Stat_t
	err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil || !errors.Is(err, unix.ENOENT) {
		return err
	}
	err = makeNew(parent, name, uid, gid, mode)
	if errors.Is(err, unix.ENOENT) && unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil // another process gave our directory its name: nothing is locked yet
	}
	return err
}

func makeNew(parent int, name string, uid, gid int, mode uint32) error {
	temporary := "." + name + ".new"
	if err := unix.Mkdirat(parent, temporary, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if err := unix.Fchownat(parent, temporary, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if err := unix.Fchmodat(parent, temporary, mode, 0); err != nil {
		return err
	}
	err := unix.Renameat2(parent, temporary, parent, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return unix.Unlinkat(parent, temporary, unix.AT_REMOVEDIR)
	}
	return err
}

// stack is an overlay.Stack that knows the paths of its layers.
type stack struct {
	overlay.Stack
	names    []string // as package chain expands them
	paths    []string
	overlays int // the directory of the layers
}

// view is what the layers show, without upper.
func (s *stack) view() layers.View {
	all, view := make([]layers.Layer, len(s.Lowers)), make(layers.View, len(s.Lowers))
	for i, lower := range s.Lowers {
		all[i] = layers.Layer{Name: s.names[i], Path: s.paths[i], Dir: lower.FD}
		view[i] = &all[i]
	}
	return view
}

// openStack opens everything that the overlay is made of, and, if create is
// set, makes what is missing of upper, work and merged. What it returns is to
// be closed even after an error.
func (a *Activation) openStack(dir int, env instance.Env, create bool) (stack, error) {
	s := stack{Stack: overlay.Stack{Source: a.source(), Upper: -1, Work: -1}, overlays: -1}
	var err error
	for _, d := range []struct {
		name     string
		uid, gid int
		mode     uint32
		fd       *int
	}{
		{upperDir, a.Owner.UID, a.Owner.GID, 0o750, &s.Upper},
		{workDir, 0, 0, 0o700, &s.Work},
		{mergedDir, 0, 0, 0o700, nil},
	} {
		path := filepath.Join(a.Layout.Runtime(a.Name), d.name)
		if create {
			if err = makeOwned(dir, d.name, d.uid, d.gid, d.mode); err != nil {
				return s, &os.PathError{Op: "mkdir", Path: path, Err: err}
			}
		}
		if d.fd == nil {
			continue
		}
		*d.fd, err = beneath.OpenDir(dir, d.name)
		if !create && errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return s, advice.With(fmt.Errorf("%s: %w", a.Layout.Runtime(a.Name), err),
				d.name+" must be a plain directory: to give the instance a disk of its own, mount that at "+a.Layout.Runtime(a.Name))
		}
	}
	err = a.openLayers(&s, env.Lowers)
	return s, err
}

// openLayers opens what lowers, in the words of instance.env, stand for.
func (a *Activation) openLayers(s *stack, lowers []string) error {
	var err error
	if s.names, err = a.expand(lowers); err != nil {
		return err
	}
	s.overlays, err = unix.Open(a.Layout.Overlays(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: a.Layout.Overlays(), Err: err}
	}
	s.paths, s.Lowers = make([]string, 0, len(s.names)), make([]overlay.Lower, 0, len(s.names))
	for i, layer := range s.names {
		path := filepath.Join(a.Layout.Root(), layer)
		s.paths = append(s.paths, path)
		fd, direct, err := layers.OpenDir(s.overlays, layer, path)
		if err != nil {
			return layers.Explain(i, layer, path, err)
		}
		lower := overlay.Lower{FD: fd, Parent: overlay.Unknown}
		if direct {
			lower.Parent = s.overlays
		}
		s.Lowers = append(s.Lowers, lower)
	}
	return a.checkInstallation(s)
}

// expand lets nobody but root say which directories a release stands for: they
// are opened as root.
func (a *Activation) expand(lowers []string) ([]string, error) {
	expanded, err := chain.Expand(a.Layout, lowers)
	if err != nil {
		return nil, err
	}
	checked := false
	for i, layer := range expanded {
		n, isRelease := chain.Of(layer)
		if !isRelease {
			continue
		}
		if !checked {
			if err := onlyRoots(a.Layout.Releases()); err != nil {
				return nil, err
			}
			checked = true
		}
		if err := onlyRoots(a.Layout.Release(n)); err != nil {
			return nil, layers.Explain(i, layer, a.Layout.Release(n), err)
		}
	}
	return expanded, nil
}

// onlyRoots returns an error unless path is a directory that only root can write.
func onlyRoots(path string) error {
	st, err := unixLstat(path)
	if err != nil || st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Uid == 0 && st.Mode&0o022 == 0 {
		return err
	}
	return advice.With(fmt.Errorf("%s: not a directory that only root can write (owner %d, mode %#o)", path, st.Uid, st.Mode&0o7777),
		"chown root "+path+" && chmod go-w "+path)
}

// checkInstallation makes sure that there is a game to start.
func (a *Activation) checkInstallation(s *stack) error {
	game, err := s.view().Game()
	if err != nil || game != nil {
		return err
	}
	return advice.With(fmt.Errorf("there is no game in %s: it has no %s", s.paths[len(s.paths)-1], layers.ServerBinary),
		"install it with: l4d2ctl update (it runs steamcmd)")
}

// explain puts the path of the layer into an error that is about one.
func (s *stack) explain(err error) error {
	var e *overlay.LayerError
	if errors.As(err, &e) {
		return layers.Explain(e.Layer, s.names[e.Layer], s.paths[e.Layer], e.Err)
	}
	return err
}

func (s *stack) close() {
	for _, fd := range []int{s.overlays, s.Upper, s.Work} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, lower := range s.Lowers {
		unix.Close(lower.FD)
	}
}
