package activation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/lockfile"
)

// release makes a release with these files of left4dead2/, over those named after
// it in names; an empty text deletes.
func (h *host) release(files map[string]string, names ...instance.Name) {
	h.t.Helper()
	tree := h.Layout.ReleaseTree(names[0])
	must(h.t, os.MkdirAll(tree+"/left4dead2", 0o755))
	for name, text := range files {
		path := filepath.Join(tree, "left4dead2", name)
		if text == "" {
			must(h.t, unix.Mknod(path, unix.S_IFCHR, 0))
		} else {
			must(h.t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	h.own(tree)
	text, err := chain.Release{Chain: names, Date: time.Unix(0, 0)}.Format()
	must(h.t, err)
	h.write(h.Layout.ReleaseFile(names[0]), string(text))
}

// onReleases is a host whose installation is the third of three releases.
func onReleases(h *host) {
	h.t.Helper()
	h.release(map[string]string{"a": "1", "b": "1", "gone": "1"}, "r1")
	h.game(h.Layout.ReleaseTree("r1"))
	h.release(map[string]string{"b": "2", "gone": ""}, "r2", "r1")
	h.release(map[string]string{"c": "3"}, "r3", "r2", "r1")
	h.point("releases/r3/tree")
}

func (h *host) point(to string) {
	h.t.Helper()
	must(h.t, os.RemoveAll(h.Layout.Installation()))
	must(h.t, os.Symlink(to, h.Layout.Installation()))
}

// sees returns what left4dead2 shows of the releases' files.
func (h *host) sees() string {
	h.t.Helper()
	var parts []string
	for _, name := range []string{"a", "b", "c", "gone"} {
		if text, err := os.ReadFile(h.Layout.Merged("a") + "/left4dead2/" + name); err == nil {
			parts = append(parts, name+string(text))
		}
	}
	return strings.Join(parts, " ")
}

func TestMountRelease(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		onReleases(h)
		before := time.Now()
		h.mustMount()
		if got := h.sees(); got != "a1 b2 c3" {
			t.Errorf("r3 shows %q", got)
		}
		h.wantWrittenDown(before)
		h.point("releases/r1/tree") // while it runs
		if got := h.sees(); got != "a1 b2 c3" {
			t.Errorf("after the switch it shows %q", got)
		}
		h.mustUnmount()
		h.mustMount()
		if got := h.sees(); got != "a1 b1 gone1" {
			t.Errorf("r1 shows %q", got)
		}
		h.mustUnmount()
		h.pin("r2")
		h.mustMount()
		defer h.mustUnmount()
		if got := h.sees(); got != "a1 b2" {
			t.Errorf("pinned to r2 it shows %q", got)
		}
	})
}

func (h *host) pin(n instance.Name) {
	h.t.Helper()
	text, err := instance.Env{Port: 27915, Lowers: []string{"overlays/mod", "releases/" + string(n)}}.Format()
	must(h.t, err)
	h.write(h.Layout.Env("a"), string(text))
}

func TestMountReleaseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(h *host)
		text  string
	}{
		"the current one is gone": {func(h *host) { h.point("releases/r9/tree") }, "leads to release r9, which is not there"},
		"a link in other words":   {func(h *host) { h.point(h.Layout.ReleaseTree("r3")) }, "by a way of its own"},
		"pinned to what is not":   {func(h *host) { h.pin("r9") }, "there is no release r9"},
		"one below is gone":       {func(h *host) { must(h.t, os.RemoveAll(h.Layout.Release("r2"))) }, "no such directory, and the game's present release lies over it"},
		"a tree is gone":          {func(h *host) { must(h.t, os.RemoveAll(h.Layout.ReleaseTree("r2"))) }, "no such directory"},
		"a tree is a file": {func(h *host) {
			must(h.t, os.RemoveAll(h.Layout.ReleaseTree("r2")))
			h.write(h.Layout.ReleaseTree("r2"), "")
		}, "not a directory"},
		"its file says nonsense": {func(h *host) { h.write(h.Layout.ReleaseFile("r3"), "CHAIN=$(id)\n") }, "release.env:1: "},
		"its file names the parent": {func(h *host) {
			h.write(h.Layout.ReleaseFile("r3"), "CHAIN='r3:..'\nDATE='2026-01-01T00:00:00Z'\nSIZE=1\n")
		}, "the first character must be"},
		// Whoever owns these directories could let root mount any other.
		"a release is the game's":   {func(h *host) { must(h.t, os.Chown(h.Layout.Release("r2"), gameUID, gameGID)) }, "not a directory that only root can write"},
		"the releases are":          {func(h *host) { must(h.t, os.Chown(h.Layout.Releases(), gameUID, gameGID)) }, "not a directory that only root can write"},
		"a release is for everyone": {func(h *host) { must(h.t, os.Chmod(h.Layout.Release("r1"), 0o777)) }, "not a directory that only root can write"},
		"a release is a link": {func(h *host) {
			must(h.t, os.Rename(h.Layout.Release("r2"), h.Layout.Root()+"/r2"))
			must(h.t, os.Symlink(h.Layout.Root()+"/r2", h.Layout.Release("r2")))
		}, "not a directory that only root can write"},
		"the game is deleted": {func(h *host) {
			must(h.t, unix.Mknod(h.Layout.ReleaseTree("r3")+"/"+layers.ServerBinary, unix.S_IFCHR, 0))
		}, "there is no game in"},
		"the game is a directory": {func(h *host) {
			must(h.t, os.Mkdir(h.Layout.ReleaseTree("r3")+"/"+layers.ServerBinary, 0o755))
		}, "there is no game in"},
		"no game in it": {func(h *host) { must(h.t, os.Remove(h.Layout.ReleaseTree("r1")+"/"+layers.ServerBinary)) }, "there is no game in"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			onReleases(h)
			tt.spoil(h)
			wantError(t, h.Mount(), tt.text)
			h.wantFree()
			if found := h.Inspect(); len(found) == 0 || !strings.Contains(found[0].Error(), tt.text) {
				t.Errorf("inspected: %v", found)
			}
		})
	}
}

