package staging

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/release"
)

// From nothing to a game, to another build, to nothing new.
func TestUpdates(t *testing.T) {
	for _, method := range []overlay.Method{overlay.Auto, overlay.Classic} {
		t.Run(method.String(), func(t *testing.T) {
			h := newHost(t)
			h.Method = method
			if h.stage().Resumed {
				t.Error("resumed from nothing")
			}
			var st unix.Stat_t
			must(t, unix.Stat(Merged(h.Layout), &st))
			if st.Uid != gameUID || st.Mode&0o777 != 0o755 {
				t.Errorf("the tree's root is of %d, mode %#o", st.Uid, st.Mode)
			}
			h.write(game("7"))
			first := h.commit()
			h.wantCurrent(first, 1)
			if r, err := chain.Read(h.Layout, first); err != nil || r.Build != "7" || time.Since(r.Date) > time.Hour || r.Size == 0 {
				t.Errorf("%+v, %v", r, err)
			}
			if h.staged() {
				t.Error("the staging directory outlives the update")
			}
			second := h.update(map[string]string{"left4dead2/a.txt": "A", "left4dead2/b.txt": "", release.Manifest: acf("8")})
			h.wantCurrent(second, 2)
			if _, err := os.Stat(filepath.Join(h.Layout.ReleaseTree(second), "srcds_linux")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("what has not changed was copied: %v", err)
			}
			if data, _ := os.ReadFile(filepath.Join(h.Layout.ReleaseTree(first), "left4dead2/a.txt")); string(data) != "a" {
				t.Errorf("the first release was changed: %q", data)
			}
			h.stage()
			for name, want := range map[string]string{"srcds_linux": "ELF 7", "left4dead2/a.txt": "A", "left4dead2/b.txt": ""} {
				if data, _ := os.ReadFile(filepath.Join(Merged(h.Layout), name)); string(data) != want {
					t.Errorf("%s reads %q, want %q", name, data, want)
				}
			}
			if n := h.commit(); n != "" || h.staged() {
				t.Errorf("nothing was changed, and there is release %s", n)
			}
			h.wantSaid("up to date")
			h.wantCurrent(second, 2)
		})
	}
}

// What counts as a change, over a game of build 7.
func TestNothingNew(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(h *host)
		want   bool
	}{
		"steamcmd's books": {func(h *host) {
			h.write(map[string]string{release.Manifest: acf("7") + "//later\n", "steamapps/downloading/x": "y"})
		}, false},
		"the same again":     {func(h *host) { h.write(map[string]string{"srcds_linux": "ELF 7", "left4dead2/a.txt": "a"}) }, false},
		"an empty directory": {func(h *host) { must(h.t, os.Mkdir(filepath.Join(Merged(h.Layout), "new"), 0o755)) }, false},
		"a directory made anew": {func(h *host) {
			h.write(map[string]string{"left4dead2": ""})
			h.write(map[string]string{"left4dead2/a.txt": "a", "left4dead2/b.txt": "b"})
		}, false},
		"a directory made anew, with less": {func(h *host) {
			h.write(map[string]string{"left4dead2": ""})
			h.write(map[string]string{"left4dead2/a.txt": "a"})
		}, true},
		"a file":    {func(h *host) { h.write(map[string]string{"left4dead2/a.txt": "b"}) }, true},
		"a new one": {func(h *host) { h.write(map[string]string{"new/file": "x"}) }, true},
		"a deleted": {func(h *host) { h.write(map[string]string{"left4dead2/a.txt": ""}) }, true},
		"a mode":    {func(h *host) { must(h.t, os.Chmod(filepath.Join(Merged(h.Layout), "srcds_linux"), 0o755)) }, true},
		"a build":   {func(h *host) { h.write(map[string]string{release.Manifest: acf("8")}) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.update(game("7"))
			h.stage()
			tt.change(h)
			if n := h.commit(); (n != "") != tt.want {
				t.Errorf("release %q; want one: %t\n%s", n, tt.want, h.said)
			}
		})
	}
}

