package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/layers"
	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

const gameUID, gameGID = 61_234, 61_235

var (
	owner = Owner{gameUID, gameGID}
	text  = []byte("port: 27015\n")
	at    = time.Unix(1_700_000_000, 123_456_789)
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newDir returns an empty directory on a file system of its own.
func newDir(t *testing.T) string {
	t.Helper()
	privatens.Need(t)
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func open(t *testing.T, dir string) *layers.Layer {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	l := &layers.Layer{Name: layers.UpperName, Path: dir, Dir: fd}
	t.Cleanup(l.Close)
	return l
}

// pack returns the archive of dir, and what was said of its files.
func pack(t *testing.T, dir string, live bool) ([]byte, string, error) {
	t.Helper()
	var out bytes.Buffer
	var said strings.Builder
	err := Write(context.Background(), &out, Backup{
		Name: "versus", Spec: text, At: at, Upper: open(t, dir), Owner: owner, Live: live,
		Remark: func(path, why string) { fmt.Fprintf(&said, "%q %s\n", path, why) },
	})
	return out.Bytes(), said.String(), err
}

func unpack(t *testing.T, data []byte, dir string) error {
	t.Helper()
	a, err := Open(bytes.NewReader(data))
	if err != nil {
		return err
	}
	return a.Unpack(context.Background(), open(t, dir).Dir, owner)
}

// state says all that has to survive of each file below dir.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	first := map[uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		must(t, err)
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		name := strings.TrimPrefix(path, dir)
		fmt.Fprintf(&b, "%q %#o %d:%d rdev %d", name, st.Mode, st.Uid, st.Gid, st.Rdev)
		buf := make([]byte, 300)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			must(t, err)
			fmt.Fprintf(&b, " %d bytes %.40q", len(data), data)
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			fmt.Fprintf(&b, " same file as %q of %d", first[st.Ino], st.Nlink)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			must(t, err)
			fmt.Fprintf(&b, " to %q", target)
		case unix.S_IFDIR:
			n, err := unix.Getxattr(path, layers.OpaqueAttribute, buf)
			if err == nil {
				fmt.Fprintf(&b, " opaque %s", buf[:n])
			}
		}
		fmt.Fprintf(&b, " at %d.%09d\n", st.Mtim.Sec, st.Mtim.Nsec)
		return nil
	}))
	return b.String()
}

