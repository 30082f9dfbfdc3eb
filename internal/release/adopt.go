package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// Adopt makes the plain installation a release, and the current one, without
// moving a byte: the directory and a link change places in one step. Where the
// installation is a link of the operator's, what it leads to stays where it is,
// and the tree of the release is such a link. Running servers notice nothing.
func (ch *Change) Adopt(ctx context.Context, info Info) (instance.Name, error) {
	path := ch.Layout.Installation()
	if now, err := chain.Current(ch.Layout); err != nil {
		return "", err
	} else if now != "" {
		return "", fmt.Errorf("%s is a release already: %s", path, now)
	}
	// A link is root's, as nobody else can make one there.
	content, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(content)
	link, err := ch.adoptable(content)
	if err != nil {
		return "", err
	}
	n, err := ch.newName(info.Date)
	if err != nil {
		return "", err
	}
	if err := ch.prepare(ctx, n, link, content, info); err != nil {
		return "", errors.Join(err, ch.remove(hidden(n, "new")))
	}
	if err := ch.exchange(n, link); err != nil {
		return "", errors.Join(err, ch.takeBack(n))
	}
	ch.at("current")
	return n, errors.Join(ch.syncTree(n), ch.sync(ch.root), ch.clear(n))
}

// takeBack removes a release whose adoption has not come about: one with a link
// for a tree, and never one that has a tree.
func (ch *Change) takeBack(n instance.Name) error {
	if _, err := os.Readlink(ch.Layout.ReleaseTree(n)); err != nil {
		return err
	}
	return ch.discard(n)
}

// syncTree makes sure that the name of the release's tree outlives a power cut.
func (ch *Change) syncTree(n instance.Name) error {
	dir, err := beneath.OpenDir(ch.dir, string(n))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return ch.sync(dir)
}

// gameDir is what srcds -game names: every installation has it.
const gameDir = "left4dead2"

// adoptable returns where a link at the installation leads, or "" for a
// directory, unless that can't become a release. It is open as content.
func (ch *Change) adoptable(content int) (link string, err error) {
	path := ch.Layout.Installation()
	names, err := list(content)
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	if len(names) == 0 {
		return "", advice.With(fmt.Errorf("%s is empty: there is no game to adopt", path), "install it with: l4d2ctl update")
	}
	if !slices.Contains(names, gameDir) {
		return "", advice.With(fmt.Errorf("%s has no directory %s: that is not the game", path, gameDir),
			"the directory that steamcmd installs into, with srcds_linux and "+gameDir+" in it, has to be "+path+" itself, not in it")
	}
	mounted, err := isMount(ch.root, instance.InstallationLayer)
	if err != nil {
		return "", err
	}
	if mounted {
		return "", advice.With(fmt.Errorf("something is mounted at %s, and a mount point can't be moved", path),
			"mount it elsewhere, make "+path+" a symbolic link to there, and adopt that; the servers have to be stopped for it")
	}
	link, err = os.Readlink(path)
	if errors.Is(err, unix.EINVAL) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(link) {
		link = filepath.Join(ch.Layout.Root(), link)
	}
	return link, nil
}

// prepare makes the release, with a link where its tree is to be.
func (ch *Change) prepare(ctx context.Context, n instance.Name, link string, content int, info Info) error {
	if link == "" {
		link = chain.Tree(n) // as the link at the installation will be
	}
	name := hidden(n, "new")
	if err := unix.Mkdirat(ch.dir, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: filepath.Join(ch.Layout.Releases(), name), Err: err}
	}
	dir, err := beneath.OpenDir(ch.dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Symlinkat(link, dir, instance.ReleaseTreeDir); err != nil {
		return &os.LinkError{Op: "symlink", Old: link, New: instance.ReleaseTreeDir, Err: err}
	}
	if err := ch.write(ctx, dir, content, n, nil, info); err != nil {
		return err
	}
	if err := ch.mark(name); err != nil {
		return err
	}
	return ch.give(dir, name, n)
}

// exchange makes the prepared release the installation.
func (ch *Change) exchange(n instance.Name, link string) error {
	fail := func(err error) error {
		if errors.Is(err, unix.EXDEV) {
			return advice.With(fmt.Errorf("%s and %s are on different file systems", ch.Layout.Installation(), ch.Layout.Releases()),
				"make "+ch.Layout.Installation()+" a symbolic link to a directory elsewhere on its file system, and adopt that")
		}
		if err != nil {
			return &os.LinkError{Op: "rename", Old: ch.Layout.Installation(), New: ch.Layout.ReleaseTree(n), Err: err}
		}
		return nil
	}
	if link == "" {
		dir, err := beneath.OpenDir(ch.dir, string(n))
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return fail(unix.Renameat2(ch.root, instance.InstallationLayer, dir, instance.ReleaseTreeDir, unix.RENAME_EXCHANGE))
	}
	if err := unix.Symlinkat(chain.Tree(n), ch.root, linkFile); err != nil {
		return &os.LinkError{Op: "symlink", Old: chain.Tree(n), New: linkFile, Err: err}
	}
	ch.at("link")
	if err := unix.Renameat(ch.root, linkFile, ch.root, instance.InstallationLayer); err != nil {
		return errors.Join(fail(err), ch.dropLink())
	}
	return nil
}
