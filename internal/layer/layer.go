// Package layer keeps the layers on disk, the trees over the game's root that
// instances are stacked from: it adds them from archives and directories,
// replaces them by newer versions, hides files, and removes them.
//
// A layer that this package makes is a directory with a version in its name,
// and a symbolic link to it that has the layer's name; a version is switched by
// one rename. An overlay goes on with the directory that it was mounted with,
// so a running server keeps its version, and what nobody runs with any more is
// removed at the next change, but for the version before the present one.
// Everything else in overlays/ starts with a dot:
//
//	.NAME.vN       a version of NAME
//	.NAME.new      one in the making
//	.NAME.link     the link to it, before it has its name
//	.NAME.deleted  a layer whose removal has begun
//
// What an archive holds is anyone's: see sink. How layers show through each
// other is for package layers.
package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/inuse"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/record"
	"l4d2-host/internal/store"
)

// The errors that a caller can tell apart.
var (
	ErrUnknown = errors.New("no such layer")
	ErrExists  = errors.New("there is a layer of that name already")
	ErrUsed    = errors.New("in use")
)

// Catalog is the layers of one root.
type Catalog struct {
	Layout instance.Layout
	Owner  activation.Owner // of what the layers hold: the game's user
	Store  *store.Store     // tells which instances name a layer
}

// Names returns the layers in the order of their names.
func (c *Catalog) Names() ([]instance.Name, error) {
	entries, err := os.ReadDir(c.Layout.Overlays())
	if err != nil {
		return nil, err
	}
	var names []instance.Name
	for _, e := range entries {
		if n, err := instance.ParseName(e.Name()); err == nil && (e.IsDir() || e.Type() == fs.ModeSymlink) {
			names = append(names, n)
		}
	}
	return names, nil
}

// Open opens layer n as an instance would. The error is ErrUnknown where there
// is none.
func (c *Catalog) Open(n instance.Name) (*layers.Layer, error) {
	path := c.Layout.Overlay(n)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrUnknown
	}
	dir, err := c.openOverlays()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	name := instance.OverlaysDir + "/" + string(n)
	fd, _, err := layers.OpenDir(dir, name, path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &layers.Layer{Name: name, Path: path, Dir: fd}, nil
}

func (c *Catalog) openOverlays() (int, error) {
	fd, err := unix.Open(c.Layout.Overlays(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: c.Layout.Overlays(), Err: err}
	}
	return fd, nil
}

// Paths returns what l holds, directories too, in order.
func Paths(ctx context.Context, l *layers.Layer) ([]string, error) {
	var paths []string
	err := beneath.Walk(ctx, l.Dir, func(e beneath.Entry) { paths = append(paths, e.Path) })
	slices.Sort(paths)
	return paths, err
}

// Users returns the instances that name layer n: in their spec, or in what was
// generated from it, which the next start goes by.
func (c *Catalog) Users(n instance.Name) ([]instance.Name, error) {
	names, err := c.Store.List()
	if err != nil {
		return nil, err
	}
	var users []instance.Name
	for _, i := range names {
		named := false
		if env, err := instance.ReadEnv(c.Layout, i); err == nil {
			named = slices.Contains(env.Lowers, instance.OverlaysDir+"/"+string(n))
		}
		if sp, _, err := c.Store.Load(i); err == nil {
			named = named || slices.Contains(sp.Overlays, n)
		}
		if named {
			users = append(users, i)
		}
	}
	return users, nil
}

// Running returns the instances that are mounted with this directory, or may
// be.
func (c *Catalog) Running(l *layers.Layer) ([]instance.Name, error) { return c.runningWith(l.Dir) }

func (c *Catalog) runningWith(fd int) ([]instance.Name, error) {
	use, err := inuse.Find(c.Layout)
	if err != nil {
		return nil, err
	}
	dir, err := record.DirectoryOf(fd)
	if err != nil {
		return nil, err
	}
	return use.Of(dir), nil
}

// lock keeps other changes of layers away.
func (c *Catalog) lock() (*lockfile.Lock, error) {
	path := c.Layout.Overlays()
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if st := info.Sys().(*syscall.Stat_t); !info.IsDir() || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return nil, advice.With(fmt.Errorf("%s: not a directory that only root can write (owner %d, mode %v)", path, st.Uid, info.Mode()),
			"chown root "+path+" && chmod go-w "+path)
	}
	lock, err := lockfile.TryLock(filepath.Join(path, ".lock"))
	if errors.Is(err, lockfile.ErrHeld) {
		err = advice.With(err, "another command changes the layers: try again when it has ended")
	}
	return lock, err
}

func hidden(n instance.Name, suffix string) string { return "." + string(n) + "." + suffix }

func version(n instance.Name, number int) string { return hidden(n, "v"+strconv.Itoa(number)) }

// versions returns the numbers of n's versions, ascending.
func (c *Catalog) versions(n instance.Name) ([]int, error) {
	entries, err := os.ReadDir(c.Layout.Overlays())
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), hidden(n, "v"))
		if number, err := strconv.Atoi(digits); ok && err == nil && version(n, number) == e.Name() {
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// Version returns the number of the version that n is now; 0 for a layer that
// is a directory of its own, or a link that somebody else made.
func (c *Catalog) Version(n instance.Name) int {
	target, err := os.Readlink(c.Layout.Overlay(n))
	if err != nil {
		return 0
	}
	digits, ok := strings.CutPrefix(target, hidden(n, "v"))
	number, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0
	}
	return number
}
