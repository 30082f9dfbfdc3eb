package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/store"
)

// withStore lets the catalog know instances.
func withStore(h *host) *host {
	must(h.t, os.Chmod(h.Layout.Instances(), 0o750))
	h.Store = &store.Store{Layout: h.Layout, GID: gameGID}
	return h
}

// init makes an instance, pinned unless release is "".
func (h *host) init(n, release instance.Name) {
	h.t.Helper()
	text := "port: " + fmt.Sprint(28150+len(n)) + "\n"
	if release != "" {
		text += "release: " + string(release) + "\n"
	}
	_, err := h.Store.Init(n, "spec", []byte(text))
	must(h.t, err)
}

// mount mounts the instance, as a start does.
func (h *host) mount(n instance.Name) {
	h.t.Helper()
	privatens.LockThread()
	a := activation.Activation{Layout: h.Layout, Name: n, Owner: activation.Owner{UID: gameUID, GID: gameGID}, Log: journal.New(os.Stderr, false)}
	must(h.t, a.Mount())
	h.t.Cleanup(func() { unix.Unmount(h.Layout.Merged(n), unix.MNT_DETACH) })
}

func (h *host) unmount(n instance.Name) {
	h.t.Helper()
	a := activation.Activation{Layout: h.Layout, Name: n, Owner: activation.Owner{UID: gameUID, GID: gameGID}, Log: journal.New(os.Stderr, false)}
	must(h.t, a.Unmount())
}

func names(uses []Use) string {
	texts := make([]string, len(uses))
	for i, u := range uses {
		texts[i] = string(u.Name)
	}
	return strings.Join(texts, " ")
}

// five releases, one over the other, the last one current.
func five(t *testing.T) *host {
	t.Helper()
	h := withStore(newHost(t))
	for i := range 5 {
		h.update(map[string]string{"srcds_linux": fmt.Sprint(i), fmt.Sprintf("left4dead2/only%d", i): "x"})
	}
	return h
}

// roll makes n current.
func (h *host) roll(n instance.Name) {
	h.t.Helper()
	h.change(func(ch *Change) error { return ch.Use(n) })
}

func TestPrune(t *testing.T) {
	const d = "2026-11-25"
	for name, tt := range map[string]struct {
		prepare func(h *host)
		keep    int
		want    string // that goes, in the order of its removal
	}{
		"all in one chain":  {func(*host) {}, 0, ""},
		"rolled back":       {func(h *host) { h.roll(d + ".2") }, 0, d + ".5 " + d + ".4 " + d + ".3"},
		"the newest stay":   {func(h *host) { h.roll(d + ".2") }, 1, ""},
		"a newer one stays": {func(h *host) { h.roll(d); h.init("p", d+".3") }, 0, d + ".5 " + d + ".4"},
		"pinned in a spec that is not applied": {func(h *host) {
			h.roll(d)
			h.init("p", "")
			must(h.t, os.WriteFile(h.Layout.Spec("p"), []byte("port: 28150\nrelease: "+d+".4\n"), 0o640))
		}, 0, d + ".5"},
		"pinned in what was generated": {func(h *host) {
			h.roll(d)
			h.init("p", d+".4")
			must(h.t, os.WriteFile(h.Layout.Spec("p"), []byte("port: 28150\n"), 0o640))
		}, 0, d + ".5"},
		"pinned in a spec, and nothing was generated": {func(h *host) {
			h.roll(d)
			h.init("p", d+".4")
			must(h.t, os.Remove(h.Layout.Env("p")))
		}, 0, d + ".5"},
		"pinned in a spec, and another version has generated": {func(h *host) {
			h.roll(d)
			h.init("p", d+".4")
			must(h.t, os.WriteFile(h.Layout.Env("p"), []byte("L4D2_NEW=1\n"), 0o640))
		}, 0, d + ".5"},
		"pinned in what was generated, and the spec is wrong": {func(h *host) {
			h.roll(d)
			h.init("p", d+".4")
			must(h.t, os.WriteFile(h.Layout.Spec("p"), []byte("port: x\n"), 0o640))
		}, 0, d + ".5"},
		"mounted": {func(h *host) {
			h.roll(d + ".3")
			h.init("m", "")
			h.mount("m")
			h.roll(d)
		}, 0, d + ".5 " + d + ".4"},
		"mounted once": {func(h *host) {
			h.roll(d + ".3")
			h.init("m", "")
			h.mount("m")
			h.roll(d)
			h.unmount("m")
		}, 0, d + ".5 " + d + ".4 " + d + ".3 " + d + ".2"},
		"mounted with nobody knows what": {func(h *host) {
			h.init("m", "")
			h.mount("m")
			h.roll(d)
			must(h.t, os.Remove(h.Layout.Started("m")))
		}, 0, ""},
		"a disk of the operator's": {func(h *host) {
			h.roll(d)
			must(h.t, unix.Mount("disk", h.Layout.ReleaseTree(d+".4"), "tmpfs", 0, ""))
			h.t.Cleanup(func() { unix.Unmount(h.Layout.ReleaseTree(d+".4"), unix.MNT_DETACH) })
		}, 0, d + ".5"},
		"folded": {func(h *host) {
			h.change(func(ch *Change) error {
				_, err := ch.Flatten(h.t.Context(), d+".5", h.info().Date, func(int64) {})
				return err
			})
		}, 0, d + ".5 " + d + ".4 " + d + ".3 " + d + ".2 " + d},
	} {
		t.Run(name, func(t *testing.T) {
			h := five(t)
			tt.prepare(h)
			uses, err := h.Removable(tt.keep)
			if got := names(uses); got != tt.want || err != nil {
				t.Fatalf("removable: %q, %v; want %q", got, err, tt.want)
			}
			before, err := Names(h.Layout)
			must(t, err)
			var all []instance.Name
			for _, u := range uses {
				all = append(all, u.Name)
			}
			h.change(func(ch *Change) error {
				gone, err := ch.Prune(h.t.Context(), all, tt.keep)
				if names(gone) != tt.want {
					t.Errorf("gone: %q", names(gone))
				}
				return err
			})
			after, err := Names(h.Layout)
			must(t, err)
			if len(after) != len(before)-len(uses) {
				t.Errorf("left: %q of %q", after, before)
			}
			// What stays is whole.
			for _, n := range after {
				r, err := h.Read(n)
				must(t, err)
				for _, m := range r.Chain {
					if _, err := os.Stat(h.Layout.ReleaseTree(m)); err != nil {
						t.Errorf("%s has lost what it lies over: %v", n, err)
					}
				}
			}
		})
	}
}

