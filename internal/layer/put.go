package layer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

// Plan is what is about to become a layer.
type Plan struct {
	From  string // directory of the archive whose contents are taken; "." for all
	Under string // where in the game's root they go; "." for the root itself
	Files int    // and directories
	Bytes int64
}

// Put makes layer n from src: a new one, or if update is set a new version of
// one that is there. under says where in the game's root the contents belong;
// if it is empty, that is found out from them. agree is called with what was
// found before anything shows, and can still refuse. After an error, nothing
// has changed.
func (c *Catalog) Put(ctx context.Context, n instance.Name, src *Source, under string, update bool, agree func(Plan) error) error {
	if under != "" {
		var err error
		if under, err = cleanUnder(under); err != nil {
			return err
		}
	}
	return c.change(n, func(ch *change) error {
		if ch.exists != update {
			return map[bool]error{true: ErrExists, false: ErrUnknown}[ch.exists]
		}
		if err := ch.begin(); err != nil {
			return err
		}
		plan, err := ch.unpack(ctx, src, under)
		if err != nil {
			return err
		}
		if err := agree(plan); err != nil {
			return err
		}
		return ch.finish(plan)
	})
}

// change is one change of one layer, with the lock held.
type change struct {
	*Catalog
	name    instance.Name
	exists  bool
	dir     int // overlays/
	staging int // .NAME.new, -1 if there is none
}

// The parts of a staging directory: what was unpacked, and the layer.
const (
	contentDir = "content"
	treeDir    = "tree"
)

// change calls do, and clears away what it leaves in the making.
func (c *Catalog) change(n instance.Name, do func(*change) error) error {
	lock, err := c.lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	dir, err := c.openOverlays()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	ch := &change{Catalog: c, name: n, dir: dir, staging: -1}
	_, err = os.Lstat(c.Layout.Overlay(n))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ch.exists = err == nil
	if err := ch.clear(); err != nil {
		return err
	}
	err = do(ch)
	if ch.staging >= 0 {
		unix.Close(ch.staging)
	}
	left := ch.clear()
	if err == nil && left != nil {
		return fmt.Errorf("the change is made, but not cleared away after: %w", left)
	}
	return errors.Join(err, left)
}

// clear removes what this change, or an interrupted one, has left.
func (ch *change) clear() error {
	for _, suffix := range []string{"new", "link", "deleted"} {
		if err := beneath.RemoveAll(ch.dir, hidden(ch.name, suffix)); err != nil {
			return fmt.Errorf("%s: %w", ch.Layout.Overlays(), err)
		}
	}
	return nil
}

// begin makes the staging directory, which only root can enter.
func (ch *change) begin() error {
	name := hidden(ch.name, "new")
	if err := unix.Mkdirat(ch.dir, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: filepath.Join(ch.Layout.Overlays(), name), Err: err}
	}
	var err error
	if ch.staging, err = beneath.OpenDir(ch.dir, name); err != nil {
		return err
	}
	return ch.makeDir(contentDir)
}

func (ch *change) makeDir(p string) error {
	if err := unix.Mkdirat(ch.staging, p, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: p, Err: err}
	}
	fd, err := beneath.OpenDir(ch.staging, p)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return (&sink{owner: ch.Owner}).own(fd, 0o755)
}

func (ch *change) unpack(ctx context.Context, src *Source, under string) (Plan, error) {
	fd, err := beneath.OpenDir(ch.staging, contentDir)
	if err != nil {
		return Plan{}, err
	}
	defer unix.Close(fd)
	s, err := newSink(ctx, fd, ch.Owner, src.size)
	if err != nil {
		return Plan{}, err
	}
	if err := src.unpack(s); err != nil {
		return Plan{}, err
	}
	plan := Plan{From: Root, Under: under, Files: s.Files, Bytes: s.Bytes}
	if under == "" {
		if plan.From, plan.Under, err = findPlace(&layers.Layer{Name: "the archive", Dir: fd}); err == nil {
			err = s.leaving(plan.From)
		}
	}
	return plan, err
}

