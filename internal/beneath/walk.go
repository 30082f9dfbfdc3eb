package beneath

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Entry is something that Walk has come to.
type Entry struct {
	Path string // relative to the directory that Walk was called for; anyone's text
	Stat unix.Stat_t
	// Err says why Walk did not enter a directory: no permission, something is
	// mounted there (EXDEV), ErrDeep; or that nothing is known of Path at all.
	Err error
}

// ErrDeep says that Walk did not go deeper, as each level takes a descriptor.
var ErrDeep = errors.New("nested too deep")

// Walk calls visit for everything in dir, in no order, each directory before
// what is in it. It changes nothing. What vanishes meanwhile is not visited.
// The tree's owner decides how large it is: so bound the time with ctx, whose
// error is returned. Otherwise the error is about dir itself.
func Walk(ctx context.Context, dir int, visit func(Entry)) error {
	return walk(ctx, dir, "", 0, visit)
}

func walk(ctx context.Context, dir int, path string, depth int, visit func(Entry)) error {
	// A description of its own, with an offset of its own.
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wrap("open", path+".", err)
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return wrap("read", path+".", err)
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := step(ctx, fd, name, path+name, depth, visit); err != nil {
				return err
			}
		}
	}
}

// step visits name in dir, and what is in it. Its error is ctx's alone.
func step(ctx context.Context, dir int, name, path string, depth int, visit func(Entry)) error {
	e := Entry{Path: path}
	err := unix.Fstatat(dir, name, &e.Stat, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if e.Err = wrap("stat", path, err); err != nil || e.Stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		visit(e)
		return nil
	}
	if depth == maxDepth {
		e.Err = wrap("open", path, ErrDeep)
		visit(e)
		return nil
	}
	sub, err := OpenDir(dir, name)
	if err != nil {
		e.Err = wrap("open", path, errors.Unwrap(err))
		visit(e)
		return nil
	}
	defer unix.Close(sub)
	visit(e)
	err = walk(ctx, sub, path+"/", depth+1, visit)
	if err != nil && ctx.Err() == nil {
		visit(Entry{Path: path, Err: err}) // a disk that cannot be read
		return nil
	}
	return err
}
