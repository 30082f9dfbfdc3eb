package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/lockfile"
)

// changeUpper is what the crash tests interrupt: a new upper directory with one
// file "new", or the removal of two names.
func changeUpper(s *Store, job string) error {
	h, err := s.Hold("a")
	if err != nil {
		return err
	}
	defer h.Release()
	if job == "forget" {
		return h.Forget([]string{"left4dead2/one", "left4dead2/two"})
	}
	fd, err := h.Stage()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	file, err := unix.Openat(fd, "new", unix.O_CREAT|unix.O_WRONLY|unix.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	unix.Close(file)
	s.at("half staged")
	return h.Install()
}

// withUpper is a store whose instance a has files of its own.
func withUpper(t *testing.T) (s *Store, upper string) {
	t.Helper()
	s = lived(t)
	upper = s.Layout.Upper("a")
	for _, name := range []string{"one", "two/deep/file", "three"} {
		put(t, filepath.Join(upper, "left4dead2", name), name)
	}
	return s, upper
}

func TestInstallAndClear(t *testing.T) {
	s, upper := withUpper(t)
	must(t, os.Chown(upper, gameUID, gameUID))
	must(t, os.Chmod(upper, 0o750))
	b := tree(t, s.Layout.Runtime("b")) + tree(t, s.Layout.Instances())
	must(t, changeUpper(s, "install"))
	equal(t, "upper", ls(t, upper), []string{"new"})
	must(t, os.Chown(upper, gameUID, gameUID))
	h, err := s.Hold("a")
	must(t, err)
	must(t, h.Clear())
	h.Release()
	equal(t, "upper", ls(t, upper), []string{})
	info, err := os.Stat(upper)
	must(t, err)
	if o := owner(info); o.Uid != gameUID || o.Gid != gameUID {
		t.Errorf("the empty upper is %d:%d", o.Uid, o.Gid)
	}
	equal(t, "beside upper", slices.DeleteFunc(ls(t, s.Layout.Runtime("a")), func(n string) bool { return n == "merged" || n == "work" }), []string{"lock", "upper"})
	if now := tree(t, s.Layout.Runtime("b")) + tree(t, s.Layout.Instances()); now != b {
		t.Errorf("before\n%s\nafter\n%s", b, now)
	}
}

func TestForget(t *testing.T) {
	s, upper := withUpper(t)
	must(t, changeUpper(s, "forget-not")) // leaves "new"
	put(t, upper+"/left4dead2/one", "x")
	put(t, upper+"/left4dead2/two/deep/file", "x")
	put(t, upper+"/left4dead2/three", "x")
	must(t, changeUpper(s, "forget"))
	equal(t, "upper", ls(t, upper+"/left4dead2"), []string{"three"})
}

// A run that is killed leaves one state or the other, and the next one works.
func TestChangeOfUpperIsKilled(t *testing.T) {
	for _, tt := range []struct{ job, step, want string }{
		{"install", "half staged", "old"},
		{"install", "staged upper", "old"},
		{"install", "upper in place", "new"},
		{"forget", "moved out", "half"},
	} {
		s, upper := withUpper(t)
		before := tree(t, upper)
		die(t, s, tt.job, tt.step)
		switch tt.want {
		case "old":
			if now := tree(t, upper); now != before {
				t.Errorf("%s: before\n%s\nafter\n%s", tt.step, before, now)
			}
		case "new":
			equal(t, tt.step, ls(t, upper), []string{"new"})
		case "half":
			equal(t, tt.step, ls(t, upper+"/left4dead2"), []string{"logs", "three", "two"})
		}
		must(t, changeUpper(s, "install"))
		equal(t, "then", ls(t, upper), []string{"new"})
		if _, err := os.Lstat(filepath.Join(s.Layout.Runtime("a"), asideDir)); err == nil {
			t.Errorf("%s: %s is left", tt.step, asideDir)
		}
	}
}

func TestHoldKeepsOthersOut(t *testing.T) {
	s, upper := withUpper(t)
	h, err := s.Hold("a")
	must(t, err)
	// The helper takes this lock before it mounts.
	if l, err := lockfile.TryLock(s.Layout.Lock("a")); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("the instance could be mounted: %v, %v", l, err)
	}
	if _, err := s.Hold("a"); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("a second hold: %v", err)
	}
	if err := s.Remove("a"); !errors.Is(err, lockfile.ErrHeld) {
		t.Errorf("a removal: %v", err)
	}
	h.Release()

	must(t, os.MkdirAll(s.Layout.Merged("a"), 0o755))
	must(t, unix.Mount("tmpfs", s.Layout.Merged("a"), "tmpfs", 0, ""))
	if _, err := s.Hold("a"); !errors.Is(err, ErrMounted) {
		t.Errorf("while mounted: %v", err)
	}
	must(t, unix.Unmount(s.Layout.Merged("a"), 0))

	// A disk of its own is no overlay.
	must(t, unix.Mount(s.Layout.Runtime("a"), s.Layout.Runtime("a"), "", unix.MS_BIND, ""))
	h, err = s.Hold("a")
	must(t, err)
	must(t, h.Clear())
	h.Release()
	must(t, unix.Unmount(s.Layout.Runtime("a"), 0))
	equal(t, "upper", ls(t, upper), []string{})
}

