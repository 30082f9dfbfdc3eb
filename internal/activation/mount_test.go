package activation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/record"
)

func TestLife(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		before := time.Now()
		h.mustMount()
		h.wantWrittenDown(before)
		for name, want := range map[string]string{
			"left4dead2/shared.txt":     "installation",
			"left4dead2/mod.txt":        "mod",
			"left4dead2/cfg/server.cfg": "hostname \"a\"\n",
		} {
			if got, err := os.ReadFile(h.merged(name)); string(got) != want {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		must(t, os.WriteFile(h.merged("left4dead2/shared.txt"), []byte("mine"), 0o644))
		h.mustUnmount()

		if got, _ := os.ReadFile(h.upper("left4dead2/shared.txt")); string(got) != "mine" {
			t.Errorf("the change is not in upper: %q", got)
		}
		if got, _ := os.ReadFile(filepath.Join(h.Layout.Installation(), "left4dead2/shared.txt")); string(got) != "installation" {
			t.Errorf("the installation was changed: %q", got)
		}
		if _, err := os.Lstat(filepath.Join(h.Layout.Work("a"), "work")); !errors.Is(err, fs.ErrNotExist) {
			t.Error("work/work is left after a clean unmount: the next mount takes the slow path")
		}
		h.mustMount()
		if got, _ := os.ReadFile(h.merged("left4dead2/shared.txt")); string(got) != "mine" {
			t.Errorf("the change is lost: %q", got)
		}
		h.mustUnmount()
		h.mustUnmount() // nothing mounted is success
	})
}

// wantWrittenDown fails the test unless the record is of the present files, and
// of a mount after before.
func (h *host) wantWrittenDown(before time.Time) {
	h.t.Helper()
	r, err := record.ReadStart(h.Layout, "a")
	must(h.t, err)
	env, err := instance.ReadEnv(h.Layout, "a")
	must(h.t, err)
	config, err := os.ReadFile(h.Layout.ServerConfig("a"))
	must(h.t, err)
	want := record.Start{At: r.At, Env: env, ServerConfig: config}
	names, err := chain.Expand(h.Layout, env.Lowers)
	must(h.t, err)
	for _, lower := range names {
		var st unix.Stat_t
		must(h.t, unix.Stat(filepath.Join(h.Layout.Root(), lower), &st))
		want.Layers = append(want.Layers, record.Layer{Name: lower, Directory: record.Directory{Dev: st.Dev, Ino: st.Ino}})
	}
	if !reflect.DeepEqual(r, want) || r.At.Before(before) || r.At.After(time.Now()) {
		h.t.Errorf("written down: %+v\nwant %+v, after %v", r, want, before)
	}
}

// The server does not need the record.
func TestMountWithoutRecord(t *testing.T) {
	h := newHost(t)
	must(t, os.MkdirAll(filepath.Join(h.Layout.Started("a"), "in the way"), 0o755))
	h.mustMount()
	defer h.mustUnmount()
	if !strings.Contains(h.said.String(), "<4>"+h.Layout.Started("a")+" is not written") {
		t.Errorf("no warning:\n%s", h.said)
	}
}

func TestOwnersAndModes(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	defer h.mustUnmount()
	for path, want := range map[string]struct {
		uid, gid uint32
		mode     fs.FileMode
	}{
		h.Layout.Runtime("a"):                 {0, gameGID, fs.ModeDir | 0o750},
		h.Layout.Upper("a"):                   {gameUID, gameGID, fs.ModeDir | 0o750},
		h.Layout.Merged("a"):                  {gameUID, gameGID, fs.ModeDir | 0o750},
		h.Layout.Work("a"):                    {0, 0, fs.ModeDir | 0o700},
		h.Layout.Lock("a"):                    {0, 0, 0o600},
		h.Layout.Started("a"):                 {0, gameGID, 0o640},
		h.merged("left4dead2/cfg/server.cfg"): {0, gameGID, 0o640},
		h.merged("left4dead2/cfg"):            {gameUID, gameGID, fs.ModeDir | 0o755},
	} {
		fi, err := os.Lstat(path)
		must(t, err)
		st := fi.Sys().(*syscall.Stat_t)
		if st.Uid != want.uid || st.Gid != want.gid || fi.Mode() != want.mode {
			t.Errorf("%s: %d:%d %v, want %d:%d %v", path, st.Uid, st.Gid, fi.Mode(), want.uid, want.gid, want.mode)
		}
	}
	var st unix.Statfs_t
	must(t, unix.Statfs(h.Layout.Merged("a"), &st))
	if st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 {
		t.Errorf("mount flags %#x lack nosuid or nodev", st.Flags)
	}
}

