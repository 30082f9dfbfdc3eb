package plan

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/record"
)

func TestMain(m *testing.M) { privatens.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func layer(t *testing.T, dir string) *layers.Layer {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	l := &layers.Layer{Name: filepath.Base(dir), Path: dir, Dir: fd}
	t.Cleanup(l.Close)
	return l
}

// differences are what Files says, "KIND PATH".
func differences(t *testing.T, was, will layers.View) []string {
	t.Helper()
	shared, err := Common(was, will)
	must(t, err)
	var got []string
	must(t, Files(context.Background(), was, will, shared, func(f File) error {
		if (f.Was == nil) != (f.Kind == Added) || (f.Will == nil) != (f.Kind == Removed) {
			t.Errorf("%+v", f)
		}
		got = append(got, string(f.Kind)+" "+f.Path)
		return nil
	}))
	slices.Sort(got)
	return got
}

// grow fills dir with something of each kind, in names that meet often.
func grow(t *testing.T, r *rand.Rand, dir string, depth int) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		path := filepath.Join(dir, name)
		switch kind := r.IntN(10); {
		case kind < 3 || depth > 3:
		case kind < 6:
			must(t, os.Mkdir(path, 0o755))
			if r.IntN(4) == 0 {
				must(t, unix.Setxattr(path, layers.OpaqueAttribute, []byte("y"), 0))
			}
			grow(t, r, path, depth+1)
		case kind < 8:
			put(t, path, fmt.Sprint(r.IntN(2)))
		case kind < 9:
			must(t, os.Symlink(fmt.Sprint(r.IntN(2)), path))
		default:
			must(t, unix.Mknod(path, unix.S_IFCHR, 0))
		}
	}
}

// all is what a view shows: all of it, read.
func all(t *testing.T, v layers.View) map[string]string {
	t.Helper()
	root, err := v.Root()
	must(t, err)
	shown := map[string]string{}
	must(t, v.Walk(root, func(n layers.Node) error {
		top := n.Top()
		switch top.Type {
		case layers.File:
			text, err := top.Layer.Read(n.Path, 100)
			must(t, err)
			shown[n.Path] = "file " + string(text)
		case layers.Symlink:
			to, err := top.Layer.Readlink(n.Path)
			must(t, err)
			shown[n.Path] = "link " + to
		}
		return nil
	}))
	return shown
}

// Whatever two stacks are made of: what they are said to differ in is what
// reading them whole shows.
func TestFiles(t *testing.T) {
	privatens.Need(t)
	for seed := range 150 {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		dir := t.TempDir()
		var pool []*layers.Layer
		for i := range 6 {
			path := fmt.Sprintf("%s/%d", dir, i)
			must(t, os.Mkdir(path, 0o755))
			grow(t, r, path, 0)
			pool = append(pool, layer(t, path))
		}
		pick := func() (v layers.View) {
			for _, i := range r.Perm(6)[:1+r.IntN(5)] {
				if r.IntN(2) == 0 {
					v = append(v, pool[i])
				} else {
					v = append(v, layer(t, pool[i].Path)) // the same by another descriptor
				}
			}
			return v
		}
		was, will := pick(), pick()
		if r.IntN(2) == 0 { // one layer more or less in the middle of the same
			will = slices.Clone(was)
			i := r.IntN(len(will) + 1)
			will = slices.Insert(will, i, layer(t, pool[r.IntN(6)].Path))
			will = slices.Delete(will, len(will)-1, len(will)-r.IntN(2))
		}
		before, after := all(t, was), all(t, will)
		var want []string
		for path, text := range before {
			if now, ok := after[path]; !ok {
				want = append(want, "removed "+path)
			} else if now != text {
				want = append(want, "changed "+path)
			}
		}
		for path := range after {
			if _, ok := before[path]; !ok {
				want = append(want, "added "+path)
			}
		}
		slices.Sort(want)
		if got := differences(t, was, will); !slices.Equal(got, want) {
			t.Fatalf("seed %d: %q, want %q", seed, got, want)
		}
	}
}

