// Package staging is an update of the game in the making: an overlay whose
// lower layers are the current release and whose upper directory, the only thing
// that the download changes, becomes the next release.
//
//	releases/.staging/
//	    base      the chain that it lies over, "a:b:c", empty for none
//	    tree/     the upper directory: what becomes the release's tree
//	    work/     the overlay's
//	    merged/   the mount point: what steamcmd brings up to date
//	    empty/    the lower layer where there is no release yet
//	    mounted   there while it is mounted, and after a crash of the machine
//	    validate  there when files may lack what steamcmd holds for written
//
// It is what the privileged steps of l4d2-update.service do, in their order, as
// package activation is for an instance. Whatever ends an update, at any point:
// the current release is untouched, and the next update takes up what is there,
// as long as the release below it is still the current one. What becomes of a
// finished tree is package release's.
package staging

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/release"
)

// The names in the staging directory.
const (
	baseFile     = "base"
	upperDir     = instance.ReleaseTreeDir
	workDir      = "work"
	mergedDir    = "merged"
	emptyDir     = "empty"
	mountedFile  = "mounted"
	validateFile = "validate"
)

// source names the mount in mountinfo.
const source = "l4d2-update"

// Merged is where the update's tree is mounted.
func Merged(l instance.Layout) string { return filepath.Join(l.Staging(), mergedDir) }

// Staging is the update of one root.
type Staging struct {
	Layout instance.Layout
	Owner  activation.Owner
	Method overlay.Method // Auto, but for tests
	Log    *journal.Log
}

// The time that an update waits for a command that changes the releases: once the
// game is downloaded, for what a long one takes.
const (
	stageWait  = 10 * time.Second
	commitWait = 10 * time.Minute
)

// change begins a change of the releases, and waits for one that goes on.
func (s *Staging) change(ctx context.Context, patience time.Duration) (*release.Change, error) {
	for end := time.Now().Add(patience); ; {
		change, err := s.catalog().BeginUpdate()
		if !errors.Is(err, lockfile.ErrHeld) || time.Now().After(end) {
			return change, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Staging) catalog() *release.Catalog {
	return &release.Catalog{Layout: s.Layout, Say: s.Log.Info}
}

// Staged is what Stage has prepared.
type Staged struct {
	Resumed bool
	// Unclean says that the machine went down since the update that is resumed was
	// begun, or that Distrust was called: what steamcmd holds for written may not
	// be there.
	Unclean bool
}

// Stage mounts the current release under an upper directory for the update: the
// one of an interrupted update, or a new one. It is made in the mount namespace of
// the calling thread; for the working directory see package overlay.
func (s *Staging) Stage() (done Staged, err error) {
	defer func() { err = s.adviseDisk(err) }()
	change, err := s.change(context.Background(), stageWait)
	if err != nil {
		return done, err
	}
	defer change.End()
	base, err := Base(s.Layout)
	if err != nil {
		return done, err
	}
	if len(base) >= instance.MaxLayers {
		return done, advice.With(fmt.Errorf("release %s lies over %d others, and no more fit in an overlay", base[0], len(base)-1),
			"fold them into one with: l4d2ctl flatten")
	}
	dir, err := s.open()
	if err == nil {
		done, err = s.takeUp(dir, base)
		if err == nil && !done.Resumed {
			unix.Close(dir)
			dir, err = s.begin(base)
		}
	} else if errors.Is(err, fs.ErrNotExist) {
		dir, err = s.begin(base)
	}
	if err != nil {
		return done, err
	}
	defer unix.Close(dir)
	return done, s.mount(dir, base)
}

// Base returns the chain of the current release, which an update would lie over,
// or nil where there is no game. The error is release.ErrPlain, with advice, where
// the game can't be updated so.
func Base(l instance.Layout) ([]instance.Name, error) {
	n, err := chain.Current(l)
	if err != nil {
		return nil, err
	}
	if n != "" {
		r, err := chain.Read(l, n)
		return r.Chain, err
	}
	installation := l.Installation()
	info, err := os.Lstat(installation)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.IsDir() {
		var names []os.DirEntry
		if names, err = os.ReadDir(installation); err == nil && len(names) == 0 {
			return nil, nil // as the package makes it
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, advice.With(fmt.Errorf("%s: %w, and an update would change it under the running servers", installation, release.ErrPlain),
		"make it the first release, without copying it, with: l4d2ctl adopt")
}

// open opens the staging directory; fs.ErrNotExist where there is none. What it
// lies in is root's alone.
func (s *Staging) open() (int, error) {
	parent, err := unix.Open(s.Layout.Releases(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: s.Layout.Releases(), Err: err}
	}
	defer unix.Close(parent)
	dir, err := beneath.OpenDir(parent, instance.StagingDir)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: s.Layout.Staging(), Err: errors.Unwrap(err)}
	}
	return dir, nil
}

// takeUp looks at what an earlier update has left in the open directory dir. It
// stays when it lies over base; nothing of it is mounted then.
func (s *Staging) takeUp(dir int, base []instance.Name) (Staged, error) {
	if err := s.unmount(dir); err != nil {
		return Staged{}, err
	}
	over, err := s.readBase(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		// Not a reason to remove a download.
		return Staged{}, advice.With(err, "look at it; to begin the download anew: rm -r "+s.Layout.Staging())
	}
	if err == nil && slices.Equal(over, base) && s.whole(dir) {
		s.Log.Info("resuming the update that was interrupted")
		return s.resume(dir)
	}
	why := "it was never begun, or half removed"
	if err == nil && !slices.Equal(over, base) {
		why = fmt.Sprintf("it lies over %s, and %s is current now", title(over), title(base))
	}
	s.Log.Warn("removing what an interrupted update has left: %s", why)
	return Staged{}, s.remove()
}

func (s *Staging) resume(dir int) (Staged, error) {
	// It may have been about to become a release, which anyone may look into.
	if err := unix.Fchmod(dir, 0o700); err != nil {
		return Staged{}, &os.PathError{Op: "chmod", Path: s.Layout.Staging(), Err: err}
	}
	if exists(dir, mountedFile) {
		// For good: this run may fail, and the next one ends it cleanly.
		if err := distrust(dir); err != nil {
			return Staged{}, err
		}
	}
	return Staged{Resumed: true, Unclean: exists(dir, validateFile)}, nil
}

// Distrust notes, until the update has become a release, that what steamcmd holds
// for written may not be there. Where no update is staged it does nothing.
func (s *Staging) Distrust() error {
	dir, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return distrust(dir)
}

func distrust(dir int) error {
	return beneath.WriteFile(dir, validateFile, beneath.File{Mode: 0o600})
}

// exists counts what cannot be looked at as there: of the marks, that is the safe
// side.
func exists(dir int, name string) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT)
}