// What is not asked for stays, and so does what it lies over.
func TestPruneOnlyWhatIsNamed(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25")
	h.change(func(ch *Change) error {
		gone, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5", "2026-11-25.3", "2026-11-25"}, 0)
		if names(gone) != "2026-11-25.5" {
			t.Errorf("gone: %q", names(gone))
		}
		return err
	})
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
}

// Without knowing what lies over what, nothing goes.
func TestPruneRefusesWhatItCannotRead(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25")
	must(t, os.Remove(h.Layout.ReleaseFile("2026-11-25.2")))
	_, err := h.Removable(0)
	h.wantError(err, "nothing can be removed: release 2026-11-25.2", "by hand")

	h = five(t)
	h.roll("2026-11-25")
	h.init("p", "2026-11-25.4")
	must(t, os.Remove(h.Layout.Env("p")))
	must(t, os.WriteFile(h.Layout.Spec("p"), []byte("port: x\n"), 0o640))
	_, err = h.Removable(0)
	h.wantError(err, "nothing can be removed: what instance p is pinned to is not known: "+h.Layout.Spec("p")+":1", "l4d2ctl delete p")
	if uses, err := h.Uses(); len(uses) != 5 || err == nil {
		t.Errorf("%d releases, %v", len(uses), err)
	}
}

// Which release is in use is not known where the link at the installation leads to
// it in other words.
func TestPruneRefusesLinksInOtherWords(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25.2")
	for _, target := range []string{"releases/2026-11-25.4/tree/", h.Layout.ReleaseTree("2026-11-25.4")} {
		must(t, os.Remove(h.Layout.Installation()))
		must(t, os.Symlink(target, h.Layout.Installation()))
		_, err := h.Removable(0)
		h.wantError(err, "nothing can be removed: "+h.Layout.Installation()+" leads into ", "rm "+h.Layout.Installation())
		ch, err := h.Begin()
		must(t, err)
		if gone, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5", "2026-11-25.4"}, 0); err == nil {
			t.Errorf("gone: %q", names(gone))
		}
		h.wantError(ch.Use("2026-11-25.3"), "by a way of its own", "l4d2ctl rollback RELEASE, after: rm ")
		ch.End()
	}
	must(t, os.Remove(h.Layout.Installation()))
	h.roll("2026-11-25.4")
	if uses, err := h.Removable(0); names(uses) != "2026-11-25.5" || err != nil {
		t.Errorf("%q, %v", names(uses), err)
	}
}

