package layers

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/overlay"
	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// place is a fresh tmpfs, which goes when the test ends.
func place(t *testing.T) string {
	t.Helper()
	privatens.Need(t)
	privatens.LockThread()
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func layer(t *testing.T, dir string) *Layer {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	l := &Layer{Name: filepath.Base(dir), Path: dir, Dir: fd}
	t.Cleanup(l.Close)
	return l
}

// merge has the kernel mount the layers, upper first, at dir/merged.
func merge(t *testing.T, dir string, upper *Layer, lowers View) (merged string, unmount func()) {
	t.Helper()
	for _, name := range []string{"work", "merged"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	s := overlay.Stack{Source: "test", Upper: upper.Dir, Work: layer(t, dir+"/work").Dir}
	for _, l := range lowers {
		s.Lowers = append(s.Lowers, overlay.Lower{FD: l.Dir, Parent: overlay.Unknown})
	}
	target := overlay.Target{Dir: layer(t, dir).Dir, Name: "merged", Path: dir + "/merged"}
	m, err := s.Mount(target, overlay.Auto)
	must(t, err)
	must(t, m.Attach())
	return target.Path, func() { must(t, target.Unmount()) }
}

// grow fills dir with something of each kind, in names that meet often.
func grow(t *testing.T, r *rand.Rand, dir string, upper, marks bool, depth int) {
	t.Helper()
	for _, name := range []string{"a", "b", "c", "d", "\x1b[31m\n"} {
		path := filepath.Join(dir, name)
		kind := r.IntN(13)
		_, err := os.Lstat(path)
		switch {
		case kind < 2 || depth > 3 || err == nil:
			continue
		case kind < 6:
			must(t, os.Mkdir(path, 0o700|fs.FileMode(r.IntN(2)*0o55)))
			if r.IntN(4) == 0 {
				must(t, unix.Setxattr(path, OpaqueAttribute, []byte("y"), 0))
			} else if marks && !upper && r.IntN(2) == 0 {
				must(t, unix.Setxattr(path, OpaqueAttribute, []byte("x"), 0))
				mark(t, filepath.Join(path, "a"))
			}
			grow(t, r, path, upper, marks, depth+1)
		case kind < 9:
			must(t, os.WriteFile(path, []byte(strings.Repeat("x", r.IntN(3))), 0o644))
			must(t, os.Chown(path, r.IntN(2), 0))
		case kind < 10:
			must(t, os.Symlink([]string{"a", "/etc"}[r.IntN(2)], path))
		case kind < 11:
			must(t, unix.Mkfifo(path, 0o644))
		default:
			must(t, unix.Mknod(path, unix.S_IFCHR, 0))
		}
	}
}

// mark makes a whiteout of the kind that is an attribute.
func mark(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, unix.Setxattr(path, "trusted.overlay.whiteout", []byte("y"), 0))
}

// know says whether this kernel takes marks for whiteouts (Linux 6.7).
func know(t *testing.T) bool {
	t.Helper()
	dir := place(t)
	for _, name := range []string{"upper", "one/d", "two/d"} {
		must(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
	}
	must(t, unix.Setxattr(dir+"/one/d", OpaqueAttribute, []byte("x"), 0))
	mark(t, dir+"/one/d/a")
	must(t, os.WriteFile(dir+"/two/d/a", []byte("x"), 0o644))
	merged, unmount := merge(t, dir, layer(t, dir+"/upper"), View{layer(t, dir+"/one"), layer(t, dir+"/two")})
	defer unmount()
	_, err := os.Lstat(merged + "/d/a")
	return os.IsNotExist(err)
}

// listing says of each path in a mounted tree what it is.
func listing(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(name string)
	walk = func(name string) {
		path := filepath.Join(root, name)
		info, err := os.Lstat(path)
		if os.IsNotExist(err) {
			return // directories of one layer list their whiteouts
		}
		must(t, err)
		st := unix.Stat_t{}
		must(t, unix.Lstat(path, &st))
		text := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			must(t, err)
			text = string(data)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err = os.Readlink(path)
			must(t, err)
		}
		all[name] = say(st.Mode, st.Uid, text)
		if info.IsDir() {
			entries, err := os.ReadDir(path)
			must(t, err)
			for _, e := range entries {
				walk(filepath.Join(name, e.Name()))
			}
		}
	}
	walk(".")
	return all
}

func say(mode, uid uint32, text string) string { return fmt.Sprintf("%#o %d %q", mode, uid, text) }

var format = map[Type]uint32{File: unix.S_IFREG, Directory: unix.S_IFDIR, Symlink: unix.S_IFLNK, FIFO: unix.S_IFIFO}

// shown is listing of a view.
func shown(t *testing.T, v View) map[string]string {
	t.Helper()
	all := map[string]string{}
	root, err := v.Root()
	must(t, err)
	must(t, v.Walk(root, func(n Node) error {
		top := n.Top()
		text := ""
		switch top.Type {
		case File:
			data, err := top.Layer.Read(n.Path, 100)
			must(t, err)
			text = string(data)
		case Symlink:
			text, err = top.Layer.Readlink(n.Path)
			must(t, err)
		}
		all[n.Path] = say(format[top.Type]|top.Mode, top.UID, text)
		if found, err := v.Lookup(n.Path); err != nil || len(found.Shown) != len(n.Shown) || found.Top().Ino != top.Ino {
			t.Errorf("Lookup(%q) = %+v, %v; Walk has %+v", n.Path, found, err, n)
		}
		return nil
	}))
	return all
}

func wantSame(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for path, w := range want {
		if got[path] != w {
			t.Errorf("%s: %q is %s, want %s", what, path, got[path], w)
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s: %q is %s, want nothing", what, path, g)
		}
	}
}

// For generated trees, the view shows what the kernel shows, and the changes
// are the difference between the kernel's view with upper and that without.
func TestViewIsTheKernels(t *testing.T) {
	marks := know(t)
	t.Logf("whiteouts that are attributes are known to this kernel: %v", marks)
	seen := map[Kind]int{}
	home := place(t)
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		dir := filepath.Join(home, strconv.FormatUint(seed, 10))
		must(t, os.Mkdir(dir, 0o755))
		var all View
		for i := range 2 + r.IntN(4) {
			path := filepath.Join(dir, "l"+strconv.Itoa(i))
			must(t, os.Mkdir(path, 0o755))
			if r.IntN(5) == 0 { // which the root's merging ignores
				must(t, unix.Setxattr(path, OpaqueAttribute, []byte("y"), 0))
			}
			grow(t, r, path, i == 0, marks, 0)
			all = append(all, layer(t, path))
		}
		upper, lowers := all[0], all[1:]
		changes := map[string]Kind{}
		must(t, Changes(context.Background(), upper, lowers, func(c Change) error {
			changes[c.Path] = c.Kind
			seen[c.Kind]++
			if c.Upper != nil && c.Upper.Opaque {
				seen["opaque"]++
			}
			return nil
		}))
		for path, kind := range changes {
			found := 0
			must(t, ChangesAt(context.Background(), upper, lowers, path, func(c Change) error {
				if changes[c.Path] != c.Kind {
					t.Errorf("ChangesAt(%q) says %q is %s, Changes %q", path, c.Path, c.Kind, changes[c.Path])
				}
				found++
				return nil
			}))
			if found == 0 {
				t.Errorf("ChangesAt(%q): nothing, Changes says %s", path, kind)
			}
		}
		views := [2]map[string]string{shown(t, all), shown(t, lowers)}

		merged, unmount := merge(t, dir, upper, lowers)
		with := listing(t, merged)
		unmount()
		empty := filepath.Join(dir, "empty")
		must(t, os.Mkdir(empty, 0o755))
		merged, unmount = merge(t, dir, layer(t, empty), lowers)
		without := listing(t, merged)
		unmount()
		// The root is the upper directory's: tmpfs gives both the same mode.
		wantSame(t, "with upper", views[0], with)
		wantSame(t, "without upper", views[1], without)
		wantChanges(t, changes, with, without)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("changes: %v", seen)
	for _, kind := range []Kind{Added, Modified, Deleted, Same, "opaque"} {
		if seen[kind] < 10 {
			t.Errorf("only %d changes are %s: the trees are too poor", seen[kind], kind)
		}
	}
}

func wantChanges(t *testing.T, changes map[string]Kind, with, without map[string]string) {
	t.Helper()
	for path, now := range with {
		before, was := without[path]
		got := changes[path]
		switch {
		case path == ".":
		case !was && got != Added:
			t.Errorf("%q: %q, was added", path, got)
		case was && before != now && got != Modified:
			t.Errorf("%q: %q, was modified", path, got)
		// An opaque directory can look like the old one.
		case was && before == now && got != "" && got != Same && !(got == Modified && strings.HasPrefix(now, "04")):
			t.Errorf("%q: %q, is as it was", path, got)
		}
	}
	for path := range without {
		if _, still := with[path]; still {
			continue
		}
		// Deleted with a directory, or with one that became something else.
		covered := false
		for p := path; p != "." && !covered; p = filepath.Dir(p) {
			covered = changes[p] == Deleted || p != path && changes[p] == Modified && !strings.HasPrefix(with[p], "04")
		}
		if !covered {
			t.Errorf("%q: %q, was deleted", path, changes[path])
		}
	}
	for path, kind := range changes {
		_, was := without[path]
		_, is := with[path]
		if want := map[Kind][2]bool{Added: {false, true}, Modified: {true, true}, Same: {true, true}, Deleted: {true, false}}[kind]; want != [2]bool{was, is} {
			t.Errorf("%q: %s, but was there %v, is there %v", path, kind, was, is)
		}
	}
}
