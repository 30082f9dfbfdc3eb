package layers

import (
	"context"
	"maps"
	"path"
	"slices"

	"l4d2-host/internal/chain"
)

// Conflict is a path that several layers have a say in, and not only by all
// having a directory there.
type Conflict struct {
	Path string
	// Claimants is what each of them has, topmost first: that one wins.
	Claimants []Found
	Same      bool // all of them hold the same
	// HiddenBy is a layer above the first claimant that hides them all by what
	// it has in the place of a parent directory, or nil.
	HiddenBy *Layer
}

// Conflicts calls f for each conflict between the layers of v, in the order of
// the paths. The lowest layer, which is the largest by far, is asked only for
// what others have. The releases of the game count as one layer: that the newer
// has another file than the older is what it is for.
func Conflicts(ctx context.Context, v View, f func(Conflict) error) error {
	claims := map[string][]Found{}
	lowest := len(v) - 1
	for _, l := range v[:lowest] {
		err := View{l}.eachRaw(ctx, ".", func(name string, e Entry) {
			claims[name] = append(claims[name], Found{l, e})
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		last, err := v[lowest:].Raw(name)
		if err != nil {
			return err
		}
		c, err := v.conflict(ctx, name, append(claims[name], last...))
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		if err := f(*c); err != nil {
			return err
		}
	}
	return nil
}

// eachRaw calls f for all that the only layer of v has, also what does not show.
func (v View) eachRaw(ctx context.Context, dir string, f func(string, Entry)) error {
	names, err := v[0].Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		name = path.Join(dir, name)
		found, err := v.Raw(name)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue // gone meanwhile
		}
		f(name, found[0].Entry)
		if found[0].Type == Directory {
			if err := v.eachRaw(ctx, name, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// game leaves of the claims of the game's releases what they show together.
func game(claimants []Found) []Found {
	first := slices.IndexFunc(claimants, func(f Found) bool {
		_, isRelease := chain.Of(f.Layer.Name)
		return isRelease
	})
	switch {
	case first < 0:
		return claimants
	case claimants[first].Type == Whiteout:
		return claimants[:first]
	}
	return claimants[:first+1]
}

func (v View) conflict(ctx context.Context, name string, claimants []Found) (*Conflict, error) {
	claimants = game(claimants)
	directories := 0
	for _, f := range claimants {
		if f.Type == Directory {
			directories++
		}
	}
	if len(claimants) < 2 || directories == len(claimants) {
		return nil, nil
	}
	c := &Conflict{Path: name, Claimants: claimants, Same: true}
	for _, f := range claimants[1:] {
		same, err := SameContent(ctx, name, claimants[0], f)
		if err != nil {
			return nil, err
		}
		c.Same = c.Same && same
	}
	n, err := v.Lookup(name)
	if err != nil {
		return nil, err
	}
	if n.Top() == nil && n.HiderPath != name {
		c.HiddenBy = n.Hider.Layer
	}
	return c, nil
}
