package beneath

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() == 0 {
		return
	}
	if testing.Short() {
		t.Skip("needs root")
	}
	t.Fatal("needs root: run make test")
}

// setFlag sets an inode flag of linux/fs.h for the time of the test.
func setFlag(t *testing.T, path string, flag int) (release func()) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	was, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	must(t, err)
	must(t, unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, was|flag))
	done := false
	release = func() {
		if !done {
			done = true
			must(t, unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, was))
			unix.Close(fd)
		}
	}
	t.Cleanup(release)
	return release
}

const flagImmutable, flagAppend = 0x10, 0x20

// In an append-only directory a file can be made, but neither renamed nor
// removed: whoever only looks at the error of the rename leaves it behind.
func TestProtectedDirectory(t *testing.T) {
	needRoot(t)
	for _, flag := range []int{flagImmutable, flagAppend} {
		p := newPlace(t)
		must(t, os.WriteFile(p.path("f"), []byte("old"), 0o600))
		release := setFlag(t, p.dir, flag)
		if err := WriteFile(p.fd, "f", own("new")); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "lsattr") {
			t.Errorf("WriteFile: %v, want EPERM and a word of lsattr", err)
		}
		if _, err := MakeDir(p.fd, "d"); !errors.Is(err, unix.EPERM) {
			t.Errorf("MakeDir: %v, want EPERM", err)
		}
		if err := RemoveAll(p.fd, "f"); !errors.Is(err, unix.EPERM) {
			t.Errorf("RemoveAll: %v, want EPERM", err)
		}
		if names, _ := os.ReadDir(p.dir); len(names) != 1 {
			t.Errorf("left behind: %v", names)
		}
		release()
		must(t, WriteFile(p.fd, "f", own("new")))
	}
}

// The error names the file that keeps the tree, however deep it lies.
func TestRemoveAllNamesWhatStays(t *testing.T) {
	needRoot(t)
	p := newPlace(t)
	must(t, os.MkdirAll(p.path("tree/a/b\n"), 0o755))
	must(t, os.WriteFile(p.path("tree/a/b\n/stay"), nil, 0o600))
	release := setFlag(t, p.path("tree/a/b\n/stay"), flagImmutable)
	err := RemoveAll(p.fd, "tree")
	if want := `unlink "tree/a/b\n/stay": operation not permitted`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
	release()
	must(t, RemoveAll(p.fd, "tree"))
}

// os.RemoveAll deletes the source of a bind mount, and os.Root writes there.
func TestStopsAtMounts(t *testing.T) {
	needRoot(t)
	runtime.LockOSThread() // and never unlock: the thread goes with its namespace
	must(t, unix.Unshare(unix.CLONE_NEWNS))
	must(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	p := newPlace(t)
	outside := filepath.Dir(p.outside)
	must(t, os.MkdirAll(p.path("tree/mounted"), 0o755))
	must(t, os.WriteFile(p.path("tree/file"), nil, 0o600))
	must(t, unix.Mount(outside, p.path("tree/mounted"), "", unix.MS_BIND, ""))
	must(t, unix.Mount(p.outside, p.path("tree/file"), "", unix.MS_BIND, ""))
	defer unix.Unmount(p.path("tree/file"), unix.MNT_DETACH)
	defer unix.Unmount(p.path("tree/mounted"), unix.MNT_DETACH)
	tree, err := OpenDir(p.fd, "tree")
	must(t, err)
	defer unix.Close(tree)
	if err := RemoveAll(p.fd, "tree"); !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("RemoveAll: %v, want EXDEV or EBUSY", err)
	}
	if err := RemoveContents(tree); !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EBUSY) {
		t.Errorf("RemoveContents: %v, want EXDEV or EBUSY", err)
	}
	for _, open := range []func(int, string) (int, error){OpenDir, MakeDir} {
		if _, err := open(tree, "mounted"); !errors.Is(err, unix.EXDEV) {
			t.Errorf("open: %v, want EXDEV", err)
		}
	}
	if err := WriteFile(tree, "file", own("new")); !errors.Is(err, unix.EBUSY) {
		t.Errorf("WriteFile over a mount: %v, want EBUSY", err)
	}
	if names, _ := os.ReadDir(p.path("tree")); len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
}

// Someone who may write to the directory exchanges the temporary file for
// links, files and directories all the while. Either the file is ours in the
// end or there is an error; what is outside never changes (see newPlace).
func TestWriteFileRace(t *testing.T) {
	p := newPlace(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			x := p.path("x" + strconv.Itoa(n%3))
			switch n % 3 {
			case 0:
				os.Symlink(p.outside, x)
			case 1:
				os.WriteFile(x, []byte("forged"), 0o666)
			case 2:
				unix.Mkfifo(x, 0o666)
			}
			os.Rename(x, p.path(".f.l4d2-host"))
		}
	}()
	written, refused, exchanged := 0, 0, 0
	const limit = 20 * time.Second
	for begun := time.Now(); time.Since(begun) < limit && (time.Since(begun) < time.Second || written == 0); {
		switch err := WriteFile(p.fd, "f", own("new")); {
		case err == nil:
			written++
			if data, err := os.ReadFile(p.path("f")); string(data) != "new" || err != nil {
				t.Fatalf("no error, and the file is %q, %v", data, err)
			}
		case errors.Is(err, ErrExchanged):
			exchanged++
		default:
			refused++
		}
	}
	close(stop)
	<-stopped
	t.Logf("written %d, refused %d, exchanged %d", written, refused, exchanged)
	if written == 0 {
		t.Error("never written")
	}
	must(t, WriteFile(p.fd, "f", own("new")))
	if data, err := os.ReadFile(p.path("f")); string(data) != "new" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}
