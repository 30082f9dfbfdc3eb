package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

// ErrFlat says that a release lies over no other.
var ErrFlat = errors.New("it lies over no other: there is nothing to fold")

// Flatten makes a new release that shows what release n and those below it show,
// and lies over none. It links the files, and copies those that cannot be linked.
// If n is the current release the new one becomes it. progress is called with the
// bytes of each file as it is done; see Measure. After an error, or when ctx ends,
// nothing has changed.
func (ch *Change) Flatten(ctx context.Context, n instance.Name, now time.Time, progress func(int64)) (instance.Name, error) {
	old, view, err := ch.view(n)
	if err != nil {
		return "", err
	}
	defer view.Close()
	flat, err := ch.newName(now)
	if err != nil {
		return "", err
	}
	name := hidden(flat, "new")
	if err := ch.fold(ctx, name, view, progress); err != nil {
		return "", errors.Join(fmt.Errorf("fold release %s: %w", n, err), ch.remove(name))
	}
	current, err := chain.Current(ch.Layout)
	if err == nil && current == n {
		err = ch.mark(name)
	}
	if err == nil {
		err = ch.publish(ctx, name, flat, nil, Info{Build: old.Build, Date: now})
	}
	if err != nil {
		return "", errors.Join(err, ch.remove(name))
	}
	if current != n {
		return flat, nil
	}
	return flat, ch.finish(flat)
}

// Measure returns how many bytes the files of release n have that Flatten would
// link or copy.
func (ch *Change) Measure(ctx context.Context, n instance.Name) (int64, error) {
	_, view, err := ch.view(n)
	if err != nil {
		return 0, err
	}
	defer view.Close()
	root, err := view.Root()
	if err != nil {
		return 0, err
	}
	var bytes int64
	err = view.Walk(root, func(node layers.Node) error {
		bytes += node.Top().Size
		return ctx.Err()
	})
	return bytes, err
}

// view opens the trees of the chain of n, if it is longer than one.
func (ch *Change) view(n instance.Name) (Release, layers.View, error) {
	r, err := ch.Read(n)
	if err != nil {
		return r, nil, err
	}
	if len(r.Chain) < 2 {
		return r, nil, fmt.Errorf("release %s: %w", n, ErrFlat)
	}
	trees := make([]string, len(r.Chain))
	for i, m := range r.Chain {
		trees[i] = chain.Tree(m)
	}
	view, err := layers.Open(ch.Layout, trees)
	return r, view, err
}

// fold makes the directory called name in releases/, with what view shows as its
// tree.
func (ch *Change) fold(ctx context.Context, name string, view layers.View, progress func(int64)) error {
	if err := unix.Mkdirat(ch.dir, name, 0o700); err != nil {
		return &os.PathError{Op: "mkdir", Path: filepath.Join(ch.Layout.Releases(), name), Err: err}
	}
	dir, err := beneath.OpenDir(ch.dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	root, err := view.Root()
	if err != nil {
		return err
	}
	f := folding{ctx, ch, view, progress}
	return f.directory(dir, instance.ReleaseTreeDir, root)
}

// folding is the work of one Flatten. What it writes to lies in a directory that
// only root can enter; what it reads, the game's user may be changing.
type folding struct {
	ctx      context.Context
	ch       *Change
	view     layers.View
	progress func(int64)
}

// directory makes the directory name in dir, with all that node shows.
func (f *folding) directory(dir int, name string, node layers.Node) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return &beneath.Error{Op: "mkdir", Path: node.Path, Err: err}
	}
	fd, err := beneath.OpenDir(dir, name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	names, err := f.view.Names(node)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.ctx.Err(); err != nil {
			return err
		}
		child, err := f.view.Child(node, name)
		if err != nil {
			return err
		}
		if err := f.entry(fd, name, child); err != nil {
			return err
		}
	}
	from, _, err := node.Top().Layer.Pin(node.Path)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if err := sameAttributes(fd, from); err != nil {
		return &beneath.Error{Op: "make", Path: node.Path, Err: err}
	}
	return nil
}

func (f *folding) entry(dir int, name string, node layers.Node) error {
	if node.Top() == nil {
		return nil // deleted
	}
	if node.IsDir() {
		return f.directory(dir, name, node)
	}
	from, e, err := node.Top().Layer.Pin(node.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: someone is changing a release", err)
	}
	if err != nil {
		return err
	}
	defer unix.Close(from)
	if e.Type == layers.Directory || e.Type == layers.Whiteout {
		return &beneath.Error{Op: "link", Path: node.Path, Err: errors.New("someone is changing a release")}
	}
	f.ch.at("file")
	err = unix.Linkat(from, "", dir, name, unix.AT_EMPTY_PATH)
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM):
		// Another file system, as many links as a file can have, an immutable file.
		err = copyFile(f.ctx, dir, name, from, f.progress)
	case err == nil:
		f.progress(e.Size)
	}
	if err != nil {
		return &beneath.Error{Op: "link", Path: path.Clean(node.Path), Err: err}
	}
	return nil
}
