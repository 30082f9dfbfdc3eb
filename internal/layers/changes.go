package layers

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
)

// Kind is how a name in an upper layer differs from what is beneath it.
type Kind string

// The kinds.
const (
	Added    Kind = "added"
	Modified Kind = "modified" // also of another type, mode or owner, or opaque
	Deleted  Kind = "deleted"
	Same     Kind = "same" // a copy that has not been changed
)

// Change is one name that an upper layer has a say in.
type Change struct {
	Path string
	Kind Kind
	// Upper is what the upper layer has there. It is nil for what was deleted
	// with its directory, when an opaque one has taken its place.
	Upper *Found
	// Beneath is what shows without the upper layer, or nil.
	Beneath *Found
	// HiddenFiles and HiddenBytes count the files that a deleted directory had.
	HiddenFiles, HiddenBytes int64
}

// Changes calls f for each name that the layer upper changes in what lowers
// show, in the order of the names, directories before what is in them. A
// directory that is only there for the sake of what is in it is no change, and
// neither is a whiteout with nothing beneath it.
func Changes(ctx context.Context, upper *Layer, lowers View, f func(Change) error) error {
	root, err := lowers.Root()
	if err != nil {
		return err
	}
	c := comparison{ctx, upper, lowers, f}
	return c.directory(root, false)
}

// ChangesAt is Changes for one path and all below it.
func ChangesAt(ctx context.Context, upper *Layer, lowers View, name string, f func(Change) error) error {
	if name == "." {
		return Changes(ctx, upper, lowers, f)
	}
	beneath, err := lowers.Lookup(name)
	if err != nil {
		return err
	}
	// Whether what is beneath still shows depends on the directories above.
	n, err := append(View{upper}, lowers...).Lookup(path.Dir(name))
	if err != nil {
		return err
	}
	c := comparison{ctx, upper, lowers, f}
	return c.entry(beneath, n.Hider != nil && n.Hider.Layer == upper)
}

type comparison struct {
	ctx    context.Context
	upper  *Layer
	lowers View
	report func(Change) error
}

// directory compares what is in a directory of upper with what lowers show
// there. With cut, upper hides all of that.
func (c *comparison) directory(beneath Node, cut bool) error {
	names, err := c.upper.Names(beneath.Path)
	if err != nil {
		return err
	}
	if cut {
		more, err := c.lowers.Names(beneath)
		if err != nil {
			return err
		}
		names = append(names, more...)
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n, err := c.lowers.Child(beneath, name)
		if err != nil {
			return err
		}
		if err := c.entry(n, cut); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) entry(beneath Node, cut bool) error {
	e, err := c.upper.Stat(beneath.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	if missing || e.Type == Whiteout {
		if beneath.Top() == nil || missing && !cut {
			return nil
		}
		return c.deleted(beneath, e, missing)
	}
	upper := Found{c.upper, e}
	change := Change{Path: beneath.Path, Kind: Added, Upper: &upper, Beneath: beneath.Top()}
	replaces := beneath.IsDir() && e.Type == Directory && (e.Opaque || cut)
	if change.Beneath != nil {
		if change.Kind, err = c.kind(beneath, upper); err != nil {
			return err
		}
		if replaces && e.Opaque {
			change.Kind = Modified
		}
	}
	if change.Kind != Same || e.Type != Directory {
		if err := c.report(change); err != nil {
			return err
		}
	}
	if e.Type != Directory {
		return nil
	}
	return c.directory(beneath, replaces)
}

// kind compares two entries that are both there.
func (c *comparison) kind(beneath Node, upper Found) (Kind, error) {
	old := *beneath.Top()
	if upper.Mode != old.Mode || upper.UID != old.UID || upper.GID != old.GID {
		return Modified, nil
	}
	same, err := SameContent(c.ctx, beneath.Path, upper, old)
	if errors.Is(err, fs.ErrNotExist) { // deleted meanwhile
		return Modified, nil
	}
	if err != nil || same {
		return Same, err
	}
	return Modified, nil
}

func (c *comparison) deleted(beneath Node, e Entry, missing bool) error {
	change := Change{Path: beneath.Path, Kind: Deleted, Beneath: beneath.Top()}
	if !missing {
		change.Upper = &Found{c.upper, e}
	}
	err := c.lowers.Walk(beneath, func(n Node) error {
		if top := n.Top(); top.Type != Directory {
			change.HiddenFiles++
			if top.Type == File {
				change.HiddenBytes += top.Size
			}
		}
		return c.ctx.Err()
	})
	if err != nil {
		return err
	}
	return c.report(change)
}