func TestMissingConfigDirectories(t *testing.T) {
	h := newHost(t)
	must(t, os.RemoveAll(filepath.Join(h.Layout.Installation(), "left4dead2")))
	must(t, os.RemoveAll(filepath.Join(h.Layout.Overlay("mod"), "left4dead2")))
	h.mustMount()
	defer h.mustUnmount()
	var st unix.Stat_t
	must(t, unix.Stat(h.merged("left4dead2/cfg"), &st))
	if st.Uid != gameUID || st.Gid != gameGID {
		t.Errorf("left4dead2/cfg belongs to %d:%d, want the owner of its parent", st.Uid, st.Gid)
	}
}

func TestManyLayers(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		var names []string
		for i := range instance.MaxLayers - 1 {
			name := fmt.Sprintf("%03d-%s", i, strings.Repeat("x", 59))
			must(t, os.MkdirAll(h.Layout.Overlay(instance.Name(name)), 0o755))
			names = append(names, name)
		}
		top := filepath.Join(h.Layout.Overlay(instance.Name(names[0])), "which")
		must(t, os.WriteFile(top, []byte("top"), 0o644))
		must(t, os.WriteFile(filepath.Join(h.Layout.Overlay(instance.Name(names[1])), "which"), []byte("second"), 0o644))
		h.configure(names...)
		h.mustMount()
		if got, _ := os.ReadFile(h.merged("which")); string(got) != "top" {
			t.Errorf("the first layer named is not the topmost: %q", got)
		}
		h.mustUnmount()
	})
}

