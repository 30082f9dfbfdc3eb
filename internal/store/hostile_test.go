package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The game's user owns upper and may have put anything there, and may go on
// doing so. Whatever it does, Remove removes this instance and nothing else.

const gameUID = 61_234

// gameVariable makes the test binary move things about, see escape.
const gameVariable = "L4D2_TEST_ESCAPE"

func init() {
	if job := os.Getenv(gameVariable); job != "" {
		inside, outside, _ := strings.Cut(job, " ")
		escape(inside, outside)
	}
}

// hostile returns a store whose instance a has a writable upper directory, and
// the tree that must not change: instance b, and a directory beside it all
// that the game's user can write to, too.
func hostile(t *testing.T) (s *Store, upper, outside string) {
	t.Helper()
	s = lived(t)
	for _, up := range []string{"../..", ".."} {
		must(t, os.Chmod(filepath.Join(s.Layout.Root(), up), 0o755))
	}
	must(t, os.Chmod(s.Layout.Root(), 0o755))
	must(t, os.Chmod(s.Layout.Runtime("a"), 0o755))
	put(t, s.Layout.Upper("b")+"/left4dead2/cfg/server.cfg", "b's")
	put(t, s.Layout.Upper("b")+"/left4dead2/logs/log", "b's log")
	outside = filepath.Join(s.Layout.Root(), "outside")
	put(t, outside+"/keep/file", "precious")
	for _, dir := range []string{s.Layout.Upper("a"), outside} {
		must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, gameUID, gameUID)
		}))
	}
	return s, s.Layout.Upper("a"), outside
}

func neighbours(t *testing.T, s *Store) string {
	t.Helper()
	return tree(t, s.Layout.Runtime("b")) + tree(t, s.Layout.Instance("b")) +
		tree(t, s.Layout.Installation()) + tree(t, filepath.Join(s.Layout.Root(), "outside"))
}

func TestRemoveHostileTree(t *testing.T) {
	for name, plant := range map[string]func(t *testing.T, s *Store, upper, outside string){
		// A recursion with a descriptor, or a path, for each level fails.
		"deep": func(t *testing.T, _ *Store, upper, _ string) {
			dir, err := unix.Open(upper, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			must(t, err)
			for range 5000 {
				must(t, unix.Mkdirat(dir, "d", 0o755))
				next, err := unix.Openat(dir, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
				must(t, err)
				unix.Close(dir)
				dir = next
			}
			unix.Close(dir)
		},
		// Names that a listing in portions may miss when it deletes between them.
		"wide": func(t *testing.T, _ *Store, upper, _ string) {
			for i := range 20_000 {
				must(t, os.Mkdir(upper+"/"+strconv.Itoa(i), 0o755))
			}
		},
		// Followed, each link leads to the neighbour or outside.
		"links": func(t *testing.T, s *Store, upper, outside string) {
			for i, to := range []string{outside, "../../b/upper", "/proc/self/root" + outside, ".", "..", s.Layout.Upper("b")} {
				must(t, os.Symlink(to, fmt.Sprintf("%s/link%d", upper, i)))
			}
		},
		// A removal that first makes everything writable or its own changes the
		// foreign inode.
		"hard links": func(t *testing.T, s *Store, upper, outside string) {
			must(t, os.Link(outside+"/keep/file", upper+"/file"))
			must(t, os.Link(s.Layout.Upper("b")+"/left4dead2/logs/log", upper+"/log"))
		},
		// Opening one waits for ever.
		"FIFO and devices": func(t *testing.T, _ *Store, upper, _ string) {
			must(t, unix.Mkfifo(upper+"/fifo", 0o666))
			must(t, unix.Mknod(upper+"/whiteout", unix.S_IFCHR, 0))
			must(t, unix.Mknod(upper+"/tape", unix.S_IFCHR|0o666, int(unix.Mkdev(9, 0)))) // an open rewinds it
		},
		// A shell's loop over names breaks on them.
		"names": func(t *testing.T, _ *Store, upper, _ string) {
			for _, name := range []string{"new\nline", "\x1b[2J", "-rf", "*", " ", "\u202e", "\xff\xfe", strings.Repeat("n", 255), ".l4d2-host-deep-1"} {
				must(t, os.MkdirAll(upper+"/"+name+"/"+name, 0o755))
			}
		},
		// Nobody but root may look into them.
		"shut": func(t *testing.T, _ *Store, upper, _ string) {
			must(t, os.MkdirAll(upper+"/shut/inner", 0o755))
			must(t, os.Chmod(upper+"/shut/inner", 0))
			must(t, os.Chmod(upper+"/shut", 0o1000))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, upper, outside := hostile(t)
			plant(t, s, upper, outside)
			before := neighbours(t, s)
			must(t, s.Remove("a"))
			if after := neighbours(t, s); after != before {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
			checkGone(t, s)
		})
	}
}

// os.RemoveAll deletes what is mounted in the tree, and rm -rf too.
func TestRemoveMountInside(t *testing.T) {
	s, upper, outside := hostile(t)
	for _, name := range []string{"dir", "with\nnewline"} {
		must(t, os.Mkdir(upper+"/"+name, 0o755))
		must(t, unix.Mount(outside, upper+"/"+name, "", unix.MS_BIND, ""))
		before, instances := neighbours(t, s), tree(t, s.Layout.Instances())
		err := s.Remove("a")
		if err == nil || !strings.Contains(err.Error(), "is mounted at ") || !strings.Contains(err.Error(), "nothing is removed") {
			t.Errorf("error %v", err)
		}
		must(t, unix.Unmount(upper+"/"+name, unix.MNT_DETACH))
		if after := neighbours(t, s); after != before || tree(t, s.Layout.Instances()) != instances {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
	}
	must(t, s.Remove("a"))
	checkGone(t, s)
}

// An immutable file stops it with its name; nothing else is harmed, and when
// the flag is gone Remove finishes.
func TestRemoveImmutable(t *testing.T) {
	for _, name := range []string{"left4dead2/stay", "left4dead2/sub\x1b[31m/stay"} {
		s, upper, _ := hostile(t)
		put(t, upper+"/"+name, "x")
		put(t, upper+"/left4dead2/z/other", "x")
		setImmutable(t, upper+"/"+name, true)
		t.Cleanup(func() { os.Remove(upper + "/" + name) })
		before := neighbours(t, s)
		err := s.Remove("a")
		want := "unlink " + strconv.Quote("a/upper/"+name) + ": operation not permitted (an immutable"
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, unix.EPERM) {
			t.Errorf("error %v, want %s", err, want)
		}
		if after := neighbours(t, s); after != before {
			t.Errorf("before\n%s\nafter\n%s", before, after)
		}
		setImmutable(t, upper+"/"+name, false)
		must(t, s.Remove("a"))
		checkGone(t, s)
	}
}

func setImmutable(t *testing.T, path string, on bool) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	must(t, err)
	if flags &^= immutable; on {
		flags |= immutable
	}
	must(t, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags))
}

