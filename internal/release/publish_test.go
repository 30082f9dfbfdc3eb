package release

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

func TestPublish(t *testing.T) {
	h := newHost(t)
	first := h.update(map[string]string{"srcds_linux": "1", "left4dead2/a": "1"})
	h.wantCurrent("2026-11-25")
	second := h.update(map[string]string{"left4dead2/a": "2", "left4dead2/gone": ""})
	h.wantCurrent("2026-11-25.2")
	h.wantReleases("2026-11-25", "2026-11-25.2")
	list, err := h.List()
	must(t, err)
	if len(list) != 2 || list[0].Name != second || list[1].Name != first || list[0].Build != "100" || list[1].Size <= 0 {
		t.Errorf("the list is %+v", list)
	}
	if r, err := h.Current(); err != nil || r.Name != second || len(r.Chain) != 2 || r.Chain[1] != first {
		t.Errorf("current: %+v, %v", r, err)
	}
	for path, want := range map[string]string{
		h.Layout.Releases(): "0:0 755", h.Layout.Release(second): "0:0 755",
		h.Layout.ReleaseFile(second): "0:0 644", h.Layout.ReleaseTree(second): "61234:61235 755",
	} {
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		if got := fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	entries, err := os.ReadDir(h.Layout.Release(second))
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("the release has %v", entries)
	}
	if names, err := chain.Expand(h.Layout, []string{"installation"}); err != nil || len(names) != 2 {
		t.Errorf("%q, %v", names, err)
	}
}

// Whatever is there that is not ours stays.
func TestUseRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare    func(h *host)
		text, hint string
	}{
		"a game": {func(h *host) { h.write(h.Layout.Installation(), map[string]string{"srcds_linux": "x"}) }, "no release", "l4d2ctl adopt"},
		"a link elsewhere": {func(h *host) {
			must(h.t, errors.Join(os.Remove(h.Layout.Installation()), os.Symlink("/srv", h.Layout.Installation())))
		}, "no release", "l4d2ctl adopt"},
		"a file": {func(h *host) {
			must(h.t, errors.Join(os.Remove(h.Layout.Installation()), os.WriteFile(h.Layout.Installation(), nil, 0o644)))
		}, "no release", "l4d2ctl adopt"},
		"a broken chain": {func(h *host) {
			n := h.update(map[string]string{"a": "1"})
			h.update(map[string]string{"a": "2"})
			must(h.t, os.RemoveAll(h.Layout.Release(n)))
		}, "its chain has release 2026-11-25: ", "l4d2ctl releases"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			tt.prepare(h)
			before, err := os.Lstat(h.Layout.Installation())
			must(t, err)
			h.stage(map[string]string{"srcds_linux": "x"})
			ch, err := h.Begin()
			must(t, err)
			defer ch.End()
			_, err = ch.Publish(t.Context(), instance.StagingDir, h.base(), h.info())
			h.wantError(err, tt.text, tt.hint)
			after, err := os.Lstat(h.Layout.Installation())
			must(t, err)
			if !os.SameFile(before, after) {
				t.Error("the installation was replaced")
			}
			if _, err := os.Lstat(filepath.Join(h.Layout.Root(), linkFile)); err == nil {
				t.Error("the link is left")
			}
		})
	}
}

// The process is killed at each step in turn: the next change finishes it, or
// finds the staging directory as it was.
func TestPublishInterrupted(t *testing.T) {
	for step, done := range map[string]bool{"written": false, "named": true, "link": true, "current": true} {
		for _, past := range []bool{false, true} {
			t.Run(step, func(t *testing.T) {
				h := newHost(t)
				want := instance.Name("2026-11-25")
				if past {
					h.update(map[string]string{"srcds_linux": "1"})
					want = "2026-11-25.2"
				}
				before, err := chain.Current(h.Layout)
				must(t, err)
				h.stage(map[string]string{"srcds_linux": "2"})
				base, info := h.base(), h.info()
				publish := func(ch *Change) error {
					_, err := ch.Publish(t.Context(), instance.StagingDir, base, info)
					return err
				}
				h.crash(step, publish)
				if !done {
					h.wantCurrent(before)
					h.change(publish) // the update goes on
				} else {
					h.change(func(*Change) error { return nil })
				}
				h.wantCurrent(want)
				if text, err := os.ReadFile(filepath.Join(h.Layout.Installation(), "srcds_linux")); string(text) != "2" {
					t.Errorf("it holds %q, %v", text, err)
				}
				entries, err := os.ReadDir(h.Layout.Release(want))
				must(t, err)
				if len(entries) != 2 {
					t.Errorf("the release has %v", entries)
				}
				if _, err := os.Lstat(filepath.Join(h.Layout.Root(), linkFile)); err == nil {
					t.Error("the link is left")
				}
			})
		}
	}
}

// What was published long ago, and not switched to since something else was, is
// not switched to behind the operator's back.
func TestHealKeepsTheOperatorsChoice(t *testing.T) {
	h := newHost(t)
	first := h.update(map[string]string{"srcds_linux": "1"})
	h.update(map[string]string{"srcds_linux": "2"})
	h.stage(map[string]string{"srcds_linux": "3"})
	base, info := h.base(), h.info()
	h.crash("named", func(ch *Change) error {
		_, err := ch.Publish(t.Context(), instance.StagingDir, base, info)
		return err
	})
	must(t, os.Remove(h.Layout.Installation()))
	must(t, os.Symlink(chain.Tree(first), h.Layout.Installation()))
	h.change(func(*Change) error { return nil })
	h.wantCurrent(first)
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3")
}

func TestOneChangeAtATime(t *testing.T) {
	h := newHost(t)
	ch, err := h.Begin()
	must(t, err)
	_, err = h.Begin()
	h.wantError(err, "another process holds the lock", "try again")
	ch.End()

	h.stage(map[string]string{"a": "1"})
	merged := filepath.Join(h.Layout.Staging(), "merged")
	must(t, unix.Mount("update", merged, "tmpfs", 0, ""))
	defer unix.Unmount(merged, unix.MNT_DETACH)
	_, err = h.Begin()
	h.wantError(err, "an update of the game is going on", "systemctl stop l4d2-update")
	if ch, err = h.BeginUpdate(); err != nil {
		t.Fatal(err)
	}
	defer ch.End()
	_, err = ch.Publish(t.Context(), instance.StagingDir, nil, h.info())
	h.wantError(err, `something is mounted at "merged"`, "")
	h.wantReleases(".staging")
}

func TestBeginRefusesOthersDirectories(t *testing.T) {
	for _, dir := range []string{".", "releases"} {
		h := newHost(t)
		h.change(func(*Change) error { return nil })
		path := filepath.Join(h.Layout.Root(), dir)
		must(t, os.Chown(path, gameUID, 0))
		_, err := h.Begin()
		h.wantError(err, "others than root can write it", "chown root "+path)
		must(t, os.Chown(path, 0, 0))
	}
	h := newHost(t)
	must(t, os.Symlink(t.TempDir(), h.Layout.Releases()))
	_, err := h.Begin()
	h.wantError(err, "not a directory", "")
}
