// Package release keeps the game's releases on disk: it publishes what an
// update has made, switches between releases, takes a plain installation as the
// first one, folds a long chain into one release, and removes old ones.
//
// A release is a directory of root's that holds release.env (package chain) and
// tree/, what the release changed over those below it: the upper directory of
// the overlay in which it was made. The current release is the one that the
// symbolic link at the installation leads to. Every change is one rename, and
// what a crash leaves is healed by the next change:
//
//	releases/.staging       an update in the making (Layout.Staging)
//	releases/.NAME.new      any other release in the making
//	releases/.NAME.deleted  one whose removal has begun
//	releases/NAME/.next     published, and perhaps not yet switched to
//	.installation.new       the link, before it has its name
//
// The game's user owns all that is in a tree, and may be changing it at this
// moment. It owns nothing above: a directory of releases that others can write
// to is refused.
package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/store"
)

// The errors that a caller can tell apart.
var (
	ErrUnknown = errors.New("no such release")
	// ErrPlain says that the installation is no release: a directory, or a link of
	// the operator's.
	ErrPlain = errors.New("the installation is a plain one and no release")
)

// Release is one release.
type Release struct {
	Name instance.Name
	chain.Release
}

// Catalog is the releases of one root.
type Catalog struct {
	Layout instance.Layout
	Store  *store.Store // tells which instances are pinned; needed by Uses and Prune
	// Say is told what was healed or removed, in words; it may be nil.
	Say func(format string, args ...any)

	step func(name string) // for tests: called between the steps on disk
}

func (c *Catalog) say(format string, args ...any) {
	if c.Say != nil {
		c.Say(format, args...)
	}
}

func (c *Catalog) at(step string) {
	if c.step != nil {
		c.step(step)
	}
}

// List returns the releases, the newest first. Those whose release.env cannot be
// read are not in it, and the error says why.
func (c *Catalog) List() ([]Release, error) {
	names, err := Names(c.Layout)
	if err != nil {
		return nil, err
	}
	var list []Release
	var errs []error
	for _, n := range names {
		r, err := chain.Read(c.Layout, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("release %s: %w", n, err))
			continue
		}
		list = append(list, Release{n, r})
	}
	slices.SortStableFunc(list, func(a, b Release) int {
		if d := b.Date.Compare(a.Date); d != 0 {
			return d
		}
		return number(b.Name) - number(a.Name)
	})
	return list, errors.Join(errs...)
}

// Names returns the names of all releases of a root; none where it has no
// directory of releases.
func Names(l instance.Layout) ([]instance.Name, error) {
	entries, err := os.ReadDir(l.Releases())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
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

// Read returns what is known of release n, or ErrUnknown.
func (c *Catalog) Read(n instance.Name) (Release, error) {
	r, err := chain.Read(c.Layout, n)
	if errors.Is(err, fs.ErrNotExist) {
		if _, lost := os.Lstat(c.Layout.Release(n)); errors.Is(lost, fs.ErrNotExist) {
			err = ErrUnknown
		}
	}
	if err != nil {
		err = fmt.Errorf("release %s: %w", n, err)
	}
	return Release{n, r}, err
}

// Current returns the release that is current. The error is ErrPlain where the
// installation is none.
func (c *Catalog) Current() (Release, error) {
	n, err := chain.Current(c.Layout)
	if err == nil && n == "" {
		err = ErrPlain
	}
	if err != nil {
		return Release{}, err
	}
	return c.Read(n)
}

// Change is one change of the releases, while which there is no other.
type Change struct {
	*Catalog
	lock *lockfile.Lock
	root int // the root, open
	dir  int // releases/, open
}

// Begin begins a change, and first heals what an interrupted one has left. It is
// refused while another goes on, also while an update has its staging directory
// mounted.
func (c *Catalog) Begin() (*Change, error) {
	ch, err := c.BeginUpdate()
	if err != nil {
		return nil, err
	}
	updating, err := c.updating()
	if err == nil && updating {
		err = advice.With(errors.New("an update of the game is going on"),
			"wait for it, or end it with: systemctl stop l4d2-update")
	}
	if err != nil {
		ch.End()
		return nil, err
	}
	return ch, nil
}

// BeginUpdate is Begin for the update itself, whose staging directory may be
// mounted.
func (c *Catalog) BeginUpdate() (*Change, error) {
	ch := &Change{Catalog: c, root: -1, dir: -1}
	err := ch.open()
	if err == nil {
		err = ch.heal()
	}
	if err != nil {
		ch.End()
		return nil, err
	}
	return ch, nil
}

func (ch *Change) open() (err error) {
	if ch.root, err = openRoots(ch.Layout.Root()); err != nil {
		return err
	}
	if err := unix.Mkdirat(ch.root, instance.ReleasesDir, 0o700); err == nil {
		if err := ch.own(ch.root, instance.ReleasesDir); err != nil {
			return err
		}
	} else if !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: ch.Layout.Releases(), Err: err}
	}
	if ch.dir, err = openRoots(ch.Layout.Releases()); err != nil {
		return err
	}
	ch.lock, err = lockfile.TryLock(ch.Layout.ReleasesChange())
	if errors.Is(err, lockfile.ErrHeld) {
		err = advice.With(err, "another command changes the releases: try again when it has ended")
	}
	return err
}

// openRoots opens a directory that only root can write: in any other, names can
// change under our hands.
func openRoots(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Uid != 0 || st.Mode&0o022 != 0) {
		err = advice.With(fmt.Errorf("others than root can write it (owner %d, mode %#o)", st.Uid, st.Mode&0o7777),
			"chown root "+path+" && chmod go-w "+path)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, err)
	}
	return fd, nil
}

// own lets the directory name in dir be root's, and anyone look into it: what
// was there for all to read in a plain installation, a web server that hands out
// maps, say, is there in a release.
func (ch *Change) own(dir int, name string) error {
	fd, err := beneath.OpenDir(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return errors.Join(unix.Fchown(fd, 0, 0), unix.Fchmod(fd, 0o755))
}

// End ends the change.
func (ch *Change) End() {
	_ = ch.lock.Unlock() // the descriptor is closed in any case
	for _, fd := range []int{ch.root, ch.dir} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// updating reports whether an update has mounted its staging directory.
func (c *Catalog) updating() (bool, error) {
	dir := c.Layout.Staging()
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // the kernel lists mounts by their real paths
	}
	mounts, err := mountinfo.PID(1)
	if err != nil {
		return false, err
	}
	own, err := mountinfo.Self()
	return slices.ContainsFunc(append(mounts, own...), func(m mountinfo.Mount) bool {
		return strings.HasPrefix(m.Point, dir+"/")
	}), err
}

func hidden(n instance.Name, suffix string) string { return "." + string(n) + "." + suffix }

// unhide returns the release that hidden made this name of.
func unhide(name, suffix string) (instance.Name, bool) {
	rest, dot := strings.CutPrefix(name, ".")
	rest, ok := strings.CutSuffix(rest, "."+suffix)
	n, err := instance.ParseName(rest)
	return n, dot && ok && err == nil
}

// remove removes what has the name in releases/, following and crossing nothing.
func (ch *Change) remove(name string) error {
	if err := beneath.RemoveAll(ch.dir, name); err != nil {
		return fmt.Errorf("%s: %w", ch.Layout.Releases(), err)
	}
	return nil
}