// fill makes one of each kind of entry that an upper directory can have.
func fill(t *testing.T, dir string) {
	t.Helper()
	put := func(name, text string, mode fs.FileMode, uid, gid int) {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.Lchown(path, uid, gid))
		must(t, os.Chmod(path, mode))
	}
	put("left4dead2/logs/log", "a line\n", 0o640, gameUID, gameGID)
	put("left4dead2/cfg/server.cfg", "hostname x\n", 0o640, 0, gameGID)
	put("left4dead2/other", "someone's", 0o604, 4321, 1234)
	put("left4dead2/empty", "", 0, gameUID, gameGID)
	put("left4dead2/large", strings.Repeat("0123456789abcdef", 10_000), 0o755, gameUID, gameGID)
	put("left4dead2/new\nline \x1b[31m\xff\xfe \u202e", "x", 0o644, gameUID, gameGID)
	put("left4dead2/"+strings.Repeat("n", 255), "x", 0o644, gameUID, gameGID)
	deep := "left4dead2/" + strings.Repeat(strings.Repeat("d", 200)+"/", 10)
	put(deep+"f", "deep", 0o644, gameUID, gameGID)
	must(t, os.Link(dir+"/left4dead2/logs/log", dir+"/left4dead2/zlog"))
	must(t, os.Link(dir+"/left4dead2/logs/log", dir+"/left4dead2/logs/a-log"))
	must(t, os.Symlink("/etc/passwd", dir+"/absolute"))
	must(t, os.Symlink("../../..", dir+"/left4dead2/up"))
	must(t, os.Symlink(strings.Repeat("x", 3000), dir+"/left4dead2/long link"))
	must(t, os.Lchown(dir+"/left4dead2/up", gameUID, gameGID))
	must(t, unix.Mknod(dir+"/left4dead2/deleted", unix.S_IFCHR, 0))
	must(t, os.Link(dir+"/left4dead2/deleted", dir+"/left4dead2/deleted2")) // as the kernel does
	must(t, os.Mkdir(dir+"/left4dead2/opaque", 0o700))
	must(t, unix.Setxattr(dir+"/left4dead2/opaque", layers.OpaqueAttribute, []byte("y"), 0))
	put("left4dead2/opaque/file", "x", 0o644, gameUID, gameGID)
	must(t, os.Mkdir(dir+"/left4dead2/shared", 0o700))
	must(t, os.Chmod(dir+"/left4dead2/shared", 0o777|fs.ModeSticky|fs.ModeSetgid))
	sparse, err := os.Create(dir + "/left4dead2/sparse")
	must(t, err)
	_, err = sparse.WriteAt([]byte("in the middle"), 2<<20+100)
	must(t, err)
	must(t, sparse.Truncate(4<<20))
	must(t, sparse.Close())
	must(t, os.Chown(dir, gameUID, gameGID))
	must(t, os.Chmod(dir, 0o750))
	// Times, the directories' last.
	var paths []string
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		paths = append(paths, path)
		return nil
	}))
	for i := len(paths) - 1; i >= 0; i-- {
		ts := unix.Timespec{Sec: int64(1_000_000 + i), Nsec: int64(i + 1)}
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, paths[i], []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

func TestRoundTrip(t *testing.T) {
	from, to := newDir(t), newDir(t)
	fill(t, from)
	data, said, err := pack(t, from, false)
	if err != nil || said != "" {
		t.Fatalf("Write: %v, said %q", err, said)
	}
	a, err := Open(bytes.NewReader(data))
	must(t, err)
	if a.Name != "versus" || !bytes.Equal(a.Spec, text) || !a.At.Equal(at) {
		t.Errorf("head %+v", a)
	}
	must(t, a.Unpack(context.Background(), open(t, to).Dir, owner))
	// Each whiteout becomes one of its own, which shows nowhere.
	if got, want := state(t, to), state(t, from); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	var st unix.Stat_t
	must(t, unix.Stat(to+"/left4dead2/sparse", &st))
	if st.Blocks*512 > 8<<10 {
		t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
	}
	// Once more: the archive of what was unpacked is the same.
	again, _, err := pack(t, to, false)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("the archive of the copy differs: %v, %d and %d bytes", err, len(again), len(data))
	}
}

// The game's user has another number on the host that the backup comes to.
func TestOwnersGoByName(t *testing.T) {
	from, to := newDir(t), newDir(t)
	must(t, os.WriteFile(from+"/f", nil, 0o644))
	must(t, os.Chown(from+"/f", gameUID, gameGID))
	must(t, os.WriteFile(from+"/g", nil, 0o644))
	data, _, err := pack(t, from, false)
	must(t, err)
	a, err := Open(bytes.NewReader(data))
	must(t, err)
	must(t, a.Unpack(context.Background(), open(t, to).Dir, Owner{7, 8}))
	for name, want := range map[string][2]uint32{"f": {7, 8}, "g": {0, 0}} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(to, name), &st))
		if st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s is %d:%d, want %v", name, st.Uid, st.Gid, want)
		}
	}
}

// What the disk alone knows of is left out with a word, and so is what only
// root could have made.
func TestLeftOut(t *testing.T) {
	from, to := newDir(t), newDir(t)
	must(t, os.WriteFile(from+"/suid", nil, 0o755))
	must(t, os.Chmod(from+"/suid", 0o755|fs.ModeSetuid|fs.ModeSetgid))
	must(t, unix.Setxattr(from+"/suid", "trusted.overlay.metacopy", nil, 0))
	must(t, unix.Setxattr(from+"/suid", "security.capability", []byte("\x00\x00\x00\x02\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	must(t, os.Mkdir(from+"/dir", 0o755))
	must(t, unix.Setxattr(from+"/dir", "trusted.overlay.redirect", []byte("/left4dead2"), 0))
	must(t, unix.Mkfifo(from+"/fifo\n", 0o666))
	must(t, unix.Mknod(from+"/tape", unix.S_IFCHR|0o666, int(unix.Mkdev(9, 0))))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: from + "/socket"}))
	data, said, err := pack(t, from, false)
	must(t, err)
	if want := "\"fifo\\n\" left out: it is a fifo\n\"socket\" left out: it is a socket\n\"tape\" left out: it is a device\n"; said != want {
		t.Errorf("said %s, want %s", said, want)
	}
	must(t, unpack(t, data, to))
	info, err := os.Lstat(to + "/suid")
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	for _, name := range []string{"suid", "dir"} {
		if n, err := unix.Llistxattr(filepath.Join(to, name), nil); n != 0 || err != nil {
			t.Errorf("%s has attributes: %d, %v", name, n, err)
		}
	}
}

