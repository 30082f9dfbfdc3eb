package staging

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/release"
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

// host is a root with an update.
type host struct {
	*Staging
	t    testing.TB
	said *strings.Builder
}

func newHost(t testing.TB) *host {
	t.Helper()
	privatens.Need(t)
	privatens.LockThread()
	layout, err := instance.NewLayout(filepath.Join(t.TempDir(), "root"))
	must(t, err)
	h := &host{t: t, said: new(strings.Builder)}
	h.Staging = &Staging{Layout: layout, Owner: activation.Owner{UID: gameUID, GID: gameGID}, Log: journal.New(h.said, true)}
	for _, dir := range []string{layout.Root(), layout.Overlays(), layout.RuntimeDir(), layout.Instances(), layout.Installation()} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	t.Cleanup(func() {
		for unix.Unmount(Merged(layout), unix.MNT_DETACH) == nil {
		}
	})
	return h
}

// write puts files into the mounted tree, as steamcmd does. An empty text is a
// removal.
func (h *host) write(files map[string]string) {
	h.t.Helper()
	for name, text := range files {
		path := filepath.Join(Merged(h.Layout), name)
		must(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(h.t, os.RemoveAll(path))
		if text != "" {
			must(h.t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	must(h.t, filepath.WalkDir(Merged(h.Layout), func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Uid == gameUID {
			return err
		}
		return os.Lchown(path, gameUID, gameGID)
	}))
}

func acf(build string) string {
	return "\"AppState\"\n{\n\t\"appid\"\t\t\"222860\"\n\t\"buildid\"\t\t\"" + build + "\"\n}\n"
}

// game is a whole game of a build.
func game(build string) map[string]string {
	return map[string]string{"srcds_linux": "ELF " + build, "left4dead2/a.txt": "a", "left4dead2/b.txt": "b", release.Manifest: acf(build)}
}

func (h *host) stage() Staged {
	h.t.Helper()
	done, err := h.Stage()
	must(h.t, err)
	h.wantMounted(1)
	return done
}

func (h *host) commit() instance.Name {
	h.t.Helper()
	n, err := h.Commit(context.Background())
	must(h.t, err)
	h.wantMounted(0)
	return n
}

// update is a whole update.
func (h *host) update(files map[string]string) instance.Name {
	h.t.Helper()
	h.stage()
	h.write(files)
	return h.commit()
}

func (h *host) wantMounted(n int) {
	h.t.Helper()
	mounts, err := mountinfo.Self()
	must(h.t, err)
	got := 0
	for _, m := range mounts {
		if m.Source == source && m.Point == Merged(h.Layout) {
			got++
		}
	}
	if got != n {
		h.t.Errorf("mounted %d times, want %d", got, n)
	}
}

// wantCurrent wants the release to be current, and its installation to have
// these files.
func (h *host) wantCurrent(n instance.Name, chainLength int) {
	h.t.Helper()
	now, err := chain.Current(h.Layout)
	if now != n || err != nil {
		h.t.Fatalf("current is %q, %v, want %q", now, err, n)
	}
	r, err := chain.Read(h.Layout, n)
	if err != nil || len(r.Chain) != chainLength {
		h.t.Errorf("%+v, %v: want a chain of %d", r, err, chainLength)
	}
}

func (h *host) staged() bool {
	_, err := os.Lstat(h.Layout.Staging())
	return err == nil
}

func (h *host) wantError(err error, text, hint string) {
	h.t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(advice.For(err), hint) {
		h.t.Errorf("error %v (%s), want %q (%s)", err, advice.For(err), text, hint)
	}
}

func (h *host) wantSaid(text string) {
	h.t.Helper()
	if !strings.Contains(h.said.String(), text) {
		h.t.Errorf("nobody said %q:\n%s", text, h.said)
	}
}
