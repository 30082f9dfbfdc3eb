package release

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// game is a plain installation, as steamcmd leaves it.
var game = map[string]string{
	"srcds_linux": "binary", "left4dead2/a": "1",
	Manifest: "\"AppState\"\n{\n\t\"appid\"\t\t\"222860\"\n\t\"buildid\"\t\t\"18452\"\n\t\"TargetBuildID\"\t\t\"9\"\n}\n",
}

// elsewhere makes the installation a link to a game in another place.
func elsewhere(h *host, to string) string {
	dir := h.t.TempDir()
	h.write(dir, game)
	must(h.t, os.Remove(h.Layout.Installation()))
	if to == "" {
		to = dir
	}
	must(h.t, os.Symlink(to, h.Layout.Installation()))
	return dir
}

func identify(t *testing.T, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return unix.Stat_t{Dev: st.Dev, Ino: st.Ino, Uid: st.Uid, Gid: st.Gid, Mode: st.Mode, Nlink: st.Nlink}
}

func adopt(t *testing.T, h *host) func(*Change) error {
	info := Info{Date: day}
	return func(ch *Change) error {
		_, err := ch.Adopt(t.Context(), info)
		return err
	}
}

func TestAdopt(t *testing.T) {
	for name, prepare := range map[string]func(h *host){
		"a directory": func(h *host) { h.write(h.Layout.Installation(), game) },
		"a link":      func(h *host) { elsewhere(h, "") },
		"a link beside": func(h *host) {
			h.write(filepath.Join(h.Layout.Root(), "game"), game)
			must(h.t, os.Remove(h.Layout.Installation()))
			must(h.t, os.Symlink("game", h.Layout.Installation()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			prepare(h)
			before := identify(t, h.Layout.Installation())
			h.change(adopt(t, h))
			h.wantCurrent("2026-11-25")
			h.wantReleases("2026-11-25")
			for _, path := range []string{h.Layout.Installation(), h.Layout.ReleaseTree("2026-11-25")} {
				if after := identify(t, path); after != before {
					t.Errorf("%s: %+v, before %+v", path, after, before)
				}
			}
			r, err := h.Current()
			if err != nil || len(r.Chain) != 1 || r.Build != "18452" || r.Size <= 0 {
				t.Errorf("%+v, %v", r, err)
			}
			ch, err := h.Begin()
			must(t, err)
			defer ch.End()
			h.wantError(adopt(t, h)(ch), "a release already", "")
			// And an update goes on top of it.
			ch.End()
			n := h.update(map[string]string{"left4dead2/a": "2"})
			if r, err := h.Read(n); err != nil || len(r.Chain) != 2 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestAdoptRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare    func(h *host)
		text, hint string
	}{
		"nothing in it": {func(*host) {}, "is empty", "l4d2ctl update"},
		"a directory too deep": {func(h *host) {
			h.write(h.Layout.Installation(), map[string]string{"l4d2/srcds_linux": "x", "l4d2/left4dead2/a": "1"})
		}, "has no directory left4dead2", "has to be /"},
		"nothing":     {func(h *host) { must(h.t, os.Remove(h.Layout.Installation())) }, "no such file", ""},
		"a dead link": {func(h *host) { must(h.t, os.RemoveAll(elsewhere(h, ""))) }, "no such file", ""},
		"a mount point": {func(h *host) {
			must(h.t, unix.Mount("game", h.Layout.Installation(), "tmpfs", 0, ""))
			h.t.Cleanup(func() { unix.Unmount(h.Layout.Installation(), unix.MNT_DETACH) })
			h.write(h.Layout.Installation(), game)
		}, "something is mounted", "make " + "/"},
		"releases on another disk": {func(h *host) {
			h.write(h.Layout.Installation(), game)
			must(h.t, os.MkdirAll(h.Layout.Releases(), 0o755))
			must(h.t, unix.Mount("releases", h.Layout.Releases(), "tmpfs", 0, "mode=755"))
			h.t.Cleanup(func() { unix.Unmount(h.Layout.Releases(), unix.MNT_DETACH) })
		}, "different file systems", "a symbolic link"},
		"a link into a release": {func(h *host) {
			h.write(h.Layout.Installation(), game)
			h.change(adopt(h.t, h))
			must(h.t, os.Remove(h.Layout.Installation()))
			must(h.t, os.Symlink(h.Layout.ReleaseTree("2026-11-25"), h.Layout.Installation()))
		}, "by a way of its own", "l4d2ctl rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			tt.prepare(h)
			before, _ := os.Lstat(h.Layout.Installation())
			ch, err := h.Begin()
			must(t, err)
			defer ch.End()
			releases, err := list(ch.dir)
			must(t, err)
			h.wantError(adopt(t, h)(ch), tt.text, tt.hint)
			after, _ := os.Lstat(h.Layout.Installation())
			if before != nil && !os.SameFile(before, after) {
				t.Error("the installation is another")
			}
			if now, err := list(ch.dir); err != nil || len(now) != len(releases) {
				t.Errorf("left in releases/: %q", now)
			}
		})
	}
}

// Killed at each step, nothing has changed or all has; no byte is lost.
func TestAdoptInterrupted(t *testing.T) {
	for _, link := range []bool{false, true} {
		for step, done := range map[string]bool{"written": false, "named": false, "current": true} {
			t.Run(step, func(t *testing.T) {
				h := newHost(t)
				if link {
					elsewhere(h, "")
				} else {
					h.write(h.Layout.Installation(), game)
				}
				before := identify(t, h.Layout.Installation())
				h.crash(step, adopt(t, h))
				if after := identify(t, h.Layout.Installation()); after != before {
					t.Errorf("%+v, before %+v", after, before)
				}
				h.change(func(*Change) error { return nil })
				if done {
					h.wantCurrent("2026-11-25")
					h.wantReleases("2026-11-25")
				} else {
					h.wantCurrent("")
					h.wantReleases()
					h.change(adopt(t, h))
				}
				if after := identify(t, h.Layout.Installation()); after != before {
					t.Errorf("%+v, before %+v", after, before)
				}
				entries, err := os.ReadDir(h.Layout.Release("2026-11-25"))
				must(t, err)
				if len(entries) != 2 {
					t.Errorf("the release has %v", entries)
				}
			})
		}
	}
}

func TestRollback(t *testing.T) {
	h := newHost(t)
	h.write(h.Layout.Installation(), game)
	ch, err := h.Begin()
	must(t, err)
	_, err = ch.Rollback("")
	h.wantError(err, "no release", "l4d2ctl adopt")
	ch.End()
	h.change(adopt(t, h))
	h.update(map[string]string{"left4dead2/a": "2"})
	h.update(map[string]string{"left4dead2/a": "3"})
	back := func(n, want instance.Name) {
		t.Helper()
		h.change(func(ch *Change) error {
			got, err := ch.Rollback(n)
			if got != want {
				t.Errorf("rolled back to %q, want %q", got, want)
			}
			return err
		})
		h.wantCurrent(want)
	}
	back("", "2026-11-25.2")
	back("", "2026-11-25")
	back("2026-11-25.3", "2026-11-25.3") // newer
	back("2026-11-25.3", "2026-11-25.3")
	back("2026-11-25", "2026-11-25")
	ch, err = h.Begin()
	must(t, err)
	defer ch.End()
	_, err = ch.Rollback("")
	h.wantError(err, "lies over no other", "l4d2ctl releases")
	if _, err = ch.Rollback("2026-12-01"); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown one: %v", err)
	}
	must(t, os.RemoveAll(h.Layout.Release("2026-11-25.2")))
	_, err = ch.Rollback("2026-11-25.3")
	h.wantError(err, "its chain has release 2026-11-25.2", "l4d2ctl releases")
	h.wantCurrent("2026-11-25")
	if _, err := chain.Expand(h.Layout, []string{instance.InstallationLayer}); err != nil {
		t.Error(err)
	}
}

// The game's user writes the manifest.
func TestBuild(t *testing.T) {
	for name, tt := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"none":         {func(string) error { return nil }, ""},
		"as it is":     {func(p string) error { return os.WriteFile(p, []byte(game[Manifest]), 0o644) }, "18452"},
		"long":         {func(p string) error { return os.Truncate(p, 1<<40) }, ""},
		"not a number": {func(p string) error { return os.WriteFile(p, []byte("\"buildid\" \"1;rm\"\n"), 0o644) }, ""},
		"too many":     {func(p string) error { return os.WriteFile(p, []byte("\"buildid\" \"111111111111111111111\"\n"), 0o644) }, ""},
		"a FIFO":       {func(p string) error { return unix.Mkfifo(p, 0o644) }, ""},
		"a link":       {func(p string) error { return os.Symlink("/etc/passwd", p) }, ""},
		"a directory":  {func(p string) error { return os.Mkdir(p, 0o755) }, ""},
	} {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "steamapps"), 0o755))
		path := filepath.Join(dir, Manifest)
		if name == "long" {
			must(t, os.WriteFile(path, nil, 0o644))
		}
		must(t, tt.put(path))
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		if got := Build(fd); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
		unix.Close(fd)
	}
}
