package activation

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/privatens"
)

// sitIn starts a process with its working directory in dir.
func sitIn(t *testing.T, dir string, attr *syscall.SysProcAttr) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if attr != nil {
		cmd.SysProcAttr = attr
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	must(t, cmd.Start())
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func pid(cmd *exec.Cmd) string { return "pid " + strconv.Itoa(cmd.Process.Pid) + " " }

func TestIdleLeftOverHeals(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		h.mustMount()
		must(t, os.WriteFile(h.merged("left4dead2/note"), []byte("kept"), 0o644))
		h.mustMount()
		if n := h.mounts(); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		if !strings.Contains(h.said.String(), "<4>unmounted "+h.Layout.Merged("a")+", left over from an earlier run") {
			t.Errorf("the left-over is not spoken of:\n%s", h.said)
		}
		if got, _ := os.ReadFile(h.merged("left4dead2/note")); string(got) != "kept" {
			t.Errorf("upper lost a file: %q", got)
		}
		h.mustUnmount()
	})
}

func TestBusyLeftOverRefused(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	shell := sitIn(t, h.merged("left4dead2"), nil)
	err := h.Mount()
	wantError(t, err, "still mounted from an earlier run, and in use", pid(shell), `"sleep"`, "cwd", h.merged("left4dead2"))
	if h.mounts() != 1 {
		t.Errorf("%d overlays are mounted", h.mounts())
	}
	end(shell)
	h.mustMount()
	h.mustUnmount()
}

func TestBusyUnmountNamesHolder(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	for name, hold := range map[string]func(t *testing.T) (want []string, release func()){
		"cwd": func(t *testing.T) ([]string, func()) {
			c := sitIn(t, h.merged(""), nil)
			return []string{pid(c), `cwd "` + h.Layout.Merged("a")}, func() { end(c) }
		},
		"open file": func(t *testing.T) ([]string, func()) {
			c := exec.Command("sh", "-c", "exec 7<left4dead2/mod.txt; cd /; echo; exec sleep 600")
			c.Dir = h.merged("")
			out, err := c.StdoutPipe()
			must(t, err)
			must(t, c.Start())
			_, err = out.Read(make([]byte, 1))
			must(t, err)
			return []string{pid(c), "file", "left4dead2/mod.txt"}, func() { end(c) }
		},
		"nested mount": func(t *testing.T) ([]string, func()) {
			must(t, unix.Mount("tmpfs", h.merged("left4dead2/cfg"), "tmpfs", 0, ""))
			return []string{`a mount at "` + h.merged("left4dead2/cfg")}, func() {
				must(t, unix.Unmount(h.merged("left4dead2/cfg"), 0))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			want, release := hold(t)
			err := h.Unmount()
			if !errors.Is(err, overlay.ErrBusy) {
				t.Errorf("error %v, want ErrBusy", err)
			}
			wantError(t, err, append(want, "held by")...)
			if h.mounts() != 1 {
				t.Errorf("%d overlays are mounted", h.mounts())
			}
			release()
		})
	}
	h.mustUnmount()
}

func TestForeignMountLeftAlone(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	must(t, unix.Mount("someone", h.Layout.Merged("a"), "tmpfs", 0, ""))
	for _, f := range []func() error{h.Mount, h.Unmount} {
		err := f()
		wantError(t, err, `"someone" (tmpfs) is mounted at `+h.Layout.Merged("a"), "not the overlay of instance a")
		if !strings.Contains(advice.For(err), "umount "+h.Layout.Merged("a")) {
			t.Errorf("hint %q", advice.For(err))
		}
		if h.mounts() != 1 {
			t.Fatalf("%d mounts are left", h.mounts())
		}
	}
	must(t, unix.Unmount(h.Layout.Merged("a"), 0))
	h.mustMount()
	// On top of ours it hides ours: nothing is touched.
	must(t, unix.Mount("someone", h.Layout.Merged("a"), "tmpfs", 0, ""))
	wantError(t, h.Unmount(), "not the overlay of instance a")
	if h.mounts() != 2 {
		t.Errorf("%d mounts are left", h.mounts())
	}
	must(t, unix.Unmount(h.Layout.Merged("a"), 0))
	h.mustUnmount()
}

// Another instance's overlay is as foreign as anything else.
func TestOtherInstanceIsForeign(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	other := *h.Activation
	other.Name = "b"
	must(t, os.Rename(h.Layout.Instance("a"), h.Layout.Instance("b")))
	must(t, os.MkdirAll(h.Layout.Merged("b"), 0o700))
	must(t, bindMount(h.Layout.Merged("a"), h.Layout.Merged("b")))
	defer unix.Unmount(h.Layout.Merged("b"), unix.MNT_DETACH)
	wantError(t, other.Unmount(), `"l4d2:a" (overlay) is mounted at`)
	must(t, unix.Unmount(h.Layout.Merged("b"), 0))
	h.mustUnmount()
}

