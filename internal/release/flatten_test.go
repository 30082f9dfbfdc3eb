package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

// listing says all that matters of what is in dir, but for the number of links.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var lines []string
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		line := fmt.Sprintf("%q %o %d:%d %d %v", strings.TrimPrefix(path, dir), st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			text, err := os.ReadFile(path)
			must(t, err)
			line += " " + string(text)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			must(t, err)
			line += " -> " + target
		}
		var value [64]byte
		for _, name := range []string{"user.note", "trusted.note"} {
			if n, err := unix.Lgetxattr(path, name, value[:]); err == nil {
				line += " " + name + "=" + string(value[:n])
			}
		}
		lines = append(lines, line)
		return nil
	}))
	slices.Sort(lines)
	return lines
}

// layered is three releases, one over the other, with all that an overlay keeps
// in an upper directory.
func layered(t *testing.T) *host {
	t.Helper()
	h := withStore(newHost(t))
	h.update(map[string]string{"srcds_linux": "1", "left4dead2/changed": "1", "left4dead2/gone": "1", "left4dead2/dir/a": "1",
		"left4dead2/dir/b": "1", "left4dead2/turned/into/a/file": "1", "left4dead2/turned2": "1", "left4dead2/old/dir/a": "1", "deep/" + strings.Repeat("d/", 30) + "f": "1"})
	tree := h.Layout.ReleaseTree("2026-11-25")
	must(t, unix.Mkfifo(filepath.Join(tree, "left4dead2/fifo"), 0o640))
	must(t, os.Symlink("changed", filepath.Join(tree, "left4dead2/link")))
	must(t, os.Symlink("/etc/passwd", filepath.Join(tree, "left4dead2/out")))
	must(t, os.WriteFile(filepath.Join(tree, "left4dead2/\x1b[31m\n"), []byte("odd"), 0o600))
	must(t, os.Chmod(filepath.Join(tree, "left4dead2"), 0o2750))
	must(t, unix.Lsetxattr(filepath.Join(tree, "left4dead2/dir/a"), "trusted.note", []byte("x"), 0))
	must(t, unix.Lsetxattr(filepath.Join(tree, "left4dead2/dir"), "trusted.note", []byte("y"), 0))
	must(t, unix.Setxattr(filepath.Join(tree, "left4dead2"), "trusted.overlay.origin", []byte("z"), 0))

	h.update(map[string]string{"left4dead2/changed": "2", "left4dead2/gone": "", "left4dead2/turned": "2", "left4dead2/turned2/into": "2",
		"left4dead2/dir/new": "2", "left4dead2/old": ""})
	must(t, unix.Setxattr(filepath.Join(h.Layout.ReleaseTree("2026-11-25.2"), "left4dead2/dir"), layers.OpaqueAttribute, []byte("y"), 0))

	h.update(map[string]string{"left4dead2/dir/b": "3", "left4dead2/old/fresh": "3"})
	must(t, unix.Setxattr(filepath.Join(h.Layout.ReleaseTree("2026-11-25.3"), "left4dead2/old"), layers.OpaqueAttribute, []byte("y"), 0))
	must(t, os.Chmod(filepath.Join(h.Layout.ReleaseTree("2026-11-25.3"), "left4dead2"), 0o710))
	return h
}

// mounted is the listing of an instance that is mounted with what is current, as
// the kernel shows it; without what the start writes there itself.
func (h *host) mounted(n instance.Name) []string {
	h.t.Helper()
	h.mount(n)
	lines := listing(h.t, h.Layout.Merged(n))
	h.unmount(n)
	// The root and the directories that a start writes in are upper's.
	return slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, `"" `) || strings.HasPrefix(l, `"/left4dead2" `) || strings.HasPrefix(l, `"/left4dead2/cfg`)
	})
}

func flatten(t *testing.T, n instance.Name, h *host) func(*Change) error {
	now := h.info().Date
	return func(ch *Change) error {
		_, err := ch.Flatten(t.Context(), n, now, func(int64) {})
		return err
	}
}

// What the kernel shows of the folded release is what it shows of the chain.
func TestFlatten(t *testing.T) {
	h := layered(t)
	h.init("a", "")
	before := h.mounted("a")
	if len(before) < 40 {
		t.Fatalf("only %d entries", len(before))
	}
	var total, done int64
	var flat instance.Name
	h.change(func(ch *Change) (err error) {
		total, err = ch.Measure(t.Context(), "2026-11-25.3")
		must(t, err)
		flat, err = ch.Flatten(t.Context(), "2026-11-25.3", h.info().Date, func(n int64) { done += n })
		return err
	})
	if total == 0 || done != total {
		t.Errorf("%d of %d bytes", done, total)
	}
	h.wantCurrent(flat)
	if diff := cmp.Diff(before, h.mounted("a")); diff != "" {
		t.Error(diff)
	}
	r, err := h.Read(flat)
	if err != nil || len(r.Chain) != 1 || r.Build != "1000" {
		t.Errorf("%+v, %v", r, err)
	}
	var st, was unix.Stat_t
	must(t, unix.Stat(h.Layout.ReleaseTree(flat)+"/left4dead2", &st))
	must(t, unix.Stat(h.Layout.ReleaseTree("2026-11-25.3")+"/left4dead2", &was))
	if st.Mode != was.Mode || st.Uid != was.Uid || st.Mtim != was.Mtim {
		t.Errorf("left4dead2 is %o of %d, not %o of %d", st.Mode, st.Uid, was.Mode, was.Uid)
	}
	for name, from := range map[string]instance.Name{"srcds_linux": "2026-11-25", "left4dead2/changed": "2026-11-25.2", "left4dead2/link": "2026-11-25"} {
		var a, b unix.Stat_t
		must(t, unix.Lstat(filepath.Join(h.Layout.ReleaseTree(flat), name), &a))
		must(t, unix.Lstat(filepath.Join(h.Layout.ReleaseTree(from), name), &b))
		if a.Ino != b.Ino {
			t.Errorf("%s was copied", name)
		}
	}
	must(t, filepath.WalkDir(h.Layout.ReleaseTree(flat), func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		buf := make([]byte, 4096)
		if n, err := unix.Llistxattr(path, buf); err == nil && strings.Contains(string(buf[:n]), "trusted.overlay") {
			t.Errorf("%s has %q", path, buf[:n])
		}
		return nil
	}))
	// The others are still there, and can be pinned and gone back to.
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", string(flat))
	h.roll("2026-11-25.3")
	if diff := cmp.Diff(before, h.mounted("a")); diff != "" {
		t.Error(diff)
	}
	ch, err := h.Begin()
	must(t, err)
	defer ch.End()
	if err := flatten(t, flat, h)(ch); !errors.Is(err, ErrFlat) {
		t.Errorf("a second time: %v", err)
	}
}