func TestCommon(t *testing.T) {
	privatens.Need(t)
	dir := t.TempDir()
	view := func(names string) (v layers.View) {
		for _, name := range names {
			path := dir + "/" + string(name)
			must(t, os.MkdirAll(path, 0o755))
			v = append(v, layer(t, path))
		}
		return v
	}
	for _, tt := range []struct{ was, will, want string }{
		{"abc", "xbc", "bc"}, {"abc", "abxc", "abc"}, {"xabc", "abc", "abc"}, {"abc", "cab", "ab"}, {"a", "b", ""}, {"abcd", "bxd", "bd"},
	} {
		was, will := view(tt.was), view(tt.will)
		shared, err := Common(was, will)
		must(t, err)
		got := ""
		for _, v := range []layers.View{was, will} {
			for _, l := range v {
				if shared.Has(l) {
					got += l.Name
				}
			}
		}
		if got != tt.want+tt.want {
			t.Errorf("%s and %s share %q, want %q", tt.was, tt.will, got, tt.want)
		}
	}
}

func TestFilesByModeAndOwner(t *testing.T) {
	privatens.Need(t)
	dir := t.TempDir()
	for _, l := range []string{"old", "new"} {
		for _, name := range []string{"same", "mode", "owner", "dir/x"} {
			put(t, dir+"/"+l+"/"+name, "text")
		}
	}
	must(t, os.Chmod(dir+"/new/mode", 0o755))
	must(t, os.Lchown(dir+"/new/owner", 12, 12))
	must(t, os.Chmod(dir+"/new/dir", 0o700))
	must(t, os.Link(dir+"/old/same", dir+"/new/linked"))
	got := differences(t, layers.View{layer(t, dir+"/old")}, layers.View{layer(t, dir+"/new")})
	if want := []string{"added linked", "changed dir", "changed mode", "changed owner"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// world is a root with two versions of a layer and two releases.
func world(t *testing.T) (instance.Layout, record.Start) {
	t.Helper()
	privatens.Need(t)
	l, err := instance.NewLayout(t.TempDir())
	must(t, err)
	put(t, l.Overlays()+"/.mod.v1/a", "1")
	must(t, os.Symlink(".mod.v1", l.Overlay("mod")))
	put(t, l.ReleaseTree("r1")+"/b", "1")
	must(t, os.Symlink("releases/r1/tree", l.Installation()))
	time.Sleep(30 * time.Millisecond)
	start := record.Start{At: time.Now()}
	v, err := layers.Open(l, []string{"overlays/mod", "releases/r1/tree"})
	must(t, err)
	defer v.Close()
	for _, layer := range v {
		d, err := record.DirectoryOf(layer.Dir)
		must(t, err)
		start.Layers = append(start.Layers, record.Layer{Name: layer.Name, Directory: d})
	}
	return l, start
}

// A layer of the last start is found wherever it is by now.
func TestWas(t *testing.T) {
	l, start := world(t)
	paths := func() string {
		v, err := Was(l, start)
		if err != nil {
			return err.Error()
		}
		defer v.Close()
		var all []string
		for _, layer := range v {
			all = append(all, strings.TrimPrefix(layer.Path, l.Root()+"/"))
		}
		return strings.Join(all, " ")
	}
	if got := paths(); got != "overlays/mod releases/r1/tree" {
		t.Error(got)
	}
	put(t, l.Overlays()+"/.mod.v2/a", "2")
	must(t, os.Remove(l.Overlay("mod")))
	must(t, os.Symlink(".mod.v2", l.Overlay("mod")))
	must(t, os.Rename(l.Release("r1"), l.Release("r0")))
	if got := paths(); got != "overlays/.mod.v1 releases/r0/tree" {
		t.Error(got)
	}
	must(t, os.RemoveAll(l.Overlays()+"/.mod.v1"))
	if got := paths(); got != "overlays/mod: "+ErrGone.Error() {
		t.Error(got)
	}
}

// The number of a directory that was removed may be another's by now.
func TestWasGoesByAge(t *testing.T) {
	l, start := world(t)
	start.At = time.Now().Add(-time.Hour)
	if _, err := Was(l, start); !errors.Is(err, ErrGone) {
		t.Errorf("made after the start, and taken for what it was started with: %v", err)
	}
}
