package layer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/store"
)

func TestMain(m *testing.M) { privatens.Main(m) }

const testUID, testGID = 54321, 54322

func newCatalog(t *testing.T) *Catalog {
	t.Helper()
	privatens.Need(t)
	l, err := instance.NewLayout(t.TempDir())
	must(t, err)
	for _, dir := range []string{l.Installation(), l.Overlays(), l.Instances(), l.RuntimeDir()} {
		must(t, os.Mkdir(dir, 0o755))
	}
	return &Catalog{Layout: l, Owner: activation.Owner{UID: testUID, GID: testGID}, Store: &store.Store{Layout: l, GID: testGID}}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put adds or updates layer n from a file of these bytes.
func (c *Catalog) put(t *testing.T, n instance.Name, file string, data []byte, under string, update bool) (Plan, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), file)
	must(t, os.WriteFile(path, data, 0o600))
	return c.putPath(t, n, path, under, update)
}

func (c *Catalog) putPath(t *testing.T, n instance.Name, path, under string, update bool) (plan Plan, err error) {
	t.Helper()
	src, err := OpenSource(path)
	if err != nil {
		return plan, err
	}
	defer src.Close()
	err = c.Put(context.Background(), n, src, under, update, func(p Plan) error { plan = p; return nil })
	return plan, err
}

// tree returns what layer n holds, each as "PATH MODE[ TEXT]", and requires the
// game's user as the owner of all of it.
func (c *Catalog) tree(t *testing.T, n instance.Name) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(c.Layout.Overlay(n))
	must(t, err)
	var lines []string
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%s %v", name, info.Mode())
		switch {
		case e.Type().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(text)
		case e.Type() == fs.ModeSymlink:
			target, _ := os.Readlink(path)
			line += " " + target
		}
		st := info.Sys().(*syscall.Stat_t)
		if whiteout := e.Type()&fs.ModeCharDevice != 0; !whiteout && (st.Uid != testUID || st.Gid != testGID) {
			t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
		}
		lines = append(lines, line)
		return nil
	}))
	return strings.Join(lines, "\n")
}

// hiddenNames are the names in overlays/ that start with a dot.
func (c *Catalog) hiddenNames(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(c.Layout.Overlays())
	must(t, err)
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// entry is one of an archive; a name that ends in a slash is a directory.
type entry struct {
	name, text string
	header     tar.Header // what else
}

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header
		h.Name = e.name
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(e.name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Mode == 0 {
			h.Mode = 0o600
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.text))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(e.text))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}

func zipOf(t *testing.T, change func(*zip.FileHeader), names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		if change != nil {
			change(h)
		}
		f, err := w.CreateHeader(h)
		must(t, err)
		if !strings.HasSuffix(name, "/") {
			_, err = f.Write([]byte("text of " + name))
			must(t, err)
		}
	}
	must(t, w.Close())
	return b.Bytes()
}