// An overlay that was detached goes on writing to upper.
func TestHoldOfAnUpperInUse(t *testing.T) {
	s, upper := withUpper(t)
	work, merged := s.Layout.Work("a"), s.Layout.Merged("a")
	must(t, os.MkdirAll(work, 0o700))
	must(t, os.MkdirAll(merged, 0o700))
	must(t, unix.Mount("overlay", merged, "overlay", 0, "lowerdir="+s.Layout.Installation()+",upperdir="+upper+",workdir="+work+",index=off"))
	inside, err := os.Open(merged)
	must(t, err)
	must(t, unix.Unmount(merged, unix.MNT_DETACH))
	if _, err := s.Hold("a"); err == nil || !strings.Contains(err.Error(), "in use by another overlay") {
		t.Errorf("while it lives: %v", err)
	}
	must(t, inside.Close())
	for range 100 { // the kernel takes its time to let go
		var h *Hold
		if h, err = s.Hold("a"); err == nil {
			h.Release()
			break
		}
		unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil)
	}
	must(t, err)
}

// What is held for an instance that does not come to be goes again.
func TestHoldOfNothing(t *testing.T) {
	s := newStore(t)
	h, err := s.Hold("new")
	must(t, err)
	fd, err := h.Stage()
	must(t, err)
	unix.Close(fd)
	must(t, h.Discard())
	h.Release()
	equal(t, "runtime", ls(t, s.Layout.RuntimeDir()), []string{})

	h, err = s.Hold("new")
	must(t, err)
	fd, err = h.Stage()
	must(t, err)
	unix.Close(fd)
	must(t, h.Install()) // where there is no upper to exchange
	if _, err := s.Init("new", "spec.yaml", []byte("port: 9\n")); err != nil {
		t.Fatal(err)
	}
	h.Release()
	equal(t, "runtime", ls(t, s.Layout.Runtime("new")), []string{"lock", "upper"})
}

// The game's user cannot have a removal of its names reach beyond upper.
func TestForgetHostile(t *testing.T) {
	s, upper, outside := hostile(t)
	must(t, os.Symlink(outside, upper+"/out"))
	must(t, os.Mkdir(upper+"/mounted", 0o755))
	put(t, upper+"/plain", "x")
	before := neighbours(t, s)
	h, err := s.Hold("a")
	must(t, err)
	defer h.Release()
	for _, name := range []string{"out/keep", "../../b", "../../../outside/keep", "/" + outside + "/keep", "none/x"} {
		if err := h.Forget([]string{name}); err == nil {
			t.Errorf("Forget(%q) succeeded", name)
		}
	}
	must(t, h.Forget([]string{"out", "plain", "mounted"}))
	if after := neighbours(t, s); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if left := ls(t, upper); slices.Contains(left, "out") || slices.Contains(left, "plain") {
		t.Errorf("left: %q", left)
	}
}

func TestBackupPath(t *testing.T) {
	s := newStore(t)
	now := time.Date(2026, 11, 24, 20, 15, 0, 999, time.UTC)
	first, err := s.BackupPath("a", now, ".x")
	must(t, err)
	if want := s.Layout.Backups() + "/a-2026-11-24T201500Z.x"; first != want {
		t.Errorf("%s, want %s", first, want)
	}
	if info, err := os.Stat(s.Layout.Backups()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	put(t, first, "")
	second, err := s.BackupPath("a", now, ".x")
	if err != nil || second != s.Layout.Backups()+"/a-2026-11-24T201500Z-2.x" {
		t.Errorf("%s, %v", second, err)
	}
	must(t, os.Chmod(s.Layout.Backups(), 0o777))
	if _, err := s.BackupPath("a", now, ".x"); err == nil {
		t.Error("others may write there")
	}
}
