package activation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

// gameUID and gameGID stand for the game's user; the tests need no such user.
const gameUID, gameGID = 61_234, 61_235

// host is a root directory with one instance, "a", on one layer.
type host struct {
	*Activation
	t    testing.TB
	said *strings.Builder
}

// eachMethod runs f with both ways to mount. On a kernel that lacks one, it
// makes sure instead that Auto does the same by the other.
func eachMethod(t *testing.T, f func(t *testing.T, h *host)) {
	for _, method := range []overlay.Method{overlay.FSContext, overlay.Classic} {
		t.Run(method.String(), func(t *testing.T) {
			probe := newHost(t)
			probe.Method = method
			err := probe.Mount()
			if errors.Is(err, overlay.ErrMethod) {
				if method == overlay.Classic {
					t.Fatalf("every kernel has mount(2): %v", err)
				}
				probe.wantFree()
				probe.Method = overlay.Auto
				probe.mustMount()
				probe.mustUnmount()
				if !strings.Contains(probe.said.String(), "layers, by "+overlay.Classic.String()+"\n") {
					t.Fatalf("Auto did not fall back to %s:\n%s", overlay.Classic, probe.said)
				}
				t.Logf("no %s in this kernel: Auto fell back to %s", method, overlay.Classic)
				return
			}
			must(t, err)
			probe.mustUnmount()

			h := newHost(t)
			h.Method = method
			f(t, h)
		})
	}
}

func newHost(t testing.TB) *host {
	t.Helper()
	privatens.Need(t)
	privatens.LockThread()
	layout, err := instance.NewLayout(filepath.Join(t.TempDir(), "root"))
	must(t, err)
	h := &host{t: t, said: new(strings.Builder)}
	h.Activation = &Activation{
		Layout: layout, Name: "a", Owner: Owner{gameUID, gameGID},
		Log: journal.New(h.said, true),
	}
	must(t, os.MkdirAll(layout.RuntimeDir(), 0o755))
	must(t, os.MkdirAll(layout.Instances(), 0o750))
	h.game(layout.Installation())
	h.layer("mod")
	h.configure("mod")
	t.Cleanup(func() {
		for unix.Unmount(layout.Merged("a"), unix.MNT_DETACH) == nil {
		}
	})
	return h
}

// game lays down what counts as a game, owned by the game's user.
func (h *host) game(dir string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(filepath.Join(dir, "left4dead2/cfg"), 0o755))
	must(h.t, os.WriteFile(filepath.Join(dir, layers.ServerBinary), []byte("#!"), 0o755))
	must(h.t, os.WriteFile(filepath.Join(dir, "left4dead2/shared.txt"), []byte("installation"), 0o644))
	h.own(dir)
}

func (h *host) layer(name string) {
	h.t.Helper()
	dir := h.Layout.Overlay(instance.Name(name))
	must(h.t, os.MkdirAll(filepath.Join(dir, "left4dead2/cfg"), 0o755))
	must(h.t, os.WriteFile(filepath.Join(dir, "left4dead2", name+".txt"), []byte(name), 0o644))
	h.own(dir)
}

func (h *host) own(dir string) {
	h.t.Helper()
	must(h.t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, gameUID, gameGID)
	}))
}

// configure writes the instance's files with these layers.
func (h *host) configure(layers ...string) {
	h.t.Helper()
	env := instance.Env{Port: 27915, Args: "+map c1m1_hotel"}
	for _, l := range layers {
		env.Lowers = append(env.Lowers, instance.OverlaysDir+"/"+l)
	}
	env.Lowers = append(env.Lowers, instance.InstallationLayer)
	text, err := env.Format()
	must(h.t, err)
	h.write(h.Layout.Env("a"), string(text))
	h.write(h.Layout.ServerConfig("a"), "hostname \"a\"\n")
}

func (h *host) write(path, text string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(h.t, os.WriteFile(path, []byte(text), 0o640))
}

// merged is the path of name in the mounted tree.
func (h *host) merged(name string) string { return filepath.Join(h.Layout.Merged("a"), name) }

// upper is the path of name in the upper directory.
func (h *host) upper(name string) string { return filepath.Join(h.Layout.Upper("a"), name) }

// mounts counts the mounts at merged.
func (h *host) mounts() int {
	h.t.Helper()
	all, err := mountinfo.Self()
	must(h.t, err)
	n := 0
	for _, m := range all {
		if m.Point == h.Layout.Merged("a") {
			n++
		}
	}
	return n
}

// wantFree fails the test unless nothing is mounted, and nothing is in the way
// of the next start.
func (h *host) wantFree() {
	h.t.Helper()
	if n := h.mounts(); n != 0 {
		h.t.Errorf("%d mounts are left at merged", n)
	}
	if names, err := os.ReadDir(h.Layout.Merged("a")); err == nil && len(names) != 0 {
		h.t.Errorf("merged is not empty: %v", names)
	}
}

func (h *host) mustMount() {
	h.t.Helper()
	if err := h.Mount(); err != nil {
		h.t.Fatalf("mount: %v\n%s", err, h.said)
	}
}

func (h *host) mustUnmount() {
	h.t.Helper()
	if err := h.Unmount(); err != nil {
		h.t.Fatalf("unmount: %v\n%s", err, h.said)
	}
	h.wantFree()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err's text holds every one of parts.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}
