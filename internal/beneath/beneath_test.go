package beneath

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// place is a directory to work in, and a file outside that nothing may touch.
type place struct {
	t       *testing.T
	dir     string
	fd      int
	outside string
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{t: t, dir: filepath.Join(t.TempDir(), "in"), outside: filepath.Join(t.TempDir(), "outside")}
	must(t, os.Mkdir(p.dir, 0o755))
	must(t, os.WriteFile(p.outside, []byte("precious"), 0o600))
	fd, err := unix.Open(p.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	p.fd = fd
	t.Cleanup(func() {
		unix.Close(fd)
		if data, err := os.ReadFile(p.outside); err != nil || string(data) != "precious" {
			t.Errorf("the file outside is now %q, %v", data, err)
		}
	})
	return p
}

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func own(data string) File {
	return File{Data: []byte(data), Mode: 0o640, UID: os.Getuid(), GID: os.Getgid()}
}

func TestWriteFileReplaces(t *testing.T) {
	for name, plant := range map[string]func(p place){
		"nothing":    func(place) {},
		"file":       func(p place) { must(p.t, os.WriteFile(p.path("f"), []byte("a longer old text"), 0o644)) },
		"symlink":    func(p place) { must(p.t, os.Symlink(p.outside, p.path("f"))) },
		"dangling":   func(p place) { must(p.t, os.Symlink("/nonexistent", p.path("f"))) },
		"magic link": func(p place) { must(p.t, os.Symlink("/proc/self/fd/1", p.path("f"))) },
		"hard link":  func(p place) { must(p.t, os.Link(p.outside, p.path("f"))) },
		"fifo":       func(p place) { must(p.t, unix.Mkfifo(p.path("f"), 0o666)) },
		"temporary":  func(p place) { must(p.t, os.WriteFile(p.path(".f.l4d2-host"), nil, 0o644)) },
		"temporary symlink": func(p place) {
			must(p.t, os.Symlink(p.outside, p.path(".f.l4d2-host")))
		},
		"temporary fifo": func(p place) { must(p.t, unix.Mkfifo(p.path(".f.l4d2-host"), 0o666)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			plant(p)
			must(t, WriteFile(p.fd, "f", own("new")))
			fi, err := os.Lstat(p.path("f"))
			must(t, err)
			data, _ := os.ReadFile(p.path("f"))
			if string(data) != "new" || fi.Mode() != 0o640 {
				t.Errorf("%q, mode %v", data, fi.Mode())
			}
			if names, _ := os.ReadDir(p.dir); len(names) != 1 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

func TestWriteFileRefuses(t *testing.T) {
	p := newPlace(t)
	must(t, os.Mkdir(p.path("f"), 0o755))
	if err := WriteFile(p.fd, "f", own("new")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("over a directory: %v, want EISDIR", err)
	}
	if names, _ := os.ReadDir(p.dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
	must(t, os.Remove(p.path("f")))
	must(t, os.Mkdir(p.path(".f.l4d2-host"), 0o755))
	if err := WriteFile(p.fd, "f", own("new")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("with a directory under the temporary name: %v, want EISDIR", err)
	}
}

func TestOpenDirRefuses(t *testing.T) {
	p := newPlace(t)
	must(t, os.Symlink("/", p.path("absolute")))
	must(t, os.Symlink("..", p.path("up")))
	must(t, os.Mkdir(p.path("real"), 0o755))
	must(t, os.Symlink("real", p.path("inside")))
	must(t, os.WriteFile(p.path("file"), nil, 0o644))
	must(t, unix.Mkfifo(p.path("fifo"), 0o666))
	for name, want := range map[string]error{
		"absolute": unix.ELOOP, "up": unix.ELOOP, "inside": unix.ELOOP,
		"file": unix.ENOTDIR, "fifo": unix.ENOTDIR, "missing": unix.ENOENT,
		"..": unix.EXDEV, "real/../..": unix.EXDEV,
	} {
		if _, err := OpenDir(p.fd, name); !errors.Is(err, want) {
			t.Errorf("OpenDir(%q) = %v, want %v", name, err, want)
		}
	}
}

func TestMakeDir(t *testing.T) {
	p := newPlace(t)
	if os.Getuid() == 0 {
		must(t, os.Chown(p.dir, 1234, 4321))
	}
	fd, err := MakeDir(p.fd, "new")
	must(t, err)
	unix.Close(fd)
	var parent, got unix.Stat_t
	must(t, unix.Fstat(p.fd, &parent))
	must(t, unix.Stat(p.path("new"), &got))
	if got.Uid != parent.Uid || got.Gid != parent.Gid || got.Mode&0o7777 != 0o755 {
		t.Errorf("uid %d gid %d mode %o", got.Uid, got.Gid, got.Mode)
	}
	// What a killed run left, or someone put there, under the temporary name.
	must(t, os.Remove(p.path("new")))
	for name, plant := range map[string]func() error{
		"directory": func() error { return os.MkdirAll(p.path(".new.l4d2-host/sub"), 0o700) },
		"symlink":   func() error { return os.Symlink(filepath.Dir(p.outside), p.path(".new.l4d2-host")) },
	} {
		must(t, plant())
		fd, err := MakeDir(p.fd, "new")
		if err != nil {
			t.Fatalf("over a temporary %s: %v", name, err)
		}
		unix.Close(fd)
		if names, _ := os.ReadDir(p.dir); len(names) != 1 {
			t.Errorf("after a temporary %s: %v", name, names)
		}
		must(t, os.Remove(p.path("new")))
	}
	must(t, os.Symlink(filepath.Dir(p.outside), p.path("link")))
	if _, err := MakeDir(p.fd, "link"); !errors.Is(err, unix.ELOOP) {
		t.Errorf("MakeDir over a link: %v, want ELOOP", err)
	}
}

func TestRemoveAll(t *testing.T) {
	p := newPlace(t)
	tree := p.path("tree")
	must(t, os.MkdirAll(tree+"/a/b/c", 0o755))
	must(t, os.WriteFile(tree+"/a/f", nil, 0o400))
	must(t, os.Symlink(p.outside, tree+"/link"))
	must(t, os.Symlink(filepath.Dir(p.outside), tree+"/dirlink"))
	must(t, os.Link(p.outside, tree+"/hard"))
	must(t, unix.Mkfifo(tree+"/fifo", 0o600))
	must(t, os.WriteFile(tree+"/new\nline\x1b[31m", nil, 0o600))
	for i := range 5000 {
		must(t, os.WriteFile(tree+"/a/b/"+strconv.Itoa(i), nil, 0o600))
	}
	must(t, RemoveAll(p.fd, "tree"))
	must(t, RemoveAll(p.fd, "tree")) // nothing there is success
	if names, _ := os.ReadDir(p.dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	must(t, os.Symlink(filepath.Dir(p.outside), p.path("link")))
	must(t, RemoveAll(p.fd, "link"))
}

// A tree deeper than the descriptors a process may have.
func TestRemoveAllDeep(t *testing.T) {
	p := newPlace(t)
	const levels = 3000
	must(t, os.Mkdir(p.path("deep"), 0o755))
	fd, err := unix.Openat(p.fd, "deep", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	must(t, RemoveAll(p.fd, "deep"))
	if names, _ := os.ReadDir(p.dir); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestRemoveContents(t *testing.T) {
	p := newPlace(t)
	must(t, os.MkdirAll(p.path("a/b"), 0o755))
	must(t, os.WriteFile(p.path("f"), nil, 0o600))
	must(t, RemoveContents(p.fd))
	if names, err := os.ReadDir(p.dir); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestErrorQuotesNames(t *testing.T) {
	p := newPlace(t)
	_, err := OpenDir(p.fd, "x\n<0>forged")
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a name reaches the message raw: %v", err)
	}
}
