package activation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// onTmpfs runs f as a subtest whose t.TempDir is on a file system of its own,
// mounted at disk.
func onTmpfs(t *testing.T, f func(t *testing.T, disk string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tmpfs-")
	must(t, err)
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	must(t, unix.Mount("l4d2-test", dir, "tmpfs", 0, "mode=755"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	t.Setenv("TMPDIR", dir)
	t.Run("tmpfs", func(t *testing.T) { f(t, dir) })
}

// usage is how many files and bytes a file system holds.
type usage struct{ files, bytes uint64 }

func used(t *testing.T, dir string) usage {
	t.Helper()
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	return usage{st.Files - st.Ffree, (st.Blocks - st.Bfree) * uint64(st.Bsize)}
}

// limit remounts the tmpfs with room for u and so much more.
func limit(t *testing.T, dir string, u, more usage) {
	t.Helper()
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT,
		"nr_inodes="+itoa(int(u.files+more.files))+",size="+itoa(int(u.bytes+more.bytes))))
}

var plenty = usage{1000, 64 << 20}

// The file system fills up: at each step in turn there is one file, or one
// page, less than the start takes. Each time it is refused with the reason,
// nothing is left mounted, upper is whole, and more room is all it takes.
func TestFullDisk(t *testing.T) {
	const page = 4096
	for name, room := range map[string]func(n uint64) usage{
		"no inodes": func(n uint64) usage { return usage{n, plenty.bytes} },
		"no blocks": func(n uint64) usage { return usage{plenty.files, n * page} },
	} {
		for _, state := range []string{"new", "with a past"} {
			t.Run(name+" "+state, func(t *testing.T) {
				eachMethod(t, func(t *testing.T, h *host) {
					onTmpfs(t, func(t *testing.T, disk string) {
						fill(t, newVictimBy(t, h), disk, room, state)
					})
				})
			})
		}
	}
}

func fill(t *testing.T, v *victim, disk string, room func(n uint64) usage, state string) {
	v.write(v.Layout.ServerConfig("a"), strings.Repeat("// a long server.cfg\n", 3000))
	if state == "with a past" {
		v.mustMount()
		must(t, os.WriteFile(v.merged("left4dead2/state"), []byte("kept"), 0o644))
		v.mustUnmount()
	}
	v.begin()
	begun := used(t, disk)
	refusals := 0
	for ; ; refusals++ {
		limit(t, disk, begun, room(uint64(refusals)))
		err := v.Mount()
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOSPC) && !strings.Contains(err.Error(), "read-only") {
			t.Fatalf("with room for %d: %v", refusals, err)
		}
		if advice.For(err) == "" {
			t.Errorf("%v says nothing of what to do", err)
		}
		v.wantFree()
		v.wantPast(state)
		if left, _ := filepath.Glob(v.upper(configDir) + "/.*.l4d2-host"); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
		if refusals > 100 {
			t.Fatal("it never starts")
		}
	}
	if refusals < 3 {
		t.Errorf("only %d refusals: the disk was not full", refusals)
	}
	t.Logf("%d refusals", refusals)
	// A full disk must not keep it from being unmounted.
	limit(t, disk, used(t, disk), usage{})
	v.mustUnmount()
	v.wantPast(state)
	limit(t, disk, used(t, disk), plenty)
	v.mustMount()
	v.mustUnmount()
	v.wantUnharmed()
}

func (v *victim) wantPast(state string) {
	v.t.Helper()
	if text, err := os.ReadFile(v.upper("left4dead2/state")); state != "new" && (string(text) != "kept" || err != nil) {
		v.t.Errorf("upper: %q, %v", text, err)
	}
}

// A disk that went read-only after an error.
func TestReadOnlyDisk(t *testing.T) {
	for _, state := range []string{"new", "with a past"} {
		onTmpfs(t, func(t *testing.T, disk string) {
			v := newVictim(t)
			if state != "new" {
				v.mustMount()
				v.mustUnmount()
			}
			must(t, unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			v.wantRefusal("read-only")
			must(t, unix.Mount("", disk, "", unix.MS_REMOUNT, ""))
			v.wantStart()
		})
	}
}
