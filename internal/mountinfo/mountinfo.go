// Package mountinfo reads /proc/PID/mountinfo.
//
// It exists beside moby/sys/mountinfo because that one stops at lines over
// 64 KiB (v0.7.3), and one overlay of a few hundred layers, mounted by anyone
// on the host, makes such a line.
package mountinfo

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"strconv"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/rawio"
)

// Mount is one line of proc_pid_mountinfo(5).
type Mount struct {
	ID, Parent   int
	Major, Minor uint32 // the st_dev of files in it
	Root, Point  string // the mounted directory in its file system, and where it is
	FSType       string
	Source       string
}

// self is of the calling thread's mount namespace. That is the process's own
// only until a thread joins another one.
const self = "/proc/thread-self/mountinfo"

// Self returns the mounts of the calling thread's mount namespace.
func Self() ([]Mount, error) { return readFile(self) }

// PID returns the mounts in the namespace of process pid.
func PID(pid int) ([]Mount, error) {
	return readFile("/proc/" + strconv.Itoa(pid) + "/mountinfo")
}

// Find returns the mount id of the calling thread's mount namespace, or nil if
// it is not there.
func Find(id uint64) (*Mount, error) {
	data, err := contents(self)
	if err != nil {
		return nil, err
	}
	m, err := find(data, id)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", self, err)
	}
	return m, nil
}

func find(data []byte, id uint64) (*Mount, error) {
	start := []byte(strconv.FormatUint(id, 10) + " ")
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, start) {
			m, err := parse(bytes.TrimSuffix(line, []byte{'\n'}))
			return &m, err
		}
	}
	return nil, nil
}

func readFile(path string) ([]Mount, error) {
	data, err := contents(path)
	if err != nil {
		return nil, err
	}
	mounts, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return mounts, nil
}

// expected is more than most hosts have, in bytes. A larger buffer makes for no
// fewer reads: each returns a page at the most (seq_file).
const expected = 8000

func contents(path string) ([]byte, error) {
	fd, err := rawio.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	data, err := rawio.ReadAll(fd, expected, math.MaxInt)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return data, nil
}

// Parse reads the contents of such a file, in the order of its lines.
func Parse(data []byte) ([]Mount, error) {
	var mounts []Mount
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte{'\n'})
		data = rest
		m, err := parse(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

// parse reads one line:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// with any number of fields before the dash.
func parse(line []byte) (Mount, error) {
	before, after, found := bytes.Cut(line, []byte(" - "))
	f := bytes.Split(before, []byte{' '})
	g := bytes.Split(after, []byte{' '})
	if !found || len(f) < 6 || len(g) < 2 {
		return Mount{}, fmt.Errorf("not a line of mountinfo: %.80q", line)
	}
	m := Mount{
		Root:   unescape(f[3]),
		Point:  unescape(f[4]),
		FSType: unescape(g[0]),
		Source: unescape(g[1]),
	}
	major, minor, _ := bytes.Cut(f[2], []byte{':'})
	for _, n := range []struct {
		text []byte
		set  func(uint32)
	}{
		{f[0], func(v uint32) { m.ID = int(v) }},
		{f[1], func(v uint32) { m.Parent = int(v) }},
		{major, func(v uint32) { m.Major = v }},
		{minor, func(v uint32) { m.Minor = v }},
	} {
		v, err := strconv.ParseUint(string(n.text), 10, 31)
		if err != nil {
			return Mount{}, fmt.Errorf("not a line of mountinfo: %.80q", line)
		}
		n.set(uint32(v))
	}
	return m, nil
}

// unescape undoes the kernel's \ooo for space, tab, newline, '#' and '\'.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) {
			if v, err := strconv.ParseUint(string(b[i+1:i+4]), 8, 8); err == nil {
				out = append(out, byte(v))
				i += 3
				continue
			}
		}
		out = append(out, b[i])
	}
	return string(out)
}