func TestLayerLink(t *testing.T) {
	h := newHost(t)
	must(t, os.Symlink("mod", h.Layout.Overlay("current")))
	h.configure("current")
	h.mustMount()
	h.mustUnmount()
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(h *host)
		want  []string
		hint  string
	}{
		"unknown instance": {
			func(h *host) { must(h.t, os.RemoveAll(h.Layout.Instance("a"))) },
			[]string{"instances/a", "no such instance"}, "l4d2ctl init a",
		},
		"layer missing": {
			func(h *host) { h.configure("mod", "gone") },
			[]string{"layer 2 (", "/overlays/gone): no such directory"}, "l4d2ctl init",
		},
		"layer is a file": {
			func(h *host) { h.write(h.Layout.Overlay("file"), ""); h.configure("file") },
			[]string{"layer 1 (", "/overlays/file): not a directory"}, "",
		},
		"layer leads out": {
			func(h *host) { must(h.t, os.Symlink("/etc", h.Layout.Overlay("out"))); h.configure("out") },
			[]string{"/overlays/out): a symbolic link that leaves the overlays directory"}, "bind-mount",
		},
		"layer leads up": {
			func(h *host) {
				must(h.t, os.Symlink("../installation", h.Layout.Overlay("up")))
				h.configure("up")
			},
			[]string{"/overlays/up): a symbolic link that leaves the overlays directory"}, "bind-mount",
		},
		"layer twice": {
			func(h *host) {
				must(h.t, os.Symlink("mod", h.Layout.Overlay("same")))
				h.configure("mod", "same")
			},
			[]string{"layer 2 (", "the same directory as layer 1"}, "",
		},
		"installation missing": {
			func(h *host) { must(h.t, os.RemoveAll(h.Layout.Installation())) },
			[]string{"installation): no such directory"}, "",
		},
		"installation empty": {
			func(h *host) { must(h.t, os.Remove(filepath.Join(h.Layout.Installation(), layers.ServerBinary))) },
			[]string{"there is no game in", "srcds_linux"}, "steamcmd",
		},
		"ambiguous environment": {
			func(h *host) { h.write(h.Layout.Env("a"), "export L4D2_PORT=1\n") },
			[]string{"instance.env:1:"}, "l4d2ctl init a",
		},
		"server.cfg missing": {
			func(h *host) { must(h.t, os.Remove(h.Layout.ServerConfig("a"))) },
			[]string{"instances/a/server.cfg", "no such file"}, "",
		},
		"runtime directory of the game's user": {
			func(h *host) {
				must(h.t, os.Mkdir(h.Layout.Runtime("a"), 0o755))
				must(h.t, os.Chown(h.Layout.Runtime("a"), gameUID, gameGID))
			},
			[]string{"runtime/a: others than root can write it"}, "chown root",
		},
		"runtime directory is a link": {
			func(h *host) { must(h.t, os.Symlink("/tmp", h.Layout.Runtime("a"))) },
			[]string{"runtime/a", "too many levels of symbolic links"}, "",
		},
		"upper is a link": {
			func(h *host) {
				must(h.t, os.Mkdir(h.Layout.Runtime("a"), 0o755))
				must(h.t, os.Symlink("/tmp", h.Layout.Upper("a")))
			},
			[]string{`open "upper": it is a symbolic link`}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			tt.spoil(h)
			err := h.Mount()
			wantError(t, err, tt.want...)
			if hint := advice.For(err); !strings.Contains(hint, tt.hint) {
				t.Errorf("hint %q lacks %q", hint, tt.hint)
			}
			if h.mounts() != 0 {
				t.Error("something is mounted after the refusal")
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	h := newHost(t)
	for _, kind := range []int{unix.SOCK_DGRAM, unix.SOCK_STREAM} {
		fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		must(t, unix.Bind(fd, &unix.SockaddrInet4{Port: 27915, Addr: [4]byte{127, 0, 0, 1}}))
		if kind == unix.SOCK_STREAM {
			must(t, unix.Listen(fd, 1))
		}
		err = h.Mount()
		wantError(t, err, "port 27915/", "in use by another program")
		if !strings.Contains(advice.For(err), "ss -lnp") {
			t.Errorf("hint %q", advice.For(err))
		}
		h.wantFree()
		unix.Close(fd)
	}
	h.mustMount()
	h.mustUnmount()
}

func TestOverlap(t *testing.T) {
	for name, plant := range map[string]func(h *host){
		"a layer that contains upper": func(h *host) { bindAt(h, h.Layout.Root(), h.Layout.Overlay("bad")) },
		"a layer inside upper": func(h *host) {
			must(h.t, os.MkdirAll(h.upper("inner"), 0o755))
			bindAt(h, h.upper("inner"), h.Layout.Overlay("bad"))
		},
		"upper itself": func(h *host) { bindAt(h, h.Layout.Upper("a"), h.Layout.Overlay("bad")) },
		"merged":       func(h *host) { bindAt(h, h.Layout.Merged("a"), h.Layout.Overlay("bad")) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.mustMount()
			h.mustUnmount()
			plant(h)
			h.configure("mod", "bad")
			err := h.Mount()
			if name == "a layer inside upper" {
				// A bind mount hides from its ".." where the directory lies;
				// the kernel still sees it.
				wantError(t, err, "overlapping lowerdir path")
				h.wantFree()
				return
			}
			wantError(t, err, "layer 2 (", "the instance's own upper, work or merged directory")
			h.wantFree()
		})
	}
}

func bindMount(from, to string) error { return unix.Mount(from, to, "", unix.MS_BIND, "") }

func bindAt(h *host, from, to string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(to, 0o755))
	must(h.t, bindMount(from, to))
	h.t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}

func TestReadOnlyResultRefused(t *testing.T) {
	h := newHost(t)
	h.mustMount()
	h.mustUnmount()
	// What the kernel can't clean makes it mount read-only: an immutable file
	// where it wants its own directory.
	work := filepath.Join(h.Layout.Work("a"), "work")
	must(t, os.WriteFile(work, nil, 0o600))
	immutable(t, work, true)
	defer immutable(t, work, false)
	err := h.Mount()
	wantError(t, err, "empty ", "immutable")
	h.wantFree()
	// And should the check ever miss it, the result of the mount itself is.
	must(t, os.MkdirAll(h.Layout.Work("a"), 0o700))
	dir, err := h.openRuntime(false)
	must(t, err)
	env, err := instance.ReadEnv(h.Layout, "a")
	must(t, err)
	s, err := h.openStack(dir, env, true)
	must(t, err)
	defer s.close()
	_, err = s.Mount(h.target(dir), overlay.Auto)
	wantError(t, err, "read-only")
	h.wantFree()
}

func immutable(t *testing.T, path string, on bool) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	flags &^= fsImmutable
	if on {
		flags |= fsImmutable
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
}

const fsImmutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
