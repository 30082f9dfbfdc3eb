package staging

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/release"
)

// The game's user decides what is in the tree, and is not to be trusted: nothing
// hangs, nothing outside is read or changed, and the release says what is known.
func TestHostileManifest(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte(acf("666")), 0o600))
	for name, put := range map[string]func(path string) error{
		"a FIFO":                func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a link to the outside": func(path string) error { return os.Symlink(secret, path) },
		"a link to a device":    func(path string) error { return os.Symlink("/dev/zero", path) },
		"a directory":           func(path string) error { return os.Mkdir(path, 0o755) },
		"1 GiB": func(path string) error {
			f, err := os.Create(path)
			if err != nil {
				return err
			}
			defer f.Close()
			return f.Truncate(1 << 30)
		},
		"a device": func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
		"words":    func(path string) error { return os.WriteFile(path, []byte(acf("$(reboot)")), 0o644) },
		"too many digits": func(path string) error {
			return os.WriteFile(path, []byte(acf(strings.Repeat("9", 40))), 0o644)
		},
		"a newline": func(path string) error { return os.WriteFile(path, []byte(acf("7\nCHAIN=x")), 0o644) },
		"nothing":   func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.stage()
			h.write(map[string]string{"srcds_linux": "ELF", "steamapps/x": "x"})
			must(t, put(filepath.Join(Merged(h.Layout), release.Manifest)))
			n := func() instance.Name {
				timer := time.AfterFunc(30*time.Second, func() { panic("it hangs") })
				defer timer.Stop()
				return h.commit()
			}()
			if r, err := chain.Read(h.Layout, n); err != nil || r.Build != "" || len(r.Chain) != 1 {
				t.Errorf("%+v, %v", r, err)
			}
			h.wantSaid("the build id is not known")
		})
	}
	if data, _ := os.ReadFile(secret); string(data) != acf("666") {
		t.Error("a file outside was changed")
	}
}

// A parent of the manifest that is a link, and a game that is none.
func TestHostileTree(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "appmanifest_222860.acf"), []byte(acf("666")), 0o644))
	h := newHost(t)
	h.stage()
	h.write(map[string]string{"srcds_linux": "ELF", "x": "x"})
	must(t, os.Symlink(outside, filepath.Join(Merged(h.Layout), "steamapps")))
	if r, err := chain.Read(h.Layout, h.commit()); err != nil || r.Build != "" {
		t.Errorf("%+v, %v", r, err)
	}
	for name, put := range map[string]func(path string) error{
		"no game":     func(string) error { return nil },
		"a link":      func(path string) error { return os.Symlink("/bin/sh", path) },
		"a FIFO":      func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o755) },
	} {
		h := newHost(t)
		h.stage()
		h.write(map[string]string{release.Manifest: acf("7")})
		must(t, put(filepath.Join(Merged(h.Layout), "srcds_linux")))
		_, err := h.Commit(context.Background())
		if err == nil || !strings.Contains(err.Error(), "there is no game") {
			t.Errorf("%s: %v", name, err)
		}
		if !h.staged() {
			t.Errorf("%s: what was downloaded is gone", name)
		}
	}
}

// Set-user-ID programs, devices, links and FIFOs in a tree that is compared with
// the release below it: they are looked at, never opened nor followed, and the
// mounts of instances honour neither bits nor devices.
func TestHostileFiles(t *testing.T) {
	h := newHost(t)
	h.update(game("7"))
	h.stage()
	tree := Merged(h.Layout)
	must(t, unix.Mkfifo(filepath.Join(tree, "fifo"), 0o644))
	n := h.commit()
	h.wantCurrent(n, 2)

	for name, put := range map[string]func(path string) error{
		"a FIFO":   func(path string) error { return unix.Mkfifo(path, 0o644) },
		"a link":   func(path string) error { return os.Symlink("/etc/shadow", path) },
		"a device": func(path string) error { return unix.Mknod(path, unix.S_IFBLK|0o666, int(unix.Mkdev(8, 0))) },
		"setuid": func(path string) error {
			if err := os.WriteFile(path, []byte("a"), 0o644); err != nil {
				return err
			}
			return os.Chmod(path, 0o755|os.ModeSetuid)
		},
	} {
		h := newHost(t)
		h.update(game("7"))
		h.stage()
		path := filepath.Join(Merged(h.Layout), "left4dead2/a.txt")
		must(t, os.Remove(path))
		must(t, put(path))
		if n := h.commit(); n == "" {
			t.Errorf("%s: no change", name)
		}
		h.wantSaid("left4dead2/a.txt")
	}

	// Deeper than any path: no release is lost for it.
	h = newHost(t)
	h.update(game("7"))
	h.stage()
	dir, err := unix.Open(Merged(h.Layout), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range 40 {
		name := strings.Repeat("d", 200)
		must(t, unix.Mkdirat(dir, name, 0o755))
		next, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err)
		unix.Close(dir)
		dir = next
	}
	unix.Close(dir)
	if n := h.commit(); n == "" {
		t.Error("no release")
	}
	// What was begun over the first release, with that in it, can be removed.
	h.stage()
	must(t, h.Unstage())
	must(t, h.remove())
}

// The staging directory itself is root's: links in it are refused.
func TestHostileStaging(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o644))
	for _, name := range []string{upperDir, workDir, mergedDir, emptyDir, baseFile} {
		h := newHost(t)
		h.stage()
		must(t, h.Unstage())
		path := filepath.Join(h.Layout.Staging(), name)
		must(t, os.RemoveAll(path))
		must(t, os.Symlink(outside, path))
		if done, err := h.Stage(); err == nil && done.Resumed {
			t.Errorf("%s: a link was taken for it", name)
		}
		if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	h := newHost(t)
	ch, err := h.catalog().Begin()
	must(t, err)
	ch.End()
	must(t, os.Symlink(outside, h.Layout.Staging()))
	if _, err := h.Stage(); err == nil {
		t.Error("a link was taken for the staging directory")
	}
}
