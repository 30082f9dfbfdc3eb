package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAuto(t *testing.T) {
	want := Classic
	if has(t, FSContext) {
		want = FSContext
	}
	p := newPlace(t, "a")
	m := p.mount(Auto)
	if m.Method != want {
		t.Errorf("Auto mounts by %s, want %s", m.Method, want)
	}
	t.Logf("Auto chose %s", m.Method)
}

func TestNames(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		for _, name := range []string{
			"a:b", "a,b", `a\b`, `a\:b\\`, `\`, ":", ",", "a b", " ", "a\nb", "a\tb", "a=b", "a#b", `"`, "\x01\xff",
			"lowerdir=x,upperdir=y", "a\\,b", strings.Repeat("x", 255), strings.Repeat(`:`, 255), "ü",
		} {
			t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) {
				p := newPlace(t, name, name[:len(name)-1]+"z")
				p.mount(method)
				p.wantFile(p.merged("which"), name)
				must(t, os.WriteFile(p.merged("new"), []byte("new"), 0o600))
				p.wantFile(filepath.Join(p.upper, "new"), "new")
				o, err := p.target.Occupant()
				must(t, err)
				if o == nil || !o.IsOverlay(source) {
					t.Errorf("at the target is %v", o)
				}
				p.unmount()
				p.wantFree()
			})
		}
	})
}

// With long names, one overlay of many layers could be a line of mountinfo that
// most readers choke on (64 KiB).
func TestNumberOfLayers(t *testing.T) {
	for _, n := range []int{1, 2, 10, 400, MaxLowers} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			names := layerNames(n, 255)
			p := newPlace(t, names...)
			eachMethod(t, func(t *testing.T, method Method) {
				p.mount(method)
				p.wantFile(p.merged("which"), names[0])
				for _, i := range []int{0, n / 2, n - 1} {
					p.wantFile(p.merged("only-"+names[i][:200]), names[i])
				}
				if line := len(mountLine(t, p.target.Path)); line > 500+16*n {
					t.Errorf("%d bytes in mountinfo", line)
				}
				o, err := p.target.Occupant()
				must(t, err)
				if o == nil || !o.IsOverlay(source) {
					t.Errorf("at the target is %v", o)
				}
				p.unmount()
			})
		})
	}
}

func TestTooManyLayers(t *testing.T) {
	p := newPlace(t, "a")
	few := p.stack()
	many := few
	many.Lowers = nil
	for _, name := range layerNames(MaxLowers+1, 3) {
		dir := filepath.Join(p.dir, "many", name)
		must(t, os.MkdirAll(dir, 0o755))
		many.Lowers = append(many.Lowers, Lower{open(t, dir), Unknown})
	}
	few.Lowers = nil
	for _, method := range []Method{Auto, FSContext, Classic} {
		_, err := many.Mount(p.target, method)
		wantError(t, err, "501 layers", "500")
		_, err = few.Mount(p.target, method)
		wantError(t, err, "0 layers")
	}
	p.wantFree()
	// The number is the kernel's, not ours alone: it refuses more.
	if _, err := many.classic(p.target); err == nil || errors.Is(err, unix.E2BIG) {
		t.Errorf("501 layers with mount(2): %v", err)
	}
	if _, err := many.fsContext(p.target); err == nil {
		t.Error("fsopen(2) takes 501 layers")
	}
	p.wantFree()
}

// mount(2) cuts a longer string silently.
func TestDataTooLong(t *testing.T) {
	p := newPlace(t, "a")
	s := p.stack()
	for range maxData/4 + 1 { // descriptor numbers of three digits, and a colon
		s.Lowers = append(s.Lowers, Lower{100, Unknown})
	}
	_, err := s.classic(p.target)
	if !errors.Is(err, unix.E2BIG) {
		t.Errorf("%v, want E2BIG", err)
	}
}

// With fsopen, nothing is seen before Attach; with mount(2), Abandon takes away
// what is.
func TestAttachAndAbandon(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		m, err := p.stack().Mount(p.target, method)
		must(t, err)
		o, err := p.target.Occupant()
		must(t, err)
		if visible := o != nil; visible != (method == Classic) {
			t.Errorf("before Attach, visible is %t", visible)
		}
		fd, err := unix.Openat(m.Root, "which", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(fd)
		must(t, m.Abandon())
		must(t, m.Abandon())
		p.wantFree()

		m, err = p.stack().Mount(p.target, method)
		must(t, err)
		must(t, m.Attach())
		p.wantFile(p.merged("which"), "a")
		must(t, m.Abandon())
		p.wantFree()
	})
}