// finish puts the contents in their place in the tree, the tree beside the
// other versions, and switches to it.
func (ch *change) finish(plan Plan) error {
	from := path.Join(contentDir, plan.From)
	if plan.Under == Root {
		return ch.publish(from)
	}
	if err := ch.makeDir(treeDir); err != nil {
		return err
	}
	p := treeDir
	for rest := path.Dir(plan.Under); rest != "."; {
		first, after := cut(rest)
		p, rest = path.Join(p, first), after
		if err := ch.makeDir(p); err != nil {
			return err
		}
	}
	p = path.Join(p, path.Base(plan.Under))
	if err := unix.Renameat2(ch.staging, from, ch.staging, p, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: p, Err: err}
	}
	return ch.publish(treeDir)
}

// cut returns the first part of a path, and the rest or ".".
func cut(p string) (first, rest string) {
	for i := range len(p) {
		if p[i] == '/' {
			return p[:i], p[i+1:]
		}
	}
	return p, "."
}

// publish makes the directory p of the staging directory the layer.
func (ch *change) publish(p string) error {
	// Before it has a name: after a power cut, it is whole or not there.
	if err := unix.Syncfs(ch.dir); err != nil {
		return fmt.Errorf("sync %s: %w", ch.Layout.Overlays(), err)
	}
	numbers, err := ch.versions(ch.name)
	if err != nil {
		return err
	}
	number := 1
	if len(numbers) > 0 {
		number = numbers[len(numbers)-1] + 1
	}
	to := version(ch.name, number)
	if err := unix.Renameat2(ch.staging, p, ch.dir, to, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: p, New: to, Err: err}
	}
	before := ch.Version(ch.name)
	if err := ch.point(to); err != nil {
		return errors.Join(err, beneath.RemoveAll(ch.dir, to))
	}
	if err := unix.Fsync(ch.dir); err != nil {
		return fmt.Errorf("the change is made, but may not outlive a power cut: %w", err)
	}
	if err := ch.prune(number, before); err != nil {
		return fmt.Errorf("the layer is changed, but an old version is not removed: %w", err)
	}
	return nil
}

// point lets the layer's name lead to the version called to.
func (ch *change) point(to string) error {
	link, name := hidden(ch.name, "link"), string(ch.name)
	if err := unix.Symlinkat(to, ch.dir, link); err != nil {
		return &os.LinkError{Op: "symlink", Old: to, New: link, Err: err}
	}
	fail := func(err error) error {
		if err != nil {
			return &os.LinkError{Op: "rename", Old: link, New: name, Err: err}
		}
		return nil
	}
	if !ch.exists {
		return fail(unix.Renameat2(ch.dir, link, ch.dir, name, unix.RENAME_NOREPLACE))
	}
	var st unix.Stat_t
	if err := unix.Fstatat(ch.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fail(unix.Renameat(ch.dir, link, ch.dir, name))
	}
	// A directory that the operator made becomes version 0, in the same rename.
	first := version(ch.name, 0)
	// A link there is of a run that was killed between the two renames.
	if err := unix.Fstatat(ch.dir, first, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		if err := unix.Unlinkat(ch.dir, first, 0); err != nil {
			return fail(err)
		}
	}
	if err := unix.Renameat2(ch.dir, link, ch.dir, first, unix.RENAME_NOREPLACE); err != nil {
		return fail(err)
	}
	if err := unix.Renameat2(ch.dir, first, ch.dir, name, unix.RENAME_EXCHANGE); err != nil {
		return errors.Join(fail(err), unix.Unlinkat(ch.dir, first, 0))
	}
	return nil
}

// prune removes the versions that nobody runs with and no other layer is a link
// to, but for the one that is now and the one before it. Version 0 was not made
// here: it is the operator's to remove.
func (ch *change) prune(now, before int) error {
	numbers, err := ch.versions(ch.name)
	if err != nil {
		return err
	}
	targets, err := ch.targets()
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if number == now || number == before || number == 0 || targets[version(ch.name, number)] {
			continue
		}
		if err := ch.removeUnused(version(ch.name, number)); err != nil && !errors.Is(err, ErrUsed) {
			return err
		}
	}
	return nil
}

// removeUnused removes one version unless an instance is mounted with it.
func (ch *change) removeUnused(name string) error {
	fd, err := beneath.OpenDir(ch.dir, name)
	if err != nil {
		return err
	}
	running, err := ch.runningWith(fd)
	unix.Close(fd)
	if err != nil {
		return err
	}
	if len(running) > 0 {
		return ErrUsed
	}
	return beneath.RemoveAll(ch.dir, name)
}