func TestPlainInstallation(t *testing.T) {
	h := newHost(t)
	must(t, os.WriteFile(filepath.Join(h.Layout.Installation(), "srcds_linux"), nil, 0o755))
	_, err := h.Stage()
	h.wantError(err, release.ErrPlain.Error(), "l4d2ctl adopt")
	must(t, os.RemoveAll(h.Layout.Installation()))
	must(t, os.Symlink("/srv/game", h.Layout.Installation()))
	_, err = h.Stage()
	h.wantError(err, release.ErrPlain.Error(), "l4d2ctl adopt")
	must(t, os.Remove(h.Layout.Installation()))
	h.stage()
	if h.staged() {
		must(t, h.Unstage())
	}
}

// What an update leaves that was cut short is gone on with, but only over the
// release that it was begun over.
func TestResume(t *testing.T) {
	h := newHost(t)
	h.stage()
	h.write(map[string]string{"steamapps/downloading/part": "half"})
	must(t, h.Unstage())
	h.wantMounted(0)
	must(t, h.Unstage()) // again
	if done := h.stage(); !done.Resumed || done.Unclean {
		t.Errorf("%+v", done)
	}
	if data, _ := os.ReadFile(filepath.Join(Merged(h.Layout), "steamapps/downloading/part")); string(data) != "half" {
		t.Errorf("the download is lost: %q", data)
	}
	h.write(map[string]string{"steamapps/downloading/part": ""})
	h.write(game("7"))
	first := h.commit()

	// Mounted still, as after a crash of what called the steps.
	h.stage()
	if done := h.stage(); !done.Resumed || done.Unclean {
		t.Errorf("%+v", done)
	}
	h.write(map[string]string{"left4dead2/a.txt": "8", release.Manifest: acf("8")})
	second := h.commit()

	h.stage()
	h.write(map[string]string{"left4dead2/a.txt": "9", release.Manifest: acf("9")})
	must(t, h.Unstage())
	ch, err := h.catalog().Begin()
	must(t, err)
	must(t, ch.Use(first))
	ch.End()
	if done := h.stage(); done.Resumed {
		t.Error("resumed over another release")
	}
	h.wantSaid("removing what an interrupted update has left: it lies over release " + string(second) + ", and release " + string(first) + " is current now")
	if data, _ := os.ReadFile(filepath.Join(Merged(h.Layout), "left4dead2/a.txt")); string(data) != "a" {
		t.Errorf("a.txt reads %q", data)
	}
	h.write(map[string]string{"left4dead2/a.txt": "9", release.Manifest: acf("9")})
	h.wantCurrent(h.commit(), 2)
}

// A machine that goes down leaves no mount, but all else.
func TestMachineDown(t *testing.T) {
	h := newHost(t)
	h.update(game("7"))
	h.stage()
	h.write(map[string]string{"left4dead2/a.txt": "8"})
	must(t, unix.Unmount(Merged(h.Layout), 0))
	if done := h.stage(); !done.Resumed || !done.Unclean {
		t.Errorf("%+v", done)
	}
	// A run that fails and ends cleanly does not make it good.
	must(t, h.Unstage())
	if done := h.stage(); !done.Resumed || !done.Unclean {
		t.Errorf("after a failure: %+v", done)
	}
	h.write(map[string]string{release.Manifest: acf("8")})
	h.wantCurrent(h.commit(), 2)

	h.stage()
	must(t, h.Distrust())
	must(t, h.Unstage())
	if done := h.stage(); !done.Unclean {
		t.Errorf("distrusted: %+v", done)
	}
	h.write(map[string]string{"left4dead2/a.txt": "9", release.Manifest: acf("9")})
	h.wantCurrent(h.commit(), 3)
	must(t, h.Distrust()) // of nothing
	if h.stage().Unclean {
		t.Error("one update is distrusted for another")
	}
	must(t, h.Unstage())

	// At each step of making the directory: what is not whole is not resumed.
	for _, missing := range []string{baseFile, upperDir, workDir, mergedDir, emptyDir} {
		h.stage()
		must(t, h.Unstage())
		must(t, os.RemoveAll(filepath.Join(h.Layout.Staging(), missing)))
		if done := h.stage(); done.Resumed {
			t.Errorf("without %s it was resumed", missing)
		}
		must(t, h.Unstage())
	}
}

