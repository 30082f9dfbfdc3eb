package overlay

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOccupant(t *testing.T) {
	p := newPlace(t, "a")
	path := p.target.Path
	occupant := func(target Target) *Occupant {
		t.Helper()
		o, err := target.Occupant()
		must(t, err)
		return o
	}
	if o := occupant(p.target); o != nil {
		t.Errorf("an empty directory holds %v", o)
	}
	if o := occupant(Target{Dir: p.target.Dir, Name: "missing"}); o != nil {
		t.Errorf("nothing at all holds %v", o)
	}

	p.mount(Auto)
	o := occupant(p.target)
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if o == nil || !o.IsOverlay(source) || o.IsOverlay("l4d2:tes") || o.Dev != st.Dev {
		t.Errorf("the overlay is taken for %+v", o)
	}
	must(t, os.Symlink(path, p.target.Path+".link"))
	if o := occupant(Target{Dir: p.target.Dir, Name: "a.link"}); o != nil {
		t.Errorf("a link to a mount point holds %v", o)
	}
	p.unmount()

	must(t, unix.Mount("some one", path, "tmpfs", 0, ""))
	if o := occupant(p.target); o == nil || o.FSType != "tmpfs" || o.Source != "some one" || o.IsOverlay(source) {
		t.Errorf("a tmpfs is taken for %+v", o)
	}
	p.unmount()

	must(t, unix.Mount(source, path, "tmpfs", 0, ""))
	if o := occupant(p.target); o == nil || o.IsOverlay(source) {
		t.Errorf("a tmpfs with the source of ours is taken for %+v", o)
	}
	p.unmount()

	must(t, unix.Mount(p.lowers[0], path, "", unix.MS_BIND, ""))
	if o := occupant(p.target); o == nil || o.FSType == "overlay" && o.Source == source || o.IsOverlay(source) {
		t.Errorf("a bind mount is taken for %+v", o)
	}
	p.unmount()

	// Another instance's overlay is only told by its source.
	must(t, unix.Mount("l4d2:other", path, "overlay", 0, "lowerdir="+p.lowers[0]+":"+p.add(filepath.Join(p.dir, "second"))))
	if o := occupant(p.target); o == nil || o.IsOverlay(source) || !o.IsOverlay("l4d2:other") {
		t.Errorf("another overlay is taken for %+v", o)
	}
	p.unmount()
	p.wantFree()
}

func TestUnmountTakesTheTopmost(t *testing.T) {
	p := newPlace(t, "a")
	p.mount(Auto)
	must(t, unix.Mount("first", p.target.Path, "tmpfs", 0, ""))
	must(t, unix.Mount("second", p.target.Path, "tmpfs", 0, ""))
	for _, want := range []string{"second", "first", source} {
		o, err := p.target.Occupant()
		must(t, err)
		if o == nil || o.Source != want {
			t.Fatalf("at the target is %v, want %s", o, want)
		}
		p.unmount()
	}
	p.wantFree()
	var e *Error
	if err := p.target.Unmount(); !errors.As(err, &e) || !errors.Is(err, unix.EINVAL) {
		t.Errorf("nothing to unmount: %v, want EINVAL", err)
	}
}

// A link that was put in the place of the directory leads nowhere.
func TestUnmountFollowsNoLink(t *testing.T) {
	p := newPlace(t, "a")
	p.mount(Auto)
	must(t, os.Symlink(p.target.Path, p.target.Path+".link"))
	if err := (Target{Dir: p.target.Dir, Name: "a.link", Path: "x"}).Unmount(); err == nil {
		t.Error("unmounted what a link leads to")
	}
	p.wantFile(p.merged("which"), "a")
}