// escape makes directories in inside, moves them outside and back, and puts
// links to outside in their place, until it is killed. Each directory holds
// one file, so that a removal has business in it.
func escape(inside, outside string) {
	os.Stdout.WriteString("ready\n")
	for n := 0; ; n++ {
		name := inside + "/d" + strconv.Itoa(n%8)
		away := outside + "/away" + strconv.Itoa(n%8)
		os.MkdirAll(name+"/1/2/3", 0o777)
		os.WriteFile(name+"/1/2/3/file", nil, 0o666)
		os.Rename(name+"/1", away)               // a removal may be in it now
		os.Symlink(outside+"/keep", name+"/1")   // where it was, a way out
		os.Rename(away, name+"/back")            // and in again, one level off
		os.Rename(name+"/back/2", outside+"/up") // ".." of what lies in it changes
		os.Rename(outside+"/up", inside+"/up"+strconv.Itoa(n%8))
		unix.Renameat2(unix.AT_FDCWD, name, unix.AT_FDCWD, inside+"/trap", unix.RENAME_EXCHANGE)
		os.Symlink(outside+"/keep", inside+"/trap")
	}
}

// While Remove runs, the game's user moves directories out of upper and back,
// and puts links to what is outside in their place. A removal that goes by
// paths, or steps back by "..", ends up outside.
func TestRemoveRace(t *testing.T) {
	s, upper, outside := hostile(t)
	away := filepath.Join(outside, "playground") // what it moves out is its own
	must(t, os.Mkdir(away, 0o777))
	must(t, os.Chown(away, gameUID, gameUID))
	put(t, away+"/keep/file", "precious")
	before := tree(t, outside+"/keep") + tree(t, away+"/keep") + tree(t, s.Layout.Runtime("b")) + tree(t, s.Layout.Instance("b"))
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), gameVariable+"="+upper+" "+away)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: gameUID, Gid: gameUID},
	}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	end := func() { cmd.Process.Kill(); cmd.Wait() }
	defer end()
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	removals := 0
	for begun := time.Now(); time.Since(begun) < 2*time.Second; removals++ {
		// Removing takes upper itself in the end: then it is made again.
		if err := os.Mkdir(upper, 0o777); err == nil {
			must(t, os.Chown(upper, gameUID, gameUID))
		}
		if err := s.removeFrom(s.Layout.Runtime("a"), "upper"); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
			t.Logf("removal %d: %v", removals, err)
		}
	}
	t.Logf("%d removals", removals)
	if err := s.Remove("a"); err != nil {
		t.Logf("while it runs: %v", err)
	}
	end()
	if err := s.Remove("a"); err != nil && !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	after := tree(t, outside+"/keep") + tree(t, away+"/keep") + tree(t, s.Layout.Runtime("b")) + tree(t, s.Layout.Instance("b"))
	if after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	checkGone(t, s)
}
