package release

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// gameUID and gameGID stand for the game's user; the tests need no such user.
const gameUID, gameGID = 61_234, 61_235

// day is when the releases of the tests are made, one after the other.
var day = time.Date(2026, 11, 25, 4, 0, 0, 0, time.UTC)

// host is a root with a catalog.
type host struct {
	*Catalog
	t    *testing.T
	said strings.Builder
	made int
}

func newHost(t *testing.T) *host {
	t.Helper()
	privatens.Need(t)
	layout, err := instance.NewLayout(filepath.Join(t.TempDir(), "root"))
	must(t, err)
	h := &host{t: t}
	h.Catalog = &Catalog{Layout: layout, Say: func(format string, args ...any) {
		h.said.WriteString(strings.TrimSpace(strings.ReplaceAll(format, "%", "")) + "\n")
		t.Logf(format, args...)
	}}
	for _, dir := range []string{layout.Root(), layout.Overlays(), layout.RuntimeDir(), layout.Instances(), layout.Installation()} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.Chown(layout.Installation(), gameUID, gameGID))
	return h
}

// write makes files below dir, all the game's user's: those with an empty text
// are whiteouts.
func (h *host) write(dir string, files map[string]string) {
	h.t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		must(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
		os.Remove(path)
		if text == "" {
			must(h.t, unix.Mknod(path, unix.S_IFCHR, 0))
		} else {
			must(h.t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	must(h.t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, gameUID, gameGID)
	}))
}

// change does f within a change that must succeed.
func (h *host) change(f func(*Change) error) {
	h.t.Helper()
	ch, err := h.Begin()
	must(h.t, err)
	defer ch.End()
	must(h.t, f(ch))
}

// stage makes a staging directory with these files, as an update does.
func (h *host) stage(files map[string]string) {
	h.t.Helper()
	h.change(func(*Change) error { return nil })
	for _, sub := range []string{"tree", "work/work", "merged"} {
		must(h.t, os.MkdirAll(filepath.Join(h.Layout.Staging(), sub), 0o755))
	}
	must(h.t, os.WriteFile(filepath.Join(h.Layout.Staging(), "base"), nil, 0o600))
	h.write(filepath.Join(h.Layout.Staging(), "tree"), files)
}

func (h *host) info() Info {
	h.made++
	return Info{Build: "1" + strings.Repeat("0", h.made), Date: day.Add(time.Duration(h.made) * time.Second)}
}

// update publishes files over the current release.
func (h *host) update(files map[string]string) (n instance.Name) {
	h.t.Helper()
	h.stage(files)
	h.change(func(ch *Change) (err error) {
		n, err = ch.Publish(h.t.Context(), instance.StagingDir, h.base(), h.info())
		return err
	})
	return n
}

func (h *host) base() []instance.Name {
	h.t.Helper()
	n, err := chain.Current(h.Layout)
	must(h.t, err)
	if n == "" {
		return nil
	}
	r, err := h.Read(n)
	must(h.t, err)
	return r.Chain
}

// wantCurrent fails unless the installation leads to n, or is plain for "".
func (h *host) wantCurrent(n instance.Name) {
	h.t.Helper()
	if now, err := chain.Current(h.Layout); now != n || err != nil {
		h.t.Errorf("%q is current, %v; want %q", now, err, n)
	}
}

// wantReleases fails unless these are all there is in releases/.
func (h *host) wantReleases(names ...string) {
	h.t.Helper()
	entries, err := os.ReadDir(h.Layout.Releases())
	must(h.t, err)
	var got []string
	for _, e := range entries {
		if e.Name() != ".change" && e.Name() != ".lock" {
			got = append(got, e.Name())
		}
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		h.t.Errorf("releases/ has %q, want %q", got, names)
	}
}

func (h *host) wantError(err error, text, hint string) {
	h.t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(advice.For(err), hint) {
		h.t.Errorf("error %v (%s), want %q (%s)", err, advice.For(err), text, hint)
	}
}

// crash runs f and stops it at the named step, as a power cut would.
func (h *host) crash(step string, f func(*Change) error) {
	h.t.Helper()
	reached := false
	h.step = func(name string) {
		if name == step {
			reached = true
			panic(step)
		}
	}
	defer func() {
		h.step = nil
		if r := recover(); r != nil && r != any(step) {
			panic(r)
		}
		if !reached {
			h.t.Errorf("step %s was not reached", step)
		}
	}()
	ch, err := h.Begin()
	must(h.t, err)
	defer ch.End()
	must(h.t, f(ch))
}

func command(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return string(out), err
}