// growing is a file that someone writes to while it is read.
type growing struct {
	io.Writer
	at    int
	write func()
}

func (g *growing) Write(b []byte) (int, error) {
	if g.at += len(b); g.at > 300<<10 && g.write != nil {
		g.write()
		g.write = nil
	}
	return g.Writer.Write(b)
}

func TestChangedWhileRead(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"longer":  func(path string) error { return os.Truncate(path, 3<<20) },
		"shorter": func(path string) error { return os.Truncate(path, 600<<10) },
	} {
		for _, live := range []bool{false, true} {
			from, to := newDir(t), newDir(t)
			must(t, os.WriteFile(from+"/db", bytes.Repeat([]byte("x"), 2<<20), 0o644))
			must(t, os.WriteFile(from+"/z", []byte("after"), 0o644))
			var out bytes.Buffer
			said := ""
			err := Write(context.Background(), &growing{Writer: &out, write: func() { must(t, change(from+"/db")) }}, Backup{
				Name: "versus", Spec: text, Upper: open(t, from), Live: live, Owner: owner,
				Remark: func(path, why string) { said += path + " " + why },
			})
			if !live {
				if err == nil || !strings.Contains(err.Error(), `"db" changed while it was read`) {
					t.Errorf("%s: error %v", name, err)
				}
				continue
			}
			if err != nil || said != "db changed while it was read" {
				t.Errorf("%s: error %v, said %q", name, err, said)
			}
			must(t, unpack(t, out.Bytes(), to))
			if info, err := os.Stat(to + "/db"); err != nil || info.Size() != 2<<20 {
				t.Errorf("%s: %v, %v", name, info.Size(), err)
			}
			if data, _ := os.ReadFile(to + "/z"); string(data) != "after" {
				t.Errorf("%s: what follows is %q", name, data)
			}
		}
	}
}

// A file of holes larger than the disk would keep root busy for days.
func TestHoles(t *testing.T) {
	from := newDir(t)
	must(t, os.WriteFile(from+"/bomb", nil, 0o644))
	must(t, os.Truncate(from+"/bomb", 1<<40))
	if _, _, err := pack(t, from, false); err == nil || !strings.Contains(err.Error(), "more than the disk holds") {
		t.Errorf("error %v", err)
	}
}

func TestFile(t *testing.T) {
	from, to := newDir(t), newDir(t)
	fill(t, from)
	path := filepath.Join(t.TempDir(), "b"+Extension)
	f, err := Create(path)
	must(t, err)
	if _, err := os.Stat(path); err == nil {
		t.Error("it has its name before it is whole")
	}
	must(t, Write(context.Background(), f, Backup{Name: "versus", Spec: text, At: at, Upper: open(t, from), Owner: owner}))
	size, err := f.Commit()
	must(t, err)
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 || info.Size() != size || size > 300<<10 {
		t.Errorf("%v, %d bytes (%d said), %v", info.Mode(), info.Size(), size, err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	read := int64(0)
	a, total, closeAll, err := OpenFile(path, func(n int) { read += int64(n) })
	must(t, err)
	must(t, a.Unpack(context.Background(), open(t, to).Dir, owner))
	closeAll()
	if read != total || total != size {
		t.Errorf("read %d of %d", read, total)
	}
	if got, want := state(t, to), state(t, from); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// Cut off or spoilt anywhere, it is refused.
	whole, err := os.ReadFile(path)
	must(t, err)
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)-1] },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return b[:10] },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
	} {
		must(t, os.WriteFile(path, damage(bytes.Clone(whole)), 0o600))
		a, _, closeAll, err := OpenFile(path, nil)
		if err == nil {
			err = a.Unpack(context.Background(), open(t, newDir(t)).Dir, owner)
			closeAll()
		}
		if err == nil {
			t.Error("a damaged file is taken")
		}
	}
	f, err = Create(path + "2")
	must(t, err)
	must(t, f.Abort())
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	must(t, unix.Mkfifo(path+"3", 0o600))
	if _, _, _, err := OpenFile(path+"3", nil); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a FIFO: %v", err)
	}
}
