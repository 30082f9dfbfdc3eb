package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/release"
	"l4d2-host/internal/staging"
)

func (w *worker) catalog() *release.Catalog {
	return &release.Catalog{
		Layout: w.layout, Store: w.store,
		Say: journal.New(os.Stdout, false).Info,
	}
}

// firstGame makes the plain installation a release of build 1.
func (w *worker) firstGame() error {
	dir := w.layout.Installation()
	if err := w.fetch(dir, 1, true, true); err != nil {
		return err
	}
	return w.changing(func(ch *release.Change) error {
		_, err := ch.Adopt(context.Background(), release.Info{Date: time.Now()})
		return err
	})
}

// changing does f within a change of the releases.
func (w *worker) changing(f func(*release.Change) error) error {
	ch, err := w.catalog().Begin()
	if err != nil {
		return err
	}
	defer ch.End()
	return f(ch)
}

// checkReleases makes sure that each release is whole.
func (w *worker) checkReleases() error {
	list, err := w.catalog().List()
	if err != nil {
		return err
	}
	for _, r := range list {
		var trees []string
		for _, n := range r.Chain {
			trees = append(trees, chain.Tree(n))
		}
		view, err := layers.Open(w.layout, trees)
		if err != nil {
			return fmt.Errorf("release %s: %w", r.Name, err)
		}
		build, err := wholeBuild(view)
		view.Close()
		if err == nil && strconv.Itoa(build) != r.Build {
			err = fmt.Errorf("it is of build %d, and says %q", build, r.Build)
		}
		if err != nil {
			return fmt.Errorf("release %s: %w", r.Name, err)
		}
	}
	return nil
}

// builds counts the releases of each build.
func (w *worker) builds() (map[int]int, error) {
	list, err := w.catalog().List()
	count := map[int]int{}
	for _, r := range list {
		build, bad := strconv.Atoi(r.Build)
		err = errors.Join(err, bad)
		count[build]++
	}
	return count, err
}

// current returns the build of the current release.
func (w *worker) current() (int, error) {
	now, err := w.catalog().Current()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(now.Build)
}

const currentRelease = "release/current"

func buildName(build int) string { return "build/" + strconv.Itoa(build) }

// checkGame reports the releases: all that have a name are whole, and the next
// command leaves nothing behind of one that was interrupted.
func (w *worker) checkGame() error {
	if err := w.checkReleases(); err != nil {
		return err
	}
	count, err := w.builds()
	if err != nil {
		return err
	}
	for build, n := range count {
		w.say("found", buildName(build), n)
		w.used(build)
	}
	if err := w.sayCurrent(); err != nil {
		return err
	}
	if err := w.changing(func(*release.Change) error { return nil }); err != nil {
		return err
	}
	left, err := w.catalog().LeftOvers()
	if err := errors.Join(append(left, err)...); err != nil {
		return err
	}
	return w.sayCurrent()
}

func (w *worker) sayCurrent() error {
	build, err := w.current()
	if err == nil {
		w.say("found", currentRelease, build)
	}
	return err
}

// game is one thing that happens to the game.
func (w *worker) game() error {
	switch w.random.IntN(6) {
	case 0:
		return w.rollback()
	case 1:
		return w.flatten()
	case 2:
		return w.prune()
	}
	return w.update()
}

// update is a run of l4d2-update.service: one in five finds nothing new, and one
// in five is stopped in the middle.
func (w *worker) update() error {
	before, err := w.current()
	if err != nil {
		return err
	}
	build := w.next
	w.next++
	if w.random.IntN(5) == 0 {
		build = before
	}
	count, err := w.builds()
	if err != nil {
		return err
	}
	s := &staging.Staging{Layout: w.layout, Owner: activation.Owner{UID: uid, GID: gid}, Log: journal.New(os.Stdout, false)}
	w.at("stage")
	staged, err := s.Stage()
	if err != nil {
		return err
	}
	w.at("fetch")
	whole := w.random.IntN(5) > 0
	if err := w.fetch(staging.Merged(w.layout), build, whole, staged.Unclean); err != nil {
		return err
	}
	if !whole {
		w.at("unstage")
		return s.Unstage()
	}
	if build != before {
		w.say("begin", currentRelease, build)
		w.say("begin", buildName(build), count[build]+1)
	}
	w.at("commit")
	n, err := s.Commit(context.Background())
	if err == nil && (n == "") != (build == before) {
		err = fmt.Errorf("build %d over %d became release %q", build, before, n)
	}
	if err != nil || n == "" {
		return err
	}
	w.say("synced", buildName(build), count[build]+1)
	w.say("synced", currentRelease, build)
	return nil
}

// rollback makes the release below the current one current, if there is one.
func (w *worker) rollback() error {
	w.at("rollback")
	return w.changing(func(ch *release.Change) error {
		now, err := ch.Current()
		if err != nil || len(now.Chain) < 2 {
			return err
		}
		to, err := ch.Read(now.Chain[1])
		if err != nil {
			return err
		}
		build, err := strconv.Atoi(to.Build)
		if err != nil {
			return err
		}
		w.say("begin", currentRelease, build)
		if _, err = ch.Rollback(""); err == nil {
			w.say("synced", currentRelease, build)
		}
		return err
	})
}

// flatten folds the current release into one, if it lies over others.
func (w *worker) flatten() error {
	count, err := w.builds()
	if err != nil {
		return err
	}
	w.at("flatten")
	return w.changing(func(ch *release.Change) error {
		now, err := ch.Current()
		if err != nil || len(now.Chain) < 2 {
			return err
		}
		build, err := strconv.Atoi(now.Build)
		if err != nil {
			return err
		}
		w.say("begin", buildName(build), count[build]+1)
		if _, err = ch.Flatten(context.Background(), now.Name, time.Now(), func(int64) {}); err == nil {
			w.say("synced", buildName(build), count[build]+1)
		}
		return err
	})
}

// prune removes all releases that can be removed.
func (w *worker) prune() error {
	count, err := w.builds()
	if err != nil {
		return err
	}
	w.at("prune")
	return w.changing(func(ch *release.Change) error {
		uses, err := ch.Removable(0)
		if err != nil {
			return err
		}
		var names []instance.Name
		var builds []int
		for _, u := range uses {
			build, err := strconv.Atoi(u.Build)
			if err != nil {
				return err
			}
			count[build]--
			w.say("begin", buildName(build), count[build])
			names, builds = append(names, u.Name), append(builds, build)
		}
		gone, err := ch.Prune(context.Background(), names, 0)
		if err == nil && len(gone) != len(names) {
			err = fmt.Errorf("%d of %d releases were removed", len(gone), len(names))
		}
		if err != nil {
			return err
		}
		for _, build := range builds {
			w.say("synced", buildName(build), count[build])
		}
		return nil
	})
}
