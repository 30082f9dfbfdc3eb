// Package store keeps the instances on disk: it makes and changes them from
// specs, all or nothing, lists them and removes them.
//
// It knows neither systemd nor how an overlay is mounted; whoever removes an
// instance stops and unmounts it first.
//
// In instances/ every step of a change is one rename, and what a crash leaves
// behind has a name that starts with a dot:
//
//	.NAME.new      files not yet in place, or those that were replaced
//	.NAME.deleted  an instance whose removal has begun
//
// An operator's own files beside the generated ones outlive every change.
package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/spec"
)

// ErrUnknown says that there is no such instance, and nothing left of one.
var ErrUnknown = errors.New("no such instance")

// Store is the instances of one layout.
type Store struct {
	Layout instance.Layout
	GID    int // of the group that may read the instances

	step func(name string) // for tests: called between the steps on disk
}

// Open returns the store of l, readable by the group instance.User. It fails
// if there is no such group.
func Open(l instance.Layout) (*Store, error) {
	g, err := user.LookupGroup(instance.User)
	if err != nil {
		return nil, advice.With(fmt.Errorf("group %s: %w", instance.User, err),
			"the package makes it when it is installed: run systemd-sysusers")
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return nil, fmt.Errorf("group %s: id %q is not a number", instance.User, g.Gid)
	}
	return &Store{Layout: l, GID: gid}, nil
}

// List returns the instances in the order of their names. What is no instance,
// by its name or its type, is not listed: no unit could start it.
func (s *Store) List() ([]instance.Name, error) {
	entries, err := os.ReadDir(s.Layout.Instances())
	if err != nil {
		return nil, err
	}
	var names []instance.Name
	for _, e := range entries {
		if n, err := instance.ParseName(e.Name()); err == nil && e.IsDir() {
			names = append(names, n)
		}
	}
	return names, nil
}

// Load reads the spec of n and what was generated from it. The error is
// ErrUnknown when there is nothing of n, not even what an interrupted removal
// left.
func (s *Store) Load(n instance.Name) (*spec.Spec, instance.Env, error) {
	sp, err := s.LoadSpec(n)
	if err != nil {
		return nil, instance.Env{}, err
	}
	env, err := instance.ReadEnv(s.Layout, n)
	if err != nil {
		return nil, instance.Env{}, err
	}
	return sp, env, nil
}

// LoadSpec is Load for the spec alone.
func (s *Store) LoadSpec(n instance.Name) (*spec.Spec, error) {
	data, err := s.ReadSpec(n)
	if err != nil {
		return nil, err
	}
	return spec.Parse(s.Layout.Spec(n), data)
}

// exists returns nil if n is there, and tells apart what else there may be.
func (s *Store) exists(n instance.Name) error {
	for _, place := range []struct {
		path string
		err  error
	}{
		{s.Layout.Instance(n), nil},
		{s.deleted(n), errUnfinished},
		{s.staging(n), advice.With(errors.New("an interrupted init has left "+s.staging(n)), eitherWay)},
		{s.Layout.Runtime(n), advice.With(errors.New("its spec is gone, but there is "+s.Layout.Runtime(n)), eitherWay)},
	} {
		if found, err := present(place.path); err != nil {
			return err
		} else if found {
			return place.err
		}
	}
	return ErrUnknown
}

var errUnfinished = advice.With(errors.New("its removal was interrupted"), "l4d2ctl delete finishes it")

const eitherWay = "l4d2ctl init makes it again, l4d2ctl delete removes the rest"

// present reports whether something has the name path.
func present(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (s *Store) staging(n instance.Name) string {
	return filepath.Join(s.Layout.Instances(), "."+string(n)+".new")
}

func (s *Store) deleted(n instance.Name) string {
	return filepath.Join(s.Layout.Instances(), "."+string(n)+".deleted")
}

func (s *Store) at(step string) {
	if s.step != nil {
		s.step(step)
	}
}

// lock serialises everything that changes instances/, which takes
// milliseconds: whoever holds it for seconds is stuck.
func (s *Store) lock() (*lockfile.Lock, error) {
	if err := rootOwned(s.Layout.Instances()); err != nil {
		return nil, err
	}
	path := filepath.Join(s.Layout.Instances(), ".lock")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l, err := lockfile.TryLock(path)
		if !errors.Is(err, lockfile.ErrHeld) {
			return l, err
		}
		if time.Now().After(end) {
			return nil, advice.With(err, "another init or delete is at work, or hangs: see fuser "+path)
		}
	}
}

// rootOwned returns an error unless path is a directory, not a link to one,
// that only root can write: in any other, names can change under our hands.
func rootOwned(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return advice.With(err, "the package makes it when it is installed: run systemd-tmpfiles --create")
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: not a directory, but %s", path, typeName(info.Mode()))
	}
	if uid := owner(info).Uid; uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return advice.With(fmt.Errorf("%s: others than root can write it (owner %d, mode %#o)", path, uid, info.Mode().Perm()),
			"chown root "+path+" && chmod go-w "+path)
	}
	return nil
}

func typeName(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m.IsRegular():
		return "a file"
	}
	return strings.ToLower(m.Type().String())
}
