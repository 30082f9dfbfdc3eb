package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// Problem is something that is wrong with the releases.
type Problem struct {
	Err    error // with advice
	Needed bool  // it keeps instances from starting
}

// manyLayers is the length of a chain from which on it should be folded: beyond
// the kernel's limit, of layers and releases together, nothing starts.
const manyLayers = 400

// Check looks at all releases, at those that the given ones lie over in
// particular, and changes nothing.
func (c *Catalog) Check(used []instance.Name) ([]Problem, error) {
	names, err := Names(c.Layout)
	if err != nil {
		return nil, err
	}
	var found []Problem
	needed := map[instance.Name]bool{}
	for _, n := range used {
		needed[n] = true
		r, err := c.Read(n)
		if errors.Is(err, ErrUnknown) {
			found = append(found, Problem{advice.With(err, seeReleases), true})
			continue
		}
		for _, m := range r.Chain { // none if it cannot be read
			needed[m] = true
			if _, err := os.Lstat(c.Layout.Release(m)); err != nil {
				found = append(found, Problem{advice.With(fmt.Errorf("release %s lies over %s: %w", n, m, err), seeReleases), true})
			}
		}
		if len(r.Chain) > manyLayers {
			found = append(found, Problem{advice.With(fmt.Errorf("release %s lies over %d others, and the kernel allows %d layers in all", n, len(r.Chain)-1, instance.MaxLayers),
				"fold them into one with: l4d2ctl flatten "+string(n)), false})
		}
	}
	for _, n := range names {
		if err := c.checkOne(n); err != nil {
			found = append(found, Problem{err, needed[n]})
		}
	}
	return found, nil
}

const seeReleases = "see what there is with l4d2ctl releases, and switch to one that is whole with l4d2ctl rollback RELEASE"

func (c *Catalog) checkOne(n instance.Name) error {
	if _, err := c.Read(n); err != nil {
		return advice.With(err, seeReleases)
	}
	dir := c.Layout.Release(n)
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return advice.With(fmt.Errorf("%s: others than root can write it (owner %d, mode %#o)", dir, st.Uid, info.Mode().Perm()),
			"chown root "+dir+" && chmod go-w "+dir)
	}
	tree := c.Layout.ReleaseTree(n)
	info, err = os.Stat(tree)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: not a directory", tree)
	}
	if err != nil {
		return advice.With(fmt.Errorf("release %s: %w", n, err), seeReleases)
	}
	return nil
}

// lostFound is in the root of an ext4: e2fsck(8) needs it.
const lostFound = "lost+found"

// LeftOvers returns, each as an error with advice, what interrupted commands have
// left. A command that is at work has not finished either.
func (c *Catalog) LeftOvers() ([]error, error) {
	entries, err := os.ReadDir(c.Layout.Releases())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var found []error
	add := func(path string) {
		found = append(found, advice.With(fmt.Errorf("%s: a command that was interrupted has left it, or one is at work", path),
			"the next l4d2ctl rollback, prune, flatten or update sees to it"))
	}
	for _, e := range entries {
		path := filepath.Join(c.Layout.Releases(), e.Name())
		_, nameErr := instance.ParseName(e.Name())
		switch _, left := leftOver(e.Name()); {
		case left:
			add(path)
		case nameErr == nil && e.IsDir():
			if _, err := os.Lstat(filepath.Join(path, nextFile)); err == nil {
				add(filepath.Join(path, nextFile))
			}
		case !strings.HasPrefix(e.Name(), ".") && e.Name() != lostFound:
			found = append(found, advice.With(fmt.Errorf("%q: it is no release", path), "move it elsewhere"))
		}
	}
	if path := filepath.Join(c.Layout.Root(), linkFile); err == nil {
		if _, missing := os.Lstat(path); missing == nil {
			add(path)
		}
	}
	return found, err
}

// Needed returns the releases that the instances called names would take at their
// next start, and the current one.
func (c *Catalog) Needed(names []instance.Name) []instance.Name {
	needed := map[instance.Name]bool{}
	if n, err := chain.Current(c.Layout); err == nil && n != "" {
		needed[n] = true
	}
	for _, i := range names {
		if env, err := instance.ReadEnv(c.Layout, i); err == nil && env.Release() != "" {
			needed[env.Release()] = true
		}
	}
	var list []instance.Name
	for n := range needed {
		list = append(list, n)
	}
	return list
}
