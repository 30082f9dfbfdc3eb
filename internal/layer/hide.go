package layer

import (
	"errors"
	"fmt"
	"path"
	"strconv"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
)

// Hide lets layer n hide the paths, relative to the game's root: what the
// layers below it have there does not show. A layer that is not there is made.
// All of them or, after an error, none are hidden.
func (c *Catalog) Hide(n instance.Name, paths []string) error {
	names := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if names[i], err = clean(p); err != nil {
			return err
		}
		if names[i] == Root {
			return refuse(p, "the game's root itself cannot be hidden")
		}
	}
	return c.change(n, func(ch *change) error {
		if !ch.exists {
			return ch.hideNew(names)
		}
		l, err := ch.Open(n)
		if err != nil {
			return err
		}
		defer l.Close()
		running, err := ch.Running(l)
		if err != nil {
			return err
		}
		// What happens to a mounted overlay is undefined then.
		if len(running) > 0 {
			return advice.With(fmt.Errorf("%w: %s is running with it", ErrUsed, join(running)),
				"stop it first, or hide the paths in a layer of their own")
		}
		return hideAll(l.Dir, names)
	})
}

func (ch *change) hideNew(names []string) error {
	if err := ch.begin(); err != nil {
		return err
	}
	fd, err := beneath.OpenDir(ch.staging, contentDir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := hideAll(fd, names); err != nil {
		return err
	}
	return ch.publish(contentDir)
}

func hideAll(dir int, names []string) error {
	for i, name := range names {
		if err := hide(dir, name); err != nil {
			for _, done := range names[:i] {
				unhide(dir, done)
			}
			return err
		}
	}
	return nil
}

// hide makes a whiteout: a character device 0:0, which overlayfs takes for
// "deleted here" (Documentation/filesystems/overlayfs.rst).
func hide(dir int, name string) error {
	parent, err := makeParents(dir, path.Dir(name))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	err = unix.Mknodat(parent, path.Base(name), unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		return refuse(name, "the layer itself has it, or hides it already")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(name), err)
	}
	return nil
}

// makeParents opens the directory p, made where it is missing. The game's user
// owns the tree.
func makeParents(dir int, p string) (int, error) {
	if p == "." {
		return unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	}
	parent, err := makeParents(dir, path.Dir(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	return beneath.MakeDir(parent, path.Base(p))
}

// unhide takes back a whiteout that was just made, and nothing else.
func unhide(dir int, name string) {
	parent, err := beneath.OpenDir(dir, path.Dir(name))
	if err != nil {
		return
	}
	defer unix.Close(parent)
	var st unix.Stat_t
	if unix.Fstatat(parent, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		_ = unix.Unlinkat(parent, path.Base(name), 0)
	}
}