func TestPruneInterrupted(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25.2")
	h.crash("set aside", func(ch *Change) error {
		_, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5", "2026-11-25.4", "2026-11-25.3"}, 0)
		return err
	})
	h.wantReleases(".2026-11-25.5.deleted", "2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
	h.change(func(*Change) error { return nil })
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
}

// A start that looks for its release keeps prune waiting, and the other way
// round.
func TestPruneWaitsForStarts(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25.2")
	start, err := lockfile.Share(h.Layout.ReleasesLock())
	must(t, err)
	another, err := lockfile.Share(h.Layout.ReleasesLock()) // starts do not keep each other waiting
	must(t, err)
	must(t, another.Unlock())
	done := make(chan error)
	go func() {
		ch, err := h.Begin()
		if err == nil {
			_, err = ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5"}, 0)
			ch.End()
		}
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		ch := &Change{Catalog: h.Catalog}
		if gone, err := ch.Prune(ctx, []instance.Name{"2026-11-25.5"}, 0); len(gone) != 0 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gone: %q, %v", names(gone), err)
		}
	})
	h.init("m", "2026-11-25.5") // meanwhile it gets pinned
	must(t, start.Unlock())
	must(t, <-done)
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4", "2026-11-25.5")
}

// The game's user has planted links and more in a tree that goes.
func TestPruneFollowsNothing(t *testing.T) {
	h := five(t)
	outside := t.TempDir()
	h.write(outside, map[string]string{"precious": "x", "dir/precious": "x"})
	tree := h.Layout.ReleaseTree("2026-11-25.5")
	must(t, os.Symlink(outside, filepath.Join(tree, "out")))
	must(t, os.Symlink(outside+"/precious", filepath.Join(tree, "file")))
	must(t, os.Link(outside+"/precious", filepath.Join(tree, "hard")))
	must(t, unix.Mkfifo(filepath.Join(tree, "fifo"), 0o666))
	h.roll("2026-11-25.4")
	h.change(func(ch *Change) error {
		_, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5"}, 0)
		return err
	})
	for _, name := range []string{"precious", "dir/precious"} {
		if text, err := os.ReadFile(filepath.Join(outside, name)); string(text) != "x" || err != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	// An adopted link goes, and not what it leads to.
	h = withStore(newHost(t))
	dir := elsewhere(h, "")
	h.change(adopt(t, h))
	must(t, os.Remove(h.Layout.Installation()))
	h.change(func(ch *Change) error {
		_, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25"}, 0)
		return err
	})
	h.wantReleases()
	if text, err := os.ReadFile(filepath.Join(dir, "srcds_linux")); string(text) != "binary" || err != nil {
		t.Errorf("the operator's game: %q, %v", text, err)
	}
}

// A mount deep in a tree stops the removal there; what is mounted stays, and
// nothing else is kept from going on.
func TestPruneCrossesNoMount(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25.4")
	point := filepath.Join(h.Layout.ReleaseTree("2026-11-25.5"), "left4dead2/disk")
	must(t, os.Mkdir(point, 0o755))
	must(t, unix.Mount("disk", point, "tmpfs", 0, ""))
	moved := filepath.Join(h.Layout.Releases(), ".2026-11-25.5.deleted/tree/left4dead2/disk")
	defer unix.Unmount(moved, unix.MNT_DETACH)
	must(t, os.WriteFile(filepath.Join(point, "precious"), []byte("x"), 0o644))
	ch, err := h.Begin()
	must(t, err)
	_, err = ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5"}, 0)
	h.wantError(err, "something is mounted there", "")
	ch.End()
	if text, err := os.ReadFile(filepath.Join(moved, "precious")); string(text) != "x" || err != nil {
		t.Errorf("what is mounted: %q, %v", text, err)
	}
	h.said.Reset()
	h.roll("2026-11-25.3") // it is in nobody's way
	if !strings.Contains(h.said.String(), "warning") {
		t.Errorf("said: %s", h.said.String())
	}
	must(t, unix.Unmount(moved, 0))
	h.change(func(*Change) error { return nil })
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
}

func TestUses(t *testing.T) {
	h := five(t)
	h.init("pin", "2026-11-25.2")
	h.init("current", "")
	h.mount("pin")
	h.mount("current")
	h.roll("2026-11-25")
	uses, err := h.Uses()
	must(t, err)
	var got []string
	for _, u := range uses {
		got = append(got, fmt.Sprintln(u.Name, u.Current, u.Pinned, u.Running, u.Beneath, len(u.Over)))
	}
	want := []string{
		"2026-11-25.5 false [] [current] [] 0\n",
		"2026-11-25.4 false [] [] [current] 1\n",
		"2026-11-25.3 false [] [] [current] 2\n",
		"2026-11-25.2 false [pin] [pin] [current] 3\n",
		"2026-11-25 true [] [] [current pin] 4\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := h.Read("nothing"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}