// Where no link can be made, files are copied, with all that belongs to them.
func TestFlattenCopies(t *testing.T) {
	h := layered(t)
	h.init("a", "")
	// The lowest release lies on another disk.
	tree := h.Layout.ReleaseTree("2026-11-25")
	disk := t.TempDir()
	must(t, unix.Mount("disk", disk, "tmpfs", 0, "mode=755"))
	defer unix.Unmount(disk, unix.MNT_DETACH)
	if out, err := command("cp", "-a", "--preserve=all", tree, disk+"/tree"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	must(t, os.Rename(tree, tree+".away"))
	must(t, os.Symlink(disk+"/tree", tree))
	before := h.mounted("a")
	h.change(flatten(t, "2026-11-25.3", h))
	if diff := cmp.Diff(before, h.mounted("a")); diff != "" {
		t.Error(diff)
	}
}

// Not the current one: then nothing is switched.
func TestFlattenAnother(t *testing.T) {
	h := layered(t)
	h.change(flatten(t, "2026-11-25.2", h))
	h.wantCurrent("2026-11-25.3")
	r, err := h.Read("2026-11-25.4")
	if err != nil || len(r.Chain) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	entries, err := os.ReadDir(h.Layout.Release("2026-11-25.4"))
	must(t, err)
	if len(entries) != 2 {
		t.Errorf("the release has %v", entries)
	}
}

func TestFlattenInterrupted(t *testing.T) {
	for step, done := range map[string]bool{"file": false, "written": false, "named": true, "link": true, "current": true} {
		h := layered(t)
		h.crash(step, flatten(t, "2026-11-25.3", h))
		h.change(func(*Change) error { return nil })
		if done {
			h.wantCurrent("2026-11-25.4")
			h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
		} else {
			h.wantCurrent("2026-11-25.3")
			h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3")
		}
	}
	// Another than the current one: nothing is switched, then or later.
	for step, done := range map[string]bool{"file": false, "written": false, "named": true} {
		h := layered(t)
		h.crash(step, flatten(t, "2026-11-25.2", h))
		h.change(func(*Change) error { return nil })
		h.wantCurrent("2026-11-25.3")
		if done {
			h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4")
		} else {
			h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3")
		}
	}
	// Ctrl-C.
	h := layered(t)
	ctx, cancel := context.WithCancel(t.Context())
	files := 0
	h.step = func(name string) {
		if files++; name == "file" && files == 3 {
			cancel()
		}
	}
	ch, err := h.Begin()
	must(t, err)
	defer ch.End()
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := ch.Measure(ended, "2026-11-25.3"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := ch.Flatten(ctx, "2026-11-25.3", h.info().Date, func(int64) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3")
	h.wantCurrent("2026-11-25.3")
}

// The game's user, outside of its sandbox, changes the tree meanwhile: nothing
// of another place gets into the release.
func TestFlattenAttacked(t *testing.T) {
	h := layered(t)
	outside := t.TempDir()
	must(t, os.MkdirAll(outside+"/dir", 0o700))
	must(t, os.WriteFile(outside+"/secret", []byte("secret"), 0o600))
	must(t, os.WriteFile(outside+"/dir/secret", []byte("secret"), 0o600))
	game := filepath.Join(h.Layout.ReleaseTree("2026-11-25"), "left4dead2")
	n := 0
	h.step = func(name string) {
		if name != "file" || n > 0 {
			return
		}
		n++
		must(t, os.RemoveAll(game+"/turned2"))
		must(t, os.Rename(game, game+".away"))
		must(t, os.Symlink(outside, game))
	}
	ch, err := h.Begin()
	must(t, err)
	defer ch.End()
	flat, err := ch.Flatten(t.Context(), "2026-11-25.3", h.info().Date, func(int64) {})
	if n == 0 {
		t.Fatal("not attacked")
	}
	if err != nil {
		h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3")
		return
	}
	must(t, filepath.WalkDir(h.Layout.ReleaseTree(flat), func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		if strings.Contains(path, "secret") {
			t.Errorf("%s got in", path)
		}
		return nil
	}))
}
