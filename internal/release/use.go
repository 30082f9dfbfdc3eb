package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// linkFile is the link to the current release before it has its name.
const linkFile = "." + instance.InstallationLayer + ".new"

// Use makes release n the current one, by one rename: each instance that is not
// pinned takes it at its next start, and a running one keeps what it has. The
// error is ErrPlain, with advice, where a plain installation is in the way.
func (ch *Change) Use(n instance.Name) error {
	r, err := ch.Read(n)
	if err != nil {
		return err
	}
	if err := ch.complete(r.Chain); err != nil {
		return fmt.Errorf("release %s: %w", n, err)
	}
	now, err := chain.Current(ch.Layout)
	if err != nil || now == n {
		return err
	}
	if err := unix.Symlinkat(chain.Tree(n), ch.root, linkFile); err != nil {
		return &os.LinkError{Op: "symlink", Old: chain.Tree(n), New: linkFile, Err: err}
	}
	ch.at("link")
	if err := ch.point(now); err != nil {
		return errors.Join(err, ch.dropLink())
	}
	return ch.sync(ch.root)
}

// complete makes sure that all releases of a chain are there.
func (ch *Change) complete(names []instance.Name) error {
	for _, m := range names {
		info, err := os.Stat(ch.Layout.ReleaseTree(m))
		if err == nil && !info.IsDir() {
			err = errors.New("not a directory")
		}
		if err != nil {
			return advice.With(fmt.Errorf("its chain has release %s: %w", m, err), "see what there is with l4d2ctl releases")
		}
	}
	return nil
}

// point lets the link take the place of the installation; now is the release
// that it leads to, or "".
func (ch *Change) point(now instance.Name) error {
	var st unix.Stat_t
	err := unix.Fstatat(ch.root, instance.InstallationLayer, &st, unix.AT_SYMLINK_NOFOLLOW)
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		return &os.LinkError{Op: "rename", Old: linkFile, New: ch.Layout.Installation(), Err: err}
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return fail(unix.Renameat2(ch.root, linkFile, ch.root, instance.InstallationLayer, unix.RENAME_NOREPLACE))
	case err != nil:
		return fail(err)
	case now != "":
		return fail(unix.Renameat(ch.root, linkFile, ch.root, instance.InstallationLayer))
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return errPlain(ch.Layout)
	}
	// The package makes an empty one.
	if entries, err := os.ReadDir(ch.Layout.Installation()); err != nil || len(entries) > 0 {
		return errors.Join(err, errPlain(ch.Layout))
	}
	if err := fail(unix.Renameat2(ch.root, linkFile, ch.root, instance.InstallationLayer, unix.RENAME_EXCHANGE)); err != nil {
		return err
	}
	err = unix.Unlinkat(ch.root, linkFile, unix.AT_REMOVEDIR)
	if err == nil {
		return nil
	}
	if back := unix.Renameat2(ch.root, linkFile, ch.root, instance.InstallationLayer, unix.RENAME_EXCHANGE); back != nil {
		return fail(back)
	}
	if errors.Is(err, unix.ENOTEMPTY) {
		return errPlain(ch.Layout)
	}
	return fail(err)
}

func errPlain(l instance.Layout) error {
	return advice.With(fmt.Errorf("%s: %w", l.Installation(), ErrPlain), "make it the first release with: l4d2ctl adopt")
}

// dropLink removes a link that did not get its name, and nothing else.
func (ch *Change) dropLink() error {
	var st unix.Stat_t
	err := unix.Fstatat(ch.root, linkFile, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	flag := 0
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		flag = unix.AT_REMOVEDIR // the empty installation that it has replaced
	}
	if err == nil {
		err = unix.Unlinkat(ch.root, linkFile, flag)
	}
	if err != nil {
		path := filepath.Join(ch.Layout.Root(), linkFile)
		return advice.With(&os.PathError{Op: "unlink", Path: path, Err: err}, "see what is in it, and move it elsewhere: "+path)
	}
	return nil
}

// Rollback makes release n current or, if n is "", the one below the current
// one. It returns which it is.
func (ch *Change) Rollback(n instance.Name) (instance.Name, error) {
	if n == "" {
		now, err := ch.Current()
		if errors.Is(err, ErrPlain) {
			err = errPlain(ch.Layout)
		}
		if err != nil {
			return "", err
		}
		if len(now.Chain) < 2 {
			return "", advice.With(fmt.Errorf("release %s lies over no other", now.Name),
				"name the one to take, of those that l4d2ctl releases shows")
		}
		n = now.Chain[1]
	}
	return n, ch.Use(n)
}

// heal finishes or takes back what an interrupted change has left.
func (ch *Change) heal() error {
	if err := ch.dropLink(); err != nil {
		return err
	}
	names, err := list(ch.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ch.healOne(name); err != nil {
			return err
		}
	}
	return nil
}

func (ch *Change) healOne(name string) error {
	if n, ok := leftOver(name); ok {
		ch.say("removing what an interrupted command has left of release %s", n)
		if err := ch.remove(name); err != nil {
			ch.say("warning: %v", err) // it is in nobody's way
		}
		return nil
	}
	n, err := instance.ParseName(name)
	if err != nil {
		return nil // the staging directory, which is the update's to resume; a lock
	}
	before, err := instance.ReadFile(filepath.Join(ch.Layout.Release(n), nextFile), instance.MaxName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := chain.Current(ch.Layout)
	if err != nil {
		return err
	}
	if _, err := os.Readlink(ch.Layout.ReleaseTree(n)); err == nil && now != n {
		ch.say("an interrupted adoption of the installation has changed nothing")
		return ch.takeBack(n)
	}
	if now == instance.Name(before) {
		if err := ch.Use(n); err != nil {
			ch.say("release %s was made by an interrupted command, and is not current: %v", n, err)
		} else {
			ch.say("release %s was made by an interrupted command, and is current now", n)
		}
	}
	return ch.clear(n)
}

// leftOver returns the release that a hidden name in releases/ is about, when
// nothing of it is to be kept.
func leftOver(name string) (instance.Name, bool) {
	for _, suffix := range []string{"new", "deleted"} {
		if n, ok := unhide(name, suffix); ok {
			return n, true
		}
	}
	return "", false
}

// discard removes a release: from the rename on it is none.
func (ch *Change) discard(n instance.Name) error {
	deleted := hidden(n, "deleted")
	if err := unix.Renameat2(ch.dir, string(n), ch.dir, deleted, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: string(n), New: deleted, Err: err}
	}
	ch.at("deleted")
	return ch.remove(deleted)
}
