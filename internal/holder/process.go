package holder

import (
	"os"
	"os/user"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// heldBy returns the first use of m by the process pid. It marks the sockets
// that it sees.
func (m Mount) heldBy(pid int, sockets map[uint32]*socket) (Holder, bool) {
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	var found Holder
	note := func(what, link, path string) {
		if found.PID == 0 {
			found = describe(pid, what, link)
			if path != "" {
				found.Path = path
			}
		}
	}
	for _, what := range []string{Cwd, Root, Exe} {
		if st, ok := look(dir + what); ok && m.has(st) {
			note(what, dir+what, "")
		}
	}
	for _, list := range []struct{ dir, what string }{{"fd", File}, {"map_files", Mapping}} {
		names, _ := readDir(dir + list.dir) // gone, or a kernel thread
		for _, name := range names {
			if found.PID != 0 && len(sockets) == 0 {
				return found, true
			}
			link := dir + list.dir + "/" + name
			st, ok := look(link)
			if !ok {
				continue
			}
			if m.has(st) {
				note(list.what, link, "")
			} else if s := sockets[uint32(st.Ino)]; s != nil && st.Mode&unix.S_IFMT == unix.S_IFSOCK {
				s.seen = true
				note(Socket, link, s.path)
			}
		}
	}
	return found, found.PID != 0
}

// look returns what the magic link leads to.
func look(link string) (unix.Statx_t, bool) {
	var st unix.Statx_t
	// AT_STATX_DONT_SYNC: what the process has open can be a file on a network
	// file system whose server is gone.
	flags := unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	err := unix.Statx(unix.AT_FDCWD, link, flags, unix.STATX_TYPE|unix.STATX_INO|unix.STATX_MNT_ID, &st)
	return st, err == nil
}

// has reports whether the file lies in m.
func (m Mount) has(st unix.Statx_t) bool {
	if m.ID != 0 && st.Mask&unix.STATX_MNT_ID != 0 && st.Mnt_id == m.ID {
		return true
	}
	return m.Dev != 0 && unix.Mkdev(st.Dev_major, st.Dev_minor) == m.Dev
}

func describe(pid int, what, link string) Holder {
	dir := "/proc/" + strconv.Itoa(pid)
	h := Holder{PID: pid, What: what}
	h.Path, _ = os.Readlink(link)
	comm, _ := os.ReadFile(dir + "/comm")
	h.Command = strings.TrimSuffix(string(comm), "\n")
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil {
		h.UID = st.Uid
		if u, err := user.LookupId(strconv.Itoa(int(st.Uid))); err == nil {
			h.User = u.Username
		}
	}
	cgroup, _ := os.ReadFile(dir + "/cgroup")
	h.Unit = unit(string(cgroup))
	return h
}

// unit returns the innermost unit of a /proc/PID/cgroup text, from the line of
// the unified hierarchy ("0::/…") or of systemd's own ("1:name=systemd:/…").
func unit(text string) string {
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, dir, ok := strings.Cut(rest, ":")
		if !ok || controllers != "" && controllers != "name=systemd" {
			continue
		}
		for ; dir != "/" && dir != "." && dir != ""; dir = path.Dir(dir) {
			switch base := path.Base(dir); path.Ext(base) {
			case ".service", ".scope", ".mount", ".slice":
				return base
			}
		}
	}
	return ""
}