func TestRenew(t *testing.T) {
	p := newPlace(t, "a")
	var before, after unix.Stat_t
	must(t, unix.Stat(p.target.Path, &before))
	keep := open(t, p.target.Path) // so that the number is not given again
	renewed, err := p.target.Renew()
	must(t, err)
	must(t, unix.Stat(p.target.Path, &after))
	if !renewed || before.Ino == after.Ino || after.Mode&0o7777 != 0o700 {
		t.Errorf("renewed is %t, inode %d is now %d, mode %o", renewed, before.Ino, after.Ino, after.Mode)
	}
	unix.Close(keep)

	must(t, os.WriteFile(p.merged("note"), []byte("mine"), 0o600))
	if renewed, err := p.target.Renew(); renewed || err != nil {
		t.Errorf("with a file in it: %t, %v", renewed, err)
	}
	p.wantFile(p.merged("note"), "mine")

	must(t, os.RemoveAll(p.target.Path))
	if renewed, err := p.target.Renew(); !renewed || err != nil {
		t.Errorf("made where it was missing: %t, %v", renewed, err)
	}
	p.mount(Auto)
	if _, err := p.target.Renew(); !errors.Is(err, unix.EBUSY) {
		t.Errorf("while mounted: %v, want EBUSY", err)
	}
	p.unmount()
	must(t, os.Remove(p.target.Path))
	must(t, os.WriteFile(p.target.Path, nil, 0o600))
	if _, err := p.target.Renew(); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file in its place: %v, want ENOTDIR", err)
	}
}

func TestEmpty(t *testing.T) {
	p := newPlace(t, "a")
	for i := range 100 { // more than are read at once
		if empty, err := p.target.Empty(); err != nil || empty != (i == 0) {
			t.Errorf("%d files: %t, %v", i, empty, err)
		}
		must(t, os.WriteFile(p.merged(fmt.Sprintf("a name of some length %d", i)), nil, 0o600))
	}
	must(t, os.RemoveAll(p.target.Path))
	must(t, os.WriteFile(p.target.Path, nil, 0o600))
	if _, err := p.target.Empty(); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file in its place: %v, want ENOTDIR", err)
	}
}

func TestGone(t *testing.T) {
	p := newPlace(t, "a")
	// Another mount anywhere on this machine may get the number at once: then
	// it is not gone, and that is no error.
	for range 20 {
		p.mount(Auto)
		var st unix.Stat_t
		must(t, unix.Stat(p.target.Path, &st))
		if Gone(st.Dev) {
			t.Fatal("gone while it is mounted")
		}
		held := open(t, p.target.Path)
		must(t, unix.Unmount(p.target.Path, unix.MNT_DETACH))
		if Gone(st.Dev) {
			t.Fatal("gone while a directory in it is open")
		}
		must(t, unix.Close(held))
		if Gone(st.Dev) {
			return
		}
	}
	t.Error("never gone after the last use ended")
}

func TestInUse(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		must(t, os.MkdirAll(filepath.Join(p.upper, "dir"), 0o755))
		must(t, os.WriteFile(filepath.Join(p.upper, "dir/file"), []byte("x"), 0o600))
		upper := open(t, p.upper)
		probe := func(when string, want error) {
			t.Helper()
			upperBefore, workBefore := state(t, p.upper), state(t, p.work)
			for range 2 {
				if err := InUse(upper); !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", when, err, want)
				}
			}
			if after := state(t, p.upper); !maps.Equal(upperBefore, after) {
				t.Errorf("%s: the probe changed upper:\n%v to\n%v", when, upperBefore, after)
			}
			if after := state(t, p.work); !maps.Equal(workBefore, after) {
				t.Errorf("%s: the probe changed work:\n%v to\n%v", when, workBefore, after)
			}
		}
		probe("never mounted", nil)
		p.mount(method)
		must(t, os.WriteFile(p.merged("written"), []byte("x"), 0o600))
		probe("mounted", ErrInUse)
		held := open(t, p.merged("dir"))
		must(t, unix.Unmount(p.target.Path, unix.MNT_DETACH))
		p.wantFree()
		probe("detached and held", ErrInUse)
		must(t, unix.Close(held))
		probe("no longer held", nil)

		m, err := p.stack().Mount(p.target, method)
		must(t, err)
		probe("not yet attached", ErrInUse)
		must(t, m.Abandon())
		probe("abandoned", nil)
	})
}

// describe is one line on a file: all of its status but the access time, its
// extended attributes and, for a file, what is in it.
func describe(t *testing.T, path string, st unix.Stat_t) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", st)
	size, err := unix.Llistxattr(path, nil)
	must(t, err)
	list := make([]byte, size)
	size, err = unix.Llistxattr(path, list)
	must(t, err)
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list[:size]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		must(t, err)
		fmt.Fprintf(&b, " %s=%q", name, value[:n])
	}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		data, err := os.ReadFile(path)
		must(t, err)
		fmt.Fprintf(&b, " %q", data)
	}
	return b.String()
}
