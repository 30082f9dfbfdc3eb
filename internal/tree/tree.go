// Package tree looks at directory trees that others can write, and may be
// writing: how much of the disk one takes, what in it changed of late. It
// changes nothing.
package tree

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
)

// Usage is how much of the disk a tree takes.
type Usage struct {
	Bytes int64 // on disk, not the length of the files
	Files int   // and directories and the rest; hard links once
	// Missed is why the numbers are a lower bound: the first thing that could
	// not be looked at, or ctx's error. Nil if all was seen.
	Missed error
}

// DiskUse adds up what is in the open directory dir. It does not look into
// what is mounted there. When ctx ends it returns what it has.
func DiskUse(ctx context.Context, dir int) Usage {
	var u Usage
	type inode struct{ dev, ino uint64 }
	linked := map[inode]bool{}
	err := beneath.Walk(ctx, dir, func(e beneath.Entry) {
		u.miss(e.Err)
		if errors.Is(e.Err, unix.EXDEV) {
			return // its size is another file system's
		}
		if e.Stat.Nlink > 1 && e.Stat.Mode&unix.S_IFMT != unix.S_IFDIR {
			i := inode{e.Stat.Dev, e.Stat.Ino}
			if linked[i] {
				return
			}
			linked[i] = true
		}
		u.Bytes += e.Stat.Blocks * 512 // the unit of st_blocks on every file system
		u.Files++
	})
	u.miss(err)
	return u
}

func (u *Usage) miss(err error) {
	if u.Missed == nil {
		u.Missed = err
	}
}

// Changes is what changed in a tree.
type Changes struct {
	Count int
	// Paths are the first of them, relative to the tree: anyone's text.
	Paths []string
	// Missed is why there may be more: see Usage.
	Missed error

	most int
}

// ChangedSince returns what changed after t in the open directory dir: what is
// new or written to, and what only changed its owner, mode or name; a directory
// too, and so what was removed from it shows. It goes by the time of the inode
// (ctime), which nobody can set, on the clock's ticks of some milliseconds. No
// more than most paths are kept.
func ChangedSince(ctx context.Context, dir int, t time.Time, most int) Changes {
	c := Changes{most: most}
	err := beneath.Walk(ctx, dir, func(e beneath.Entry) {
		if e.Err != nil && c.Missed == nil {
			c.Missed = e.Err
		}
		c.add(e.Path, &e.Stat, t)
	})
	if err != nil && c.Missed == nil {
		c.Missed = err
	}
	var top unix.Stat_t
	if err := unix.Fstat(dir, &top); err == nil {
		c.add(".", &top, t)
	}
	return c
}

func (c *Changes) add(path string, st *unix.Stat_t, t time.Time) {
	if !time.Unix(st.Ctim.Unix()).After(t) {
		return
	}
	c.Count++
	if len(c.Paths) < c.most {
		c.Paths = append(c.Paths, path)
	}
}