func TestOccupiedTargetRefused(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		must(t, unix.Mount("x", p.target.Path, "tmpfs", 0, ""))
		m, err := p.stack().Mount(p.target, method)
		if err == nil {
			err = m.Attach()
		}
		wantError(t, err, "something is mounted there")
		p.unmount()
		p.wantFree()
	})
}

func TestFlags(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		must(t, unix.Mknod(filepath.Join(p.lowers[0], "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		p.mount(method)
		var st unix.Statfs_t
		must(t, unix.Statfs(p.target.Path, &st))
		if st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 || st.Flags&unix.ST_RDONLY != 0 {
			t.Errorf("mount flags %#x", st.Flags)
		}
		if _, err := os.ReadFile(p.merged("null")); !errors.Is(err, unix.EACCES) {
			t.Errorf("a device opens: %v", err)
		}
	})
}

// What the kernel cannot clean in the work directory makes it mount read-only
// and report success.
func TestReadOnlyResult(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		file := filepath.Join(p.work, "work")
		must(t, os.WriteFile(file, nil, 0o600))
		f, err := os.Open(file)
		must(t, err)
		defer f.Close()
		const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
		must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, immutable))
		defer unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0)
		_, err = p.stack().Mount(p.target, method)
		wantError(t, err, "read-only", "work directory")
		p.wantFree()
	})
}

// Whatever a distribution sets as the defaults of the kernel module.
func TestOptions(t *testing.T) {
	eachMethod(t, func(t *testing.T, method Method) {
		p := newPlace(t, "a")
		must(t, os.MkdirAll(filepath.Join(p.lowers[0], "dir"), 0o755))
		p.mount(method)
		shown := superOptions(t, p.target.Path)
		for name, want := range map[string]string{
			"index": "off", "metacopy": "off", "redirect_dir": "nofollow", "nfs_export": "off", "xino": "off",
		} {
			// The kernel shows what differs from its default, but xino only
			// where the layers are on several file systems.
			got, found := shown[name]
			if found && got != want {
				t.Errorf("the mount shows %s=%s, want %s", name, got, want)
			}
			if found || name == "xino" {
				continue
			}
			parameter, err := os.ReadFile("/sys/module/overlay/parameters/" + name)
			must(t, err)
			if strings.TrimSpace(string(parameter)) == "Y" {
				t.Errorf("the default for %s is on, and the mount does not show %s", name, want)
			}
		}
		for _, o := range []string{"volatile", "userxattr", "ro"} {
			if _, found := shown[o]; found {
				t.Errorf("the mount shows %s", o)
			}
		}
		// And in deed.
		if err := os.Rename(p.merged("dir"), p.merged("moved")); !errors.Is(err, unix.EXDEV) {
			t.Errorf("renaming a lower directory: %v, want EXDEV", err)
		}
		must(t, os.Chmod(p.merged("which"), 0o600))
		p.wantFile(filepath.Join(p.upper, "which"), "a")
		if _, err := os.Lstat(filepath.Join(p.work, "index")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("work/index: %v, want none", err)
		}
		if n, err := unix.Lgetxattr(filepath.Join(p.upper, "which"), "trusted.overlay.metacopy", nil); err == nil {
			t.Errorf("a copied-up file has the attribute metacopy (%d bytes)", n)
		}
	})
}

// mountLine returns the last line of mountinfo about path.
func mountLine(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	must(t, err)
	found := ""
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, " "+path+" ") {
			found = strings.TrimSuffix(line, "\n")
		}
	}
	if found == "" {
		t.Fatalf("%s is not in mountinfo", path)
	}
	return found
}

// superOptions returns the options of the file system mounted at path.
func superOptions(t *testing.T, path string) map[string]string {
	t.Helper()
	_, after, _ := strings.Cut(mountLine(t, path), " - ")
	options := map[string]string{}
	for o := range strings.SplitSeq(strings.Split(after, " ")[2], ",") {
		key, value, _ := strings.Cut(o, "=")
		options[key] = value
	}
	return options
}