// An overlay that was lazily detached goes on writing to upper. The next start
// must not put a second one on the same upper.
func TestDetachedOverlayRefused(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		h.mustMount()
		shell := sitIn(t, h.merged(""), nil)
		must(t, unix.Unmount(h.Layout.Merged("a"), unix.MNT_DETACH))
		must(t, h.Unmount())
		err := h.Mount()
		wantError(t, err, h.Layout.Upper("a"), "in use by another overlay")
		h.wantFree()
		end(shell)
		h.mustMount()
		h.mustUnmount()
	})
}

// A service started while the instance ran has a copy of the mount in its own
// mount namespace; the copy must not outlive the instance.
func TestCopyInOtherNamespace(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	sitIn(t, "/", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
	h.mustUnmount()
	if strings.Contains(h.said.String(), "lives on elsewhere") {
		t.Errorf("the copy survived:\n%s", h.said)
	}
	h.mustMount()
	h.mustUnmount()
}

// Unless someone works in that copy: then it lives on, the unmount says who it
// is, and the next mount is refused while it does.
func TestUsedCopyInOtherNamespace(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	user := exec.Command("sh", "-c", "cd "+h.merged("left4dead2")+"; echo; exec sleep 600")
	user.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := user.StdoutPipe()
	must(t, err)
	must(t, user.Start())
	defer end(user)
	_, err = out.Read(make([]byte, 1))
	must(t, err)

	h.mustUnmount()
	for _, want := range []string{"lives on elsewhere", pid(user), "in another mount namespace"} {
		if !strings.Contains(h.said.String(), want) {
			t.Errorf("said nothing of %q:\n%s", want, h.said)
		}
	}
	wantError(t, h.Mount(), "in use by another overlay")
	end(user)
	h.mustMount()
	h.mustUnmount()
}

// A start that is refused late must not leave the overlay mounted.
func TestFailureAfterMountUnmounts(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		must(t, os.MkdirAll(filepath.Join(h.Layout.Overlay("mod"), "left4dead2/cfg/server.cfg/sub"), 0o755))
		err := h.Mount()
		wantError(t, err, "copy server.cfg", "left4dead2/cfg", "is a directory")
		h.wantFree()
		must(t, os.RemoveAll(filepath.Join(h.Layout.Overlay("mod"), "left4dead2/cfg/server.cfg")))
		h.mustMount()
		h.mustUnmount()
	})
}

func TestFilesUnderTheMountPointKept(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	note := h.merged("note")
	must(t, os.WriteFile(note, []byte("mine"), 0o600))
	h.mustMount()
	must(t, h.Unmount())
	if !strings.Contains(h.said.String(), "is not empty although nothing is mounted there") {
		t.Errorf("the file is not spoken of:\n%s", h.said)
	}
	if got, err := os.ReadFile(note); string(got) != "mine" {
		t.Errorf("%q, %v", got, err)
	}
}

// Debris of a crashed kernel or an older tool in work/work must not turn the
// mount read-only.
func TestDeepWorkDirectoryEmptied(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	must(t, os.MkdirAll(filepath.Join(h.Layout.Work("a"), "work/1/2/3/4/5"), 0o755))
	h.mustMount()
	h.mustUnmount()
}

// Two runs at once: one mounts, the other waits and then finds a left-over
// that it replaces; never two overlays.
func TestTwoAtOnce(t *testing.T) {
	h := newHost(t)
	done := make(chan error, 8)
	for range cap(done) {
		a := *h.Activation
		a.Log = journal.New(io.Discard, false)
		go func() {
			privatens.LockThread()
			done <- a.Mount()
		}()
	}
	for range cap(done) {
		must(t, <-done)
	}
	if n := h.mounts(); n != 1 {
		t.Errorf("%d overlays are mounted", n)
	}
	h.mustUnmount()
}

// The mount point is made anew for the sake of copies of the mount alone, see
// TestCopyInOtherNamespace.
func TestMountPointStays(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	var before, after unix.Stat_t
	must(t, unix.Stat(h.Layout.Merged("a"), &before))
	keep, err := os.Open(h.Layout.Merged("a")) // so that the number is not given again
	must(t, err)
	defer keep.Close()
	h.mustMount()
	h.mustUnmount()
	must(t, unix.Stat(h.Layout.Merged("a"), &after))
	if before.Ino != after.Ino {
		t.Errorf("inode %d is now %d", before.Ino, after.Ino)
	}
}