// A tree of a release that is the operator's link to another disk.
func TestMountReleaseElsewhere(t *testing.T) {
	h := newHost(t)
	onReleases(h)
	disk := t.TempDir()
	must(t, unix.Mount("disk", disk, "tmpfs", 0, "mode=755"))
	defer unix.Unmount(disk, unix.MNT_DETACH)
	h.game(disk + "/game")
	binary := disk + "/game/" + layers.ServerBinary
	must(t, os.Rename(binary, binary+".real"))
	must(t, os.Symlink(layers.ServerBinary+".real", binary)) // may be a link as well
	must(t, os.WriteFile(disk+"/game/left4dead2/a", []byte("disk"), 0o644))
	must(t, os.RemoveAll(h.Layout.ReleaseTree("r1")))
	must(t, os.Symlink(disk+"/game", h.Layout.ReleaseTree("r1")))
	h.mustMount()
	defer h.mustUnmount()
	if got := h.sees(); got != "adisk b2 c3" {
		t.Errorf("it shows %q", got)
	}
}

// While somebody has the releases' lock alone, a start waits: nothing that it has
// found is taken away before it is written down.
func TestMountWaitsForPrune(t *testing.T) {
	h := newHost(t)
	onReleases(h)
	lock, err := lockfile.Acquire(h.Layout.ReleasesLock())
	must(t, err)
	done := make(chan error)
	go func() {
		time.Sleep(50 * time.Millisecond)
		err := os.Remove(h.Layout.Installation())
		if err == nil {
			err = os.Symlink("releases/r1/tree", h.Layout.Installation())
		}
		lock.Unlock()
		done <- err
	}()
	h.mustMount()
	defer h.mustUnmount()
	must(t, <-done)
	if got := h.sees(); got != "a1 b1 gone1" {
		t.Errorf("it shows %q: it did not wait", got)
	}
	lock, err = lockfile.TryLock(h.Layout.ReleasesLock())
	must(t, err) // given back
	must(t, lock.Unlock())
}

// The record of an earlier start must not be taken for this one's.
func TestNoRecordIsBetterThanAnothers(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	// Its replacement cannot be written.
	must(t, os.MkdirAll(filepath.Join(h.Layout.Runtime("a"), "."+instance.StartedFile+".l4d2-host/in the way"), 0o755))
	h.mustMount()
	defer h.mustUnmount()
	if _, err := os.Lstat(h.Layout.Started("a")); !os.IsNotExist(err) {
		t.Errorf("the old record is still there: %v", err)
	}
}
