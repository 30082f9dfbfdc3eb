package holder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"golang.org/x/sys/unix"
)

// Each way to hold a mount makes its unmount busy, is named, and the mount is
// free once the holder has ended.
func TestKinds(t *testing.T) {
	for _, tt := range []struct{ kind, name string }{
		{Cwd, "sub"}, {Root, "sub"}, {File, "file"}, {Mapping, "file"}, {Exe, "program"}, {Socket, "sock"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			p := newPlace(t)
			path, program := p.path(tt.name), ""
			if tt.kind == Exe {
				program = path
				self, err := os.ReadFile("/proc/self/exe")
				must(t, err)
				must(t, os.WriteFile(path, self, 0o755))
			}
			cmd := p.start(tt.kind, path, program, syscall.SysProcAttr{})
			if err := unix.Unmount(p.dir, 0); !errors.Is(err, unix.EBUSY) {
				t.Errorf("the kernel holds nothing: %v", err)
			}
			h := p.one()
			if h.PID != cmd.Process.Pid || h.What != tt.kind || h.Path != path || h.Foreign || h.Command == "" {
				t.Errorf("%+v, want pid %d, %s %s", h, cmd.Process.Pid, tt.kind, path)
			}
			if h.UID != 0 || h.User != "root" {
				t.Errorf("user %d %q", h.UID, h.User)
			}
			if own := readUnit(t, cmd.Process.Pid); h.Unit != own {
				t.Errorf("unit %q, want %q", h.Unit, own)
			}
			end(cmd)
			if left := p.find(); len(left) != 0 {
				t.Errorf("afterwards: %v", left)
			}
			must(t, unix.Unmount(p.dir, 0))
		})
	}
}

func readUnit(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	must(t, err)
	return unit(string(text))
}

func TestUser(t *testing.T) {
	p := newPlace(t)
	must(t, os.Chmod(filepath.Join(p.dir, "../.."), 0o755)) // the test's own directory
	for uid, want := range map[uint32]string{61_234: "uid 61234", 65_534: `user "nobody"`} {
		cmd := exec.Command("sleep", "600")
		cmd.Dir = p.dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		must(t, cmd.Start())
		t.Cleanup(func() { end(cmd) })
		if h := p.one(); h.UID != uid || !strings.Contains(h.String(), want) {
			t.Errorf("%v, want %s", h, want)
		}
		end(cmd)
	}
}

func TestNestedMount(t *testing.T) {
	p := newPlace(t)
	must(t, unix.Mount("x", p.path("sub"), "tmpfs", 0, ""))
	defer unix.Unmount(p.path("sub"), unix.MNT_DETACH)
	h := p.one()
	if want := `a mount at "` + p.path("sub") + `"`; h.PID != 0 || h.String() != want {
		t.Errorf("%v, want %s", h, want)
	}
}

// A copy of the mount in a service's own namespace has another mount ID.
func TestOtherNamespace(t *testing.T) {
	p := newPlace(t)
	cmd := p.start(Cwd, p.path("sub"), "", syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	h := p.one()
	if h.PID != cmd.Process.Pid || !h.Foreign || !strings.HasSuffix(h.String(), "in another mount namespace") {
		t.Errorf("%v", h)
	}
}

// A mount that was lazily detached is no longer in mountinfo.
func TestDetached(t *testing.T) {
	p := newPlace(t)
	cmd := p.start(File, p.path("file"), "", syscall.SysProcAttr{})
	must(t, unix.Unmount(p.dir, unix.MNT_DETACH))
	if h := p.one(); h.PID != cmd.Process.Pid || h.What != File {
		t.Errorf("%v", h)
	}
}

func TestLoopDevice(t *testing.T) {
	p := newPlace(t)
	must(t, os.WriteFile(p.path("image"), make([]byte, 1<<20), 0o600))
	loop, release := attach(t, p.path("image"))
	defer release()
	if err := unix.Unmount(p.dir, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the kernel holds nothing: %v", err)
	}
	h := p.one()
	if want := "a loop device " + loop + ` at "` + p.path("image") + `"`; h.PID != 0 || h.String() != want {
		t.Errorf("%v, want %s", h, want)
	}
	release()
	if left := p.find(); len(left) != 0 {
		t.Errorf("afterwards: %v", left)
	}
}

// attach puts a loop device on the file.
func attach(t *testing.T, file string) (device string, release func()) {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(control)
	backing, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(backing)
	for range 20 { // another process may take the free one first
		number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		must(t, err)
		device = fmt.Sprintf("/dev/loop%d", number)
		loop, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		err = unix.IoctlSetInt(loop, unix.LOOP_SET_FD, backing)
		if err == nil {
			done := false
			release = func() {
				if !done {
					done = true
					unix.IoctlSetInt(loop, unix.LOOP_CLR_FD, 0)
					unix.Close(loop)
				}
			}
			t.Cleanup(release)
			return device, release
		}
		unix.Close(loop)
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
	}
	t.Fatal("no free loop device")
	return "", nil
}

// Our own socket is no other process's, but the mount is held all the same.
func TestOwnSocket(t *testing.T) {
	p := newPlace(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: p.path("own")}))
	if h := p.one(); h.String() != `a socket at "`+p.path("own")+`"` {
		t.Errorf("%v", h)
	}
}

// What is beside the mount, or only looks like it by its path, holds nothing.
func TestNeighboursHoldNothing(t *testing.T) {
	p := newPlace(t)
	beside := p.dir + "-beside"
	must(t, os.MkdirAll(beside, 0o755))
	must(t, os.WriteFile(beside+"/image", make([]byte, 1<<20), 0o600))
	attach(t, beside+"/image")
	p.start(Cwd, beside, "", syscall.SysProcAttr{})
	p.start(Socket, beside+"/sock", "", syscall.SysProcAttr{})
	// Under the mount point, from before the mount.
	must(t, unix.Unmount(p.dir, 0))
	p.start(Socket, p.path("hidden"), "", syscall.SysProcAttr{})
	must(t, unix.Mount("x", p.dir, "tmpfs", 0, ""))
	var st unix.Statx_t
	must(t, unix.Statx(unix.AT_FDCWD, p.dir, 0, unix.STATX_MNT_ID, &st))
	p.mount = Mount{ID: st.Mnt_id, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor)}
	if found := p.find(); len(found) != 0 {
		t.Errorf("%v", found)
	}
}

// A holder chooses its name and that of the file: neither can forge a line of
// the journal or reach a terminal as an escape.
func TestNamesAreQuoted(t *testing.T) {
	p := newPlace(t)
	dir := p.path("x\n<0>forged\x1b[31m\u202e\u2066\xff")
	must(t, os.Mkdir(dir, 0o755))
	p.start("comm", dir, "", syscall.SysProcAttr{})
	must(t, unix.Mount("x", dir, "tmpfs", 0, ""))
	defer unix.Unmount(dir, unix.MNT_DETACH)
	holders := p.find()
	if len(holders) != 2 {
		t.Fatalf("%v, want a process and a mount", holders)
	}
	for _, h := range holders {
		if strings.ContainsFunc(h.String(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("raw: %q", h.String())
		}
		if !strings.Contains(h.String(), `x\n<0>forged\x1b[31m\u202e\u2066\xff`) {
			t.Errorf("unnamed: %s", h)
		}
	}
	if want := `("\x1b]0;x\n<0>\u202e",`; !strings.Contains(fmt.Sprint(holders), want) {
		t.Errorf("%v lack %s", holders, want)
	}
}
