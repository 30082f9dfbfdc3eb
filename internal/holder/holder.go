// Package holder finds out who uses a mount, and who has a port.
//
// It looks at what processes have open, at bound sockets, loop devices and
// mounts. It sees no process outside the caller's PID namespace, and no bound
// socket outside its network namespace whose process is out of sight. Root
// only: other users' processes can't be looked at otherwise.
//
// All of it is for messages: what it reads is other people's text, and a
// process can let go or take hold while it looks.
package holder

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/mountinfo"
)

// The kinds of use.
const (
	Cwd     = "cwd"
	Root    = "root"
	Exe     = "exe"
	File    = "file"
	Mapping = "mapping"
	Socket  = "socket"      // a unix socket bound to a name in the mount
	Loop    = "loop device" // with a file in the mount behind it
	Nested  = "mount"       // another mount in it
)

// Holder is one use of a mount.
type Holder struct {
	PID     int    // 0 for one that is no process's, as far as can be seen
	Command string // the process's name (comm); anyone's text
	UID     uint32
	User    string // the name that /etc/passwd has for UID, or ""
	Unit    string // the innermost systemd unit of its cgroup, or ""
	What    string // Cwd, Root, …
	Path    string // what it holds, as the kernel names it; anyone's text
	Foreign bool   // held in another mount namespace than the caller's
}

// String says it in one line, names quoted.
func (h Holder) String() string {
	if h.PID == 0 {
		return fmt.Sprintf("a %s at %q", h.What, h.Path)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "pid %d (%q, ", h.PID, h.Command)
	if h.User != "" {
		fmt.Fprintf(&b, "user %q", h.User)
	} else {
		fmt.Fprintf(&b, "uid %d", h.UID)
	}
	if h.Unit != "" {
		fmt.Fprintf(&b, ", unit %q", h.Unit)
	}
	fmt.Fprintf(&b, "): %s %q", h.What, h.Path)
	if h.Foreign {
		b.WriteString(" in another mount namespace")
	}
	return b.String()
}

// Mount says which mount to look for.
type Mount struct {
	// ID is its mount ID: finds every use of this very mount, whatever the
	// files beneath it report as their device.
	ID uint64
	// Dev is the st_dev of its superblock: finds uses through another mount of
	// the same superblock, such as a copy in a service's own mount namespace.
	Dev uint64
}

// Find returns the uses of m: at most one a process (its first), then what no
// process is seen to hold. Processes that end meanwhile are passed over.
func Find(m Mount) ([]Holder, error) {
	names, err := readDir("/proc")
	if err != nil {
		return nil, err
	}
	sockets := m.boundSockets()
	own := statIno("/proc/thread-self/ns/mnt")
	var holders []Holder
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if h, ok := m.heldBy(pid, sockets); ok {
			h.Foreign = statIno("/proc/"+name+"/ns/mnt") != own
			holders = append(holders, h)
		}
	}
	for _, s := range sockets {
		if !s.seen {
			holders = append(holders, Holder{What: Socket, Path: s.path})
		}
	}
	mounts, err := mountinfo.Self()
	if err != nil {
		return nil, err
	}
	holders = append(holders, m.loops(mounts)...)
	for _, mount := range mounts {
		if m.ID != 0 && uint64(mount.Parent) == m.ID {
			holders = append(holders, Holder{What: Nested, Path: mount.Point})
		}
	}
	return holders, nil
}

// loops returns the loop devices with a file in m behind them. The kernel tells
// the file's path, and not its mount.
func (m Mount) loops(mounts []mountinfo.Mount) []Holder {
	var points []string
	for _, mount := range mounts {
		if m.ID != 0 && uint64(mount.ID) == m.ID {
			points = append(points, strings.TrimSuffix(mount.Point, "/")+"/")
		}
	}
	names, _ := readDir("/sys/block")
	var holders []Holder
	for _, name := range names {
		if !strings.HasPrefix(name, "loop") {
			continue
		}
		text, err := os.ReadFile("/sys/block/" + name + "/loop/backing_file")
		if err != nil {
			continue // it has no file now
		}
		file := strings.TrimSuffix(string(text), "\n")
		if slices.ContainsFunc(points, func(p string) bool { return strings.HasPrefix(file, p) }) {
			holders = append(holders, Holder{What: Loop + " /dev/" + name, Path: file})
		}
	}
	return holders
}

func statIno(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

func readDir(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}