// What is half removed is not resumed: files would be missing.
func TestHalfRemoved(t *testing.T) {
	h := newHost(t)
	h.update(game("7"))
	h.stage()
	h.write(map[string]string{"left4dead2/a.txt": "8"})
	must(t, h.Unstage())
	inTheWay := filepath.Join(h.Layout.Staging(), upperDir, "left4dead2")
	must(t, unix.Mount("none", inTheWay, "tmpfs", 0, ""))
	err := h.remove()
	must(t, unix.Unmount(inTheWay, 0))
	if err == nil {
		t.Fatal("removed what is mounted: this tests nothing")
	}
	if done := h.stage(); done.Resumed {
		t.Error("resumed")
	}
	must(t, h.Unstage())
}

// Killed on the way to being a release, it is open to all: not so when resumed.
func TestResumedIsClosed(t *testing.T) {
	h := newHost(t)
	h.stage()
	must(t, h.Unstage())
	must(t, os.Chmod(h.Layout.Staging(), 0o755))
	h.stage()
	info, err := os.Stat(h.Layout.Staging())
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Error(info.Mode())
	}
	must(t, h.Unstage())
}

// A download does not fail because someone looks at the releases.
func TestCommitWaits(t *testing.T) {
	h := newHost(t)
	h.stage()
	h.write(game("7"))
	lock, err := lockfile.TryLock(h.Layout.ReleasesChange())
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := h.Commit(ctx); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("%v", err)
	}
	time.AfterFunc(300*time.Millisecond, func() { must(t, lock.Unlock()) })
	h.wantCurrent(h.commit(), 1)
}

// No change of the releases while an update is mounted, and no two updates.
func TestExclusion(t *testing.T) {
	h := newHost(t)
	first := h.update(game("7"))
	h.stage()
	_, err := h.catalog().Begin()
	h.wantError(err, "an update of the game is going on", "")
	h.write(map[string]string{"left4dead2/a.txt": "8"})
	// By hand, behind its back.
	must(t, os.Remove(h.Layout.Installation()))
	_, err = h.Commit(context.Background())
	h.wantError(err, "meanwhile no release was made current", "")
	must(t, os.Symlink(chain.Tree(first), h.Layout.Installation()))
	h.wantCurrent(h.commit(), 2)
	_, err = h.Commit(context.Background())
	h.wantError(err, "no such file", "")

	ch, err := h.catalog().Begin()
	must(t, err)
	_, err = h.Stage()
	h.wantError(err, "another process holds the lock", "")
	ch.End()
}

// Something else at the mount point, and something in the mount.
func TestForeign(t *testing.T) {
	h := newHost(t)
	h.update(game("7"))
	h.stage()
	f, err := os.Open(filepath.Join(Merged(h.Layout), "srcds_linux"))
	must(t, err)
	_, err = h.Commit(context.Background())
	if !errors.Is(err, overlay.ErrBusy) {
		t.Errorf("busy: %v", err)
	}
	h.wantError(h.Unstage(), "busy", "")
	f.Close()
	must(t, h.Unstage())
	must(t, unix.Mount("other", Merged(h.Layout), "tmpfs", 0, ""))
	_, err = h.Stage()
	h.wantError(err, `"other" (tmpfs)`, "umount")
	h.wantError(h.Unstage(), `"other" (tmpfs)`, "umount")
	must(t, unix.Unmount(Merged(h.Layout), 0))

	// Gone from the tree of mounts, yet alive: the tree may still be written to.
	h.stage()
	if f, err = os.OpenFile(filepath.Join(Merged(h.Layout), "left4dead2/a.txt"), os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	must(t, unix.Unmount(Merged(h.Layout), unix.MNT_DETACH))
	_, err = h.Commit(context.Background())
	h.wantError(err, "a process that steamcmd has left", "run the update again")
	_, err = h.Stage()
	h.wantError(err, "in use by an overlay of an earlier update", "reboot")
	f.Close()
	if done := h.stage(); !done.Resumed {
		t.Errorf("%+v", done)
	}
	must(t, h.Unstage())
}

func TestLongestChain(t *testing.T) {
	h := newHost(t)
	first := h.update(game("7"))
	r, err := chain.Read(h.Layout, first)
	must(t, err)
	for len(r.Chain) < 500 {
		r.Chain = append(r.Chain, instance.Name("x"+strconv.Itoa(len(r.Chain))))
	}
	text, err := r.Format()
	must(t, err)
	must(t, os.WriteFile(h.Layout.ReleaseFile(first), text, 0o640))
	_, err = h.Stage()
	h.wantError(err, "lies over 499 others", "l4d2ctl flatten")
	if h.staged() {
		t.Error("something is staged")
	}
}
