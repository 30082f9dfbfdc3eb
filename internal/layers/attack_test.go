package layers

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// trap is a layer in which the game's user has planted what it can, and root a
// mount.
func trap(t *testing.T) (l *Layer, outside string) {
	t.Helper()
	dir := place(t)
	outside = filepath.Join(dir, "outside")
	must(t, os.MkdirAll(outside, 0o755))
	must(t, os.WriteFile(outside+"/secret", []byte("secret"), 0o600))
	up := filepath.Join(dir, "upper")
	must(t, os.MkdirAll(up+"/mounted", 0o755))
	must(t, unix.Mkfifo(up+"/fifo", 0o666))
	must(t, unix.Mknod(up+"/tape", unix.S_IFCHR|0o666, int(unix.Mkdev(9, 0)))) // an open rewinds it
	must(t, os.Symlink(outside, up+"/link"))
	must(t, os.Symlink(outside+"/secret", up+"/file"))
	must(t, unix.Mount(outside, up+"/mounted", "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(up+"/mounted", unix.MNT_DETACH) })
	return layer(t, up), outside
}

func TestNothingOutsideIsRead(t *testing.T) {
	l, outside := trap(t)
	for name, want := range map[string]error{
		"file":           nil, // a link, which is no file
		"fifo":           nil,
		"tape":           nil,
		"link/secret":    fs.ErrNotExist,
		"../outside":     unix.EXDEV,
		outside:          unix.EXDEV,
		"mounted/secret": unix.EXDEV,
	} {
		f, _, err := l.Open(name)
		if err == nil {
			f.Close()
			t.Errorf("Open(%q) succeeded", name)
		}
		if want != nil && !errors.Is(err, want) {
			t.Errorf("Open(%q): %v, want %v", name, err, want)
		}
		if want == nil && !strings.Contains(err.Error(), "not a regular file, but a ") {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
	for name, want := range map[string]Type{"link": Symlink, "file": Symlink, "fifo": FIFO, "tape": Device} {
		if e, err := l.Stat(name); err != nil || e.Type != want {
			t.Errorf("Stat(%q) = %+v, %v; want a %s", name, e, err, want)
		}
	}
	if _, err := l.Stat("link/secret"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat through a link: %v", err)
	}
	if names, err := l.Names("link"); len(names) != 0 || err != nil {
		t.Errorf("Names of a link: %q, %v", names, err)
	}
	if _, err := l.Names("mounted"); !errors.Is(err, unix.EXDEV) {
		t.Errorf("Names of a mount: %v", err)
	}
	err := Changes(context.Background(), l, View{layer(t, outside)}, func(c Change) error {
		if strings.HasPrefix(c.Path, "mounted") {
			t.Errorf("looked into the mount: %+v", c)
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), `upper/mounted": something is mounted there`) {
		t.Errorf("Changes past a mount: %v", err)
	}
}

// A tree deeper than a path can be long ends in an error that names it, and
// neither in a crash nor in half an answer.
func TestTooDeep(t *testing.T) {
	dir := place(t)
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range 3000 {
		must(t, unix.Mkdirat(fd, "dd", 0o755))
		next, err := unix.Openat(fd, "dd", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	empty := t.TempDir()
	err = Changes(context.Background(), layer(t, dir), View{layer(t, empty)}, func(Change) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "the path is longer than 4095 bytes") {
		t.Errorf("error %.300v", err)
	}
}

func TestConflicts(t *testing.T) {
	dir := place(t)
	for path, text := range map[string]string{
		"a/f": "1", "b/f": "1", "c/f": "2", // differ
		"a/same": "1", "c/same": "1",
		"b/only": "1",
		"a/d/x":  "1", "b/d": "1", // a directory over a file
		"b/hidden/x": "1", "c/hidden/x": "2",
		"c/gone": "1", "a/dir/a": "1", "c/dir/c": "1",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644))
	}
	must(t, os.Mkdir(dir+"/a/hidden", 0o755))
	must(t, unix.Setxattr(dir+"/a/hidden", OpaqueAttribute, []byte("y"), 0))
	must(t, unix.Mknod(dir+"/b/gone", unix.S_IFCHR, 0))
	v := View{layer(t, dir+"/a"), layer(t, dir+"/b"), layer(t, dir+"/c")}
	var got []string
	must(t, Conflicts(context.Background(), v, func(c Conflict) error {
		text := c.Path + ":"
		for _, f := range c.Claimants {
			text += " " + f.Layer.Name + " " + string(f.Type)
		}
		if c.Same {
			text += " same"
		}
		if c.HiddenBy != nil {
			text += " hidden by " + c.HiddenBy.Name
		}
		got = append(got, text)
		return nil
	}))
	want := []string{
		"d: a directory b file",
		"f: a file b file c file",
		"gone: b whiteout c file",
		"hidden/x: b file c file hidden by a",
		"same: a file c file same",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What a release changes over an older one is no conflict; with the operator's
// layers, the game has one say, and none where it has deleted the file.
func TestConflictsOfReleases(t *testing.T) {
	dir := place(t)
	for path, text := range map[string]string{
		"mod/f": "1", "new/f": "2", "old/f": "1", "new/updated": "2", "old/updated": "1",
		"mod/gone": "1", "old/gone": "1", "mod/older": "1", "old/older": "2",
	} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644))
	}
	must(t, unix.Mknod(dir+"/new/gone", unix.S_IFCHR, 0))
	v := View{layer(t, dir+"/mod"), layer(t, dir+"/new"), layer(t, dir+"/old")}
	for i, name := range []string{"overlays/mod", "releases/new/tree", "releases/old/tree"} {
		v[i].Name = name
	}
	var got []string
	must(t, Conflicts(context.Background(), v, func(c Conflict) error {
		text := c.Path
		for _, f := range c.Claimants {
			text += " " + f.Layer.Name
		}
		got = append(got, text)
		return nil
	}))
	want := "f overlays/mod releases/new/tree\nolder overlays/mod releases/old/tree"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}
