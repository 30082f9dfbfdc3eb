package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/inuse"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/record"
)

// Use is what a release is good for at present.
type Use struct {
	Release
	Current bool
	Pinned  []instance.Name // instances whose spec names it, or what was generated from it
	// Running are the instances that are mounted with it on top of the game, and
	// Beneath those that are mounted with it further below. An instance that is
	// mounted with nobody knows what counts as both.
	Running, Beneath []instance.Name
	Over             []instance.Name // releases that lie over it
}

// Uses returns all releases with their use, the newest first. Those that cannot be
// read are not in it, nor what instances are pinned to that cannot be read, and the
// error says why.
func (c *Catalog) Uses() ([]Use, error) {
	list, broken := c.List()
	now, err := c.Current()
	if err != nil && !errors.Is(err, ErrPlain) && broken == nil {
		broken = err
	}
	pins, err := c.pins()
	broken = errors.Join(broken, err)
	mounted, err := inuse.Find(c.Layout)
	if err != nil {
		return nil, err
	}
	uses := make([]Use, len(list))
	for i, r := range list {
		uses[i] = Use{Release: r, Current: r.Name == now.Name, Pinned: pins[r.Name]}
		if uses[i].Running, uses[i].Beneath, err = c.running(mounted, r.Name); err != nil {
			return nil, err
		}
		for _, o := range list {
			if slices.Contains(o.Chain[1:], r.Name) {
				uses[i].Over = append(uses[i].Over, o.Name)
			}
		}
	}
	return uses, broken
}

// running returns who is mounted with the tree of n: on top of the game, and
// anywhere in it.
func (c *Catalog) running(u inuse.Use, n instance.Name) (top, beneath []instance.Name, err error) {
	var st unix.Stat_t
	if err := unix.Stat(c.Layout.ReleaseTree(n), &st); errors.Is(err, unix.ENOENT) {
		return nil, nil, nil // nobody can be mounted with it
	} else if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", c.Layout.ReleaseTree(n), err)
	}
	dir := record.Directory{Dev: st.Dev, Ino: st.Ino}
	for _, i := range u.Of(dir) {
		start, known := u.Starts[i]
		if !known || start.Base() == dir {
			top = append(top, i)
		}
		if !known || start.Base() != dir {
			beneath = append(beneath, i)
		}
	}
	slices.Sort(top)
	slices.Sort(beneath)
	return top, beneath, nil
}

// pins returns the instances that are pinned, by release. The generated file
// counts, which the next start goes by, and so does a spec that is yet to be
// applied. The error is about those of which neither can be read.
func (c *Catalog) pins() (map[instance.Name][]instance.Name, error) {
	names, err := c.Store.List()
	if err != nil {
		return nil, err
	}
	pins := map[instance.Name][]instance.Name{}
	add := func(r, i instance.Name) {
		if r != "" && !slices.Contains(pins[r], i) {
			pins[r] = append(pins[r], i)
		}
	}
	var errs []error
	for _, i := range names {
		env, envErr := instance.ReadEnv(c.Layout, i)
		if envErr == nil {
			add(env.Release(), i)
		}
		sp, specErr := c.Store.LoadSpec(i)
		if specErr == nil {
			add(sp.Release, i)
		}
		if envErr == nil || specErr == nil {
			continue
		}
		if _, err := os.Lstat(c.Layout.Instance(i)); !errors.Is(err, fs.ErrNotExist) { // not deleted meanwhile
			errs = append(errs, advice.With(fmt.Errorf("what instance %s is pinned to is not known: %w; %w", i, specErr, envErr),
				fmt.Sprintf("write it again with: l4d2ctl init %s SPEC; or remove it with: l4d2ctl delete %s", i, i)))
		}
	}
	return pins, errors.Join(errs...)
}

// Removable returns the releases that Prune would remove, those that lie over
// others first: the ones that are neither current, pinned nor mounted, nor of the
// keep newest, nor have one that stays lying over them.
func (c *Catalog) Removable(keep int) ([]Use, error) {
	return c.removable(keep, func(instance.Name) bool { return false })
}

// removable is Removable, but for releases that stay for another reason.
func (c *Catalog) removable(keep int, besides func(instance.Name) bool) ([]Use, error) {
	uses, err := c.Uses()
	if err != nil {
		// What one that cannot be read lies over, nobody knows.
		err = fmt.Errorf("nothing can be removed: %w", err)
		if advice.For(err) == "" {
			err = advice.With(err, "mend it, or remove that release by hand")
		}
		return nil, err
	}
	stays := map[instance.Name]bool{}
	for i, u := range uses {
		mounted, err := c.treeMounted(u.Name)
		if err != nil {
			return nil, err
		}
		if i < keep || u.Current || mounted || besides(u.Name) || len(u.Pinned)+len(u.Running)+len(u.Beneath) > 0 {
			for _, n := range u.Chain {
				stays[n] = true
			}
		}
	}
	uses = slices.DeleteFunc(uses, func(u Use) bool { return stays[u.Name] })
	slices.SortStableFunc(uses, func(a, b Use) int { return len(b.Chain) - len(a.Chain) })
	return uses, nil
}

// treeMounted reports whether the tree of n is a mount point: then what is in it
// is on a disk of the operator's.
func (c *Catalog) treeMounted(n instance.Name) (bool, error) {
	dir, err := unix.Open(c.Layout.Release(n), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("%s: %w", c.Layout.Release(n), err)
	}
	defer unix.Close(dir)
	mounted, err := isMount(dir, instance.ReleaseTreeDir)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return mounted, err
}

// Prune removes those of names that are removable with keep, and returns what it
// has removed. No instance can be started meanwhile with what is to go: what is
// removed here has lost its name before the next start looks for it. Until then
// the end of ctx ends it, and nothing is removed.
func (ch *Change) Prune(ctx context.Context, names []instance.Name, keep int) ([]Use, error) {
	gone, err := ch.setAside(ctx, names, keep)
	for _, u := range gone {
		if removal := ch.remove(hidden(u.Name, "deleted")); removal != nil {
			err = errors.Join(err, removal)
		}
	}
	return gone, err
}

// lockOut waits until no start looks for its release, and keeps the next waiting.
func (ch *Change) lockOut(ctx context.Context) (*lockfile.Lock, error) {
	for {
		lock, err := lockfile.TryLock(ch.Layout.ReleasesLock())
		if !errors.Is(err, lockfile.ErrHeld) {
			return lock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for an instance that is being started or made: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// setAside takes their names from the releases that go.
func (ch *Change) setAside(ctx context.Context, names []instance.Name, keep int) (gone []Use, err error) {
	lock, err := ch.lockOut(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	uses, err := ch.removable(keep, func(n instance.Name) bool { return !slices.Contains(names, n) })
	if err != nil {
		return nil, err
	}
	for _, u := range uses {
		deleted := hidden(u.Name, "deleted")
		if err := unix.Renameat2(ch.dir, string(u.Name), ch.dir, deleted, unix.RENAME_NOREPLACE); err != nil {
			return gone, fmt.Errorf("%s: %w", filepath.Join(ch.Layout.Releases(), string(u.Name)), err)
		}
		gone = append(gone, u)
		ch.at("set aside")
	}
	return gone, ch.sync(ch.dir)
}