// title names the release of a chain.
func title(base []instance.Name) string {
	if len(base) == 0 {
		return "no release"
	}
	return "release " + string(base[0])
}

// whole says that all directories are there: base is written last.
func (s *Staging) whole(dir int) bool {
	for _, name := range []string{upperDir, workDir, mergedDir, emptyDir} {
		fd, err := beneath.OpenDir(dir, name)
		if err != nil {
			return false
		}
		unix.Close(fd)
	}
	return true
}

func (s *Staging) readBase(dir int) ([]instance.Name, error) {
	data, err := readFile(dir, baseFile, maxBase)
	if err != nil {
		return nil, err
	}
	var base []instance.Name
	for _, field := range strings.FieldsFunc(strings.TrimSpace(string(data)), func(r rune) bool { return r == ':' }) {
		n, err := instance.ParseName(field)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", filepath.Join(s.Layout.Staging(), baseFile), err)
		}
		base = append(base, n)
	}
	return base, nil
}

const maxBase = instance.MaxLayers * (instance.MaxName + 1)

// begin makes the staging directory. It counts only once base is there.
func (s *Staging) begin(base []instance.Name) (int, error) {
	if err := unix.Mkdir(s.Layout.Staging(), 0o700); err != nil {
		return -1, &os.PathError{Op: "mkdir", Path: s.Layout.Staging(), Err: err}
	}
	dir, err := s.open()
	if err != nil {
		return -1, err
	}
	if err := s.fill(dir, base); err != nil {
		unix.Close(dir)
		return -1, fmt.Errorf("%s: %w", s.Layout.Staging(), err)
	}
	return dir, nil
}

func (s *Staging) fill(dir int, base []instance.Name) error {
	for _, d := range []struct {
		name     string
		uid, gid int
		mode     uint32
	}{
		{upperDir, s.Owner.UID, s.Owner.GID, 0o755},
		{workDir, 0, 0, 0o700},
		{mergedDir, 0, 0, 0o700},
		{emptyDir, 0, 0, 0o755},
	} {
		if err := unix.Mkdirat(dir, d.name, 0o700); err != nil {
			return &beneath.Error{Op: "mkdir", Path: d.name, Err: err}
		}
		fd, err := beneath.OpenDir(dir, d.name)
		if err == nil {
			err = errors.Join(unix.Fchown(fd, d.uid, d.gid), unix.Fchmod(fd, d.mode))
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
	}
	names := make([]string, len(base))
	for i, n := range base {
		names[i] = string(n)
	}
	return beneath.WriteFile(dir, baseFile, beneath.File{Data: []byte(strings.Join(names, ":") + "\n"), Mode: 0o600})
}

// lowers opens the trees of the base, topmost first.
func (s *Staging) lowers(base []instance.Name) (layers.View, error) {
	trees := make([]string, len(base))
	for i, n := range base {
		trees[i] = chain.Tree(n)
	}
	return layers.Open(s.Layout, trees)
}

// remove removes the staging directory, in which nothing is mounted. First what
// makes it one: half removed, it must not be resumed.
func (s *Staging) remove() error {
	parent, err := unix.Open(s.Layout.Releases(), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: s.Layout.Releases(), Err: err}
	}
	defer unix.Close(parent)
	if err := s.disown(parent); err != nil {
		return err
	}
	if err := beneath.RemoveAll(parent, instance.StagingDir); err != nil {
		return fmt.Errorf("%s: %w", s.Layout.Releases(), err)
	}
	return nil
}

func (s *Staging) disown(parent int) error {
	dir, err := unix.Openat(parent, instance.StagingDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(dir)
		err = unix.Unlinkat(dir, baseFile, 0)
	}
	switch {
	case err == nil:
		err = unix.Fsync(dir)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: filepath.Join(s.Layout.Staging(), baseFile), Err: err}
	}
	return nil
}

// adviseDisk adds what to do to an error that is the disk's.
func (s *Staging) adviseDisk(err error) error {
	if err == nil || advice.For(err) != "" {
		return err
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return advice.With(err, "make room on the file system of "+s.Layout.Releases()+" and run the update again: it goes on where it stopped")
	}
	return err
}
