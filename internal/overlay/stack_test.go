package overlay

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An operator changes the layers under an upper directory that has a history.
// What is in upper wins, what was deleted stays deleted, and all the rest is
// that of the topmost layer which has it.
func TestChangedStack(t *testing.T) {
	layers := map[string]map[string]string{
		"base": {"f": "base", "dir/a": "base a", "dir/b": "base b", "gone/x": "base x", "gone/y": "base y", "moved/m": "base m", "deep/1/2/3": "base 3"},
		"mod":  {"f": "mod", "dir/b": "mod b", "dir/c": "mod c", "gone/x": "mod x", "mod.vpk": "mod", "deep/1/new": "mod new"},
		"more": {"dir/a": "more a", "gone/z": "more z", "deleted": "more", "extra/e": "more e"},
		// What upper has as a file is a directory here, and the reverse.
		"odd": {"written/in": "odd", "dir": "odd", "own": "odd", "deep/1": "odd"},
	}
	// What is in upper after the first mount. Under a directory that was made
	// anew nothing shows through.
	upper := map[string]string{
		"written": "new", "f": "changed", "dir/b": "changed b", "own/o": "own", "target/m": "base m",
	}
	deleted := []string{"deleted", "dir/a", "gone", "moved"}
	opaque := []string{"own/", "target/"}

	eachMethod(t, func(t *testing.T, method Method) {
		p := newStackPlace(t, layers, "mod", "base")
		must(t, os.WriteFile(filepath.Join(p.dir, "lower/base/deleted"), []byte("base"), 0o644))
		p.mount(method)
		for _, step := range []error{
			os.WriteFile(p.merged("written"), []byte("new"), 0o644),
			os.WriteFile(p.merged("f"), []byte("changed"), 0o644),
			os.WriteFile(p.merged("dir/b"), []byte("changed b"), 0o644),
			os.Remove(p.merged("dir/a")),
			os.Remove(p.merged("deleted")),
			os.RemoveAll(p.merged("gone")),
			os.Mkdir(p.merged("own.new"), 0o755),
			os.WriteFile(p.merged("own.new/o"), []byte("own"), 0o644),
			os.Rename(p.merged("own.new"), p.merged("own")),
			// As mv does when a rename gives EXDEV.
			os.CopyFS(p.merged("target"), os.DirFS(p.merged("moved"))),
			os.RemoveAll(p.merged("moved")),
			os.Chmod(p.merged("deep/1"), 0o700),
		} {
			must(t, step)
		}
		p.unmount()
		for _, names := range [][]string{
			{"mod", "base"},
			{"more", "mod", "base"},
			{"mod", "more", "base"},
			{"base", "mod", "more"},
			{"base"},
			{"more"},
			{"odd", "mod", "base"},
			{"base", "mod", "odd"},
		} {
			t.Run(strings.Join(names, ">"), func(t *testing.T) {
				p := *p
				p.t = t
				p.lowers = nil
				for _, name := range names {
					p.lowers = append(p.lowers, filepath.Join(p.dir, "lower", name))
				}
				p.mount(method)
				got := readAll(t, p.target.Path)
				want := expected(names, layers, upper, deleted, opaque)
				if !maps.Equal(got, want) {
					t.Errorf("merged reads\n%q, want\n%q", got, want)
				}
				for name, text := range upper {
					must(t, os.WriteFile(p.merged(name), []byte(text), 0o644))
				}
				p.unmount()
			})
		}
	})
}

func newStackPlace(t *testing.T, layers map[string]map[string]string, names ...string) *place {
	p := newPlace(t, "unused")
	p.lowers = nil
	for layer, files := range layers {
		for name, text := range files {
			path := filepath.Join(p.dir, "lower", layer, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	for _, name := range names {
		p.lowers = append(p.lowers, filepath.Join(p.dir, "lower", name))
	}
	return p
}

// expected says what the overlay must hold, from the rules alone.
func expected(names []string, layers map[string]map[string]string, upper map[string]string, deleted, opaque []string) map[string]string {
	files := maps.Clone(upper)
	hidden := func(name string) bool {
		for _, d := range deleted {
			if name == d || strings.HasPrefix(name, d+"/") {
				return true
			}
		}
		for _, o := range opaque {
			if strings.HasPrefix(name, o) {
				return true
			}
		}
		return false
	}
	// Upper has deep/1 and dir as directories although no file of its own is in
	// the first.
	directories := map[string]bool{"deep": true, "deep/1": true}
	add := func(name string) {
		for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
			directories[dir] = true
		}
	}
	for name := range files {
		add(name)
	}
	blocked := map[string]bool{} // directories that a file of a higher layer ends
	for _, layer := range names {
		var new []string
		for name, text := range layers[layer] {
			_, taken := files[name]
			if directories[name] {
				blocked[name] = true // no lower layer shows below it
			}
			if taken || directories[name] || hidden(name) || covered(name, files, blocked) {
				continue
			}
			files[name] = text
			new = append(new, name)
		}
		for _, name := range new {
			add(name)
		}
	}
	return files
}

// covered tells whether something above the layer that name is in keeps what
// is in one of its directories from showing.
func covered(name string, files map[string]string, blocked map[string]bool) bool {
	for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
		if _, file := files[dir]; file || blocked[dir] {
			return true
		}
	}
	return false
}

// readAll returns the contents of all files in dir.
func readAll(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if _, err := os.Lstat(path); err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[name] = string(data)
		return err
	}))
	return files
}

// state describes everything about a tree that a mount could change.
func state(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		st.Atim = unix.Timespec{}
		all[path] = describe(t, path, st)
		return nil
	}))
	return all
}
