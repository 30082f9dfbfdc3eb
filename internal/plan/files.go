package plan

import (
	"context"
	"slices"

	"l4d2-host/internal/layers"
)

// Kind is how a file differs.
type Kind string

// The kinds.
const (
	Added   Kind = "added"
	Changed Kind = "changed" // in content, type, mode or owner
	Removed Kind = "removed"
)

// File is a path that the lower layers show otherwise after the next start.
type File struct {
	Path string
	Kind Kind
	Was  *layers.Found // nil for Added
	Will *layers.Found // nil for Removed
}

// Files calls f for each file that differs between two views, in the order of
// the paths. Of directories, only those that are there before and after count,
// with another mode or owner. Only what the layers hold that are not shared is
// looked at.
func Files(ctx context.Context, was, will layers.View, shared Shared, f func(File) error) error {
	before, err := was.Root()
	if err != nil {
		return err
	}
	after, err := will.Root()
	if err != nil {
		return err
	}
	c := comparison{ctx, was, will, shared, f}
	return c.directory(before, after)
}

type comparison struct {
	ctx       context.Context
	was, will layers.View
	shared    Shared
	report    func(File) error
}

// split returns which of the layers that both views have are merged in n, and
// those that differ.
func (c *comparison) split(n layers.Node) (common []int, differing []*layers.Layer) {
	for _, s := range n.Shown {
		if number, ok := c.shared[s.Layer]; ok {
			common = append(common, number)
		} else {
			differing = append(differing, s.Layer)
		}
	}
	return common, differing
}

// directory compares what is in a directory that both views have.
func (c *comparison) directory(before, after layers.Node) error {
	commonBefore, differing := c.split(before)
	commonAfter, more := c.split(after)
	var names []string
	if slices.Equal(commonBefore, commonAfter) {
		for _, l := range append(differing, more...) {
			some, err := l.Names(before.Path)
			if err != nil {
				return err
			}
			names = append(names, some...)
		}
	} else {
		// One that differs hides what the common ones have there.
		for _, v := range []struct {
			layers.View
			layers.Node
		}{{c.was, before}, {c.will, after}} {
			some, err := v.Names(v.Node)
			if err != nil {
				return err
			}
			names = append(names, some...)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		old, err := c.was.Child(before, name)
		if err != nil {
			return err
		}
		now, err := c.will.Child(after, name)
		if err != nil {
			return err
		}
		if err := c.entry(old, now); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) entry(before, after layers.Node) error {
	old, now := before.Top(), after.Top()
	switch {
	case old != nil && now != nil && before.IsDir() && after.IsDir():
		if differ(old, now) {
			if err := c.report(File{before.Path, Changed, old, now}); err != nil {
				return err
			}
		}
		return c.directory(before, after)
	case old != nil && now != nil && !before.IsDir() && !after.IsDir():
		if old.Dev == now.Dev && old.Ino == now.Ino {
			return nil
		}
		same, err := layers.SameContent(c.ctx, before.Path, *old, *now)
		if err != nil || same && !differ(old, now) {
			return err
		}
		return c.report(File{before.Path, Changed, old, now})
	}
	if err := c.all(c.was, before, Removed); err != nil {
		return err
	}
	return c.all(c.will, after, Added)
}

func differ(a, b *layers.Found) bool {
	return a.Mode != b.Mode || a.UID != b.UID || a.GID != b.GID
}

// all reports what shows at n, and below it.
func (c *comparison) all(v layers.View, n layers.Node, kind Kind) error {
	if n.Top() == nil {
		return nil
	}
	return v.Walk(n, func(n layers.Node) error {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		top := n.Top()
		switch {
		case top.Type == layers.Directory:
			return nil
		case kind == Added:
			return c.report(File{n.Path, Added, nil, top})
		}
		return c.report(File{n.Path, Removed, top, nil})
	})
}
