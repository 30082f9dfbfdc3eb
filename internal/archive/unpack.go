package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

const (
	// maxEntries bounds the time; a server writes thousands.
	maxEntries = 10_000_000
	// maxKept, in bytes, bounds the memory for the directories, each counted with
	// directorySize and its name.
	maxKept       = 256 << 20
	directorySize = 128
)

type unpacker struct {
	ctx   context.Context
	root  int
	owner Owner

	parent     int // the directory that the last entry was in, or -1
	parentName string
	directories
	entries int
	kept    int   // bytes, see maxKept
	room    int64 // bytes that files may still claim
	fresh   int64 // bytes written since the disk was last looked at
}

// directories get their owner, mode and time when all is in them.
type directories []directory

type directory struct {
	name     string
	uid, gid int
	mode     uint32
	times    []unix.Timespec
	opaque   bool
}

// later keeps of a directory's header what finish needs, and no more: its
// strings are parts of a buffer that may be 1 MiB long.
func (u *unpacker) later(name string, h *tar.Header, opaque bool) error {
	if u.kept += len(name) + directorySize; u.kept > maxKept {
		return errors.New("too many directories")
	}
	uid, gid := u.ids(h)
	u.directories = append(u.directories, directory{strings.Clone(name), uid, gid, uint32(h.Mode) & 0o3777, times(h), opaque})
	return nil
}

func (u *unpacker) close() {
	if u.parent >= 0 {
		unix.Close(u.parent)
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	name, opaque, err := check(h)
	if err == nil {
		err = u.make(name, opaque, h, content)
	}
	if err != nil {
		return fmt.Errorf("entry %q: %w", h.Name, err)
	}
	return nil
}

func (u *unpacker) make(name string, opaque bool, h *tar.Header, content io.Reader) error {
	if u.entries++; u.entries > maxEntries {
		return errors.New("too many entries")
	}
	if u.entries%1024 == 1 {
		if err := u.checkDisk(); err != nil {
			return err
		}
	}
	if name == "." {
		if u.entries > 1 {
			return errors.New("comes twice or too late")
		}
		return u.later(name, h, false)
	}
	if u.entries == 1 {
		return errors.New("comes before its directory")
	}
	if err := u.enter(path.Dir(name)); err != nil {
		return err
	}
	base := path.Base(name)
	switch h.Typeflag {
	case tar.TypeDir:
		if err := u.later(name, h, opaque); err != nil {
			return err
		}
		return unix.Mkdirat(u.parent, base, 0o700)
	case tar.TypeReg:
		return u.file(base, h, content)
	case tar.TypeLink:
		return u.link(base, h.Linkname)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, u.parent, base); err != nil {
			return err
		}
		return u.adorn(base, h)
	case tar.TypeChar:
		if h.Devmajor != 0 || h.Devminor != 0 {
			return fmt.Errorf("a device (%d:%d), and no whiteout", h.Devmajor, h.Devminor)
		}
		if err := unix.Mknodat(u.parent, base, unix.S_IFCHR, 0); err != nil {
			return err
		}
		return u.adorn(base, h)
	}
	return fmt.Errorf("of a type (%q) that no backup holds", h.Typeflag)
}

// enter opens the directory that the next entries are in.
func (u *unpacker) enter(name string) error {
	if u.parent >= 0 && u.parentName == name {
		return nil
	}
	fd, err := beneath.OpenDir(u.root, name)
	if err != nil {
		return fmt.Errorf("its directory is not in the archive: %w", err)
	}
	u.close()
	u.parent, u.parentName = fd, name
	return nil
}

func (u *unpacker) file(base string, h *tar.Header, content io.Reader) error {
	if u.room -= h.Size; u.room < 0 {
		return fmt.Errorf("claims %d bytes: that and the files before are more than the disk holds", h.Size)
	}
	fd, err := unix.Openat(u.parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := copyContext(u.ctx, &holey{u, fd, 0}, content, nil); err != nil {
		return err
	}
	if err := unix.Ftruncate(fd, h.Size); err != nil {
		return err
	}
	return u.adorn(base, h)
}

// holey writes to fd and leaves holes for zeros.
type holey struct {
	u      *unpacker
	fd     int
	offset int64
}

// block, in bytes, is the least hole: that of most file systems.
const block = 4096

var zeroBlock [block]byte

func (w *holey) Write(data []byte) (int, error) {
	for rest := data; len(rest) > 0; {
		n := min(len(rest), block-int(w.offset%block))
		if !bytes.Equal(rest[:n], zeroBlock[:n]) {
			// As far as the zeros that are worth a hole.
			for n < len(rest) && !bytes.Equal(rest[n:min(n+block, len(rest))], zeroBlock[:min(block, len(rest)-n)]) {
				n += min(block, len(rest)-n)
			}
			if err := w.put(rest[:n]); err != nil {
				return 0, err
			}
		}
		w.offset += int64(n)
		rest = rest[n:]
	}
	return len(data), nil
}

func (w *holey) put(data []byte) error {
	for at := w.offset; len(data) > 0; {
		n, err := unix.Pwrite(w.fd, data, at)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		n = max(n, 0)
		at += int64(n)
		data = data[n:]
		w.u.fresh += int64(n)
	}
	if w.u.fresh < 8<<20 {
		return nil
	}
	return w.u.checkDisk()
}

// checkDisk keeps some of the disk free for the servers that run.
func (u *unpacker) checkDisk() error {
	u.fresh = 0
	var st unix.Statfs_t
	if err := unix.Fstatfs(u.root, &st); err != nil {
		return err
	}
	// A twentieth of the disk, at most 512 MiB; btrfs counts no inodes.
	keep := min(st.Blocks/20, uint64(512<<20/st.Bsize))
	if st.Bavail > keep && (st.Files == 0 || st.Ffree > min(st.Files/20, 10_000)) {
		return nil
	}
	return advice.With(fmt.Errorf("the disk is nearly full: %w", unix.ENOSPC), "make room: see df and df -i")
}

// link makes another name for a file of the archive.
func (u *unpacker) link(base, target string) error {
	name, ok := strings.CutPrefix(target, upperName+"/")
	if !ok || path.Clean(name) != name || path.IsAbs(name) {
		return fmt.Errorf("a hard link to %q, which is not below %s/", target, upperName)
	}
	dir, err := beneath.OpenDir(u.root, path.Dir(name))
	if err != nil {
		return fmt.Errorf("a hard link to nothing in the archive: %w", err)
	}
	defer unix.Close(dir)
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("a hard link to %q: %w", target, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("a hard link to %q, which is no file", target)
	}
	return unix.Linkat(dir, path.Base(name), u.parent, base, 0)
}

// adorn gives the new entry base its owner, mode and time.
func (u *unpacker) adorn(base string, h *tar.Header) error {
	uid, gid := u.ids(h)
	if err := unix.Fchownat(u.parent, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag == tar.TypeReg {
		if err := unix.Fchmodat(u.parent, base, uint32(h.Mode)&0o777, 0); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(u.parent, base, times(h), unix.AT_SYMLINK_NOFOLLOW)
}

func times(h *tar.Header) []unix.Timespec {
	t := unix.NsecToTimespec(h.ModTime.UnixNano())
	return []unix.Timespec{t, t}
}

// ids goes by the names that every host has, and else by the numbers.
func (u *unpacker) ids(h *tar.Header) (uid, gid int) {
	uid, gid = h.Uid, h.Gid
	switch {
	case h.Uname == "root":
		uid = 0
	case h.Uname == instance.User && u.owner.UID >= 0:
		uid = u.owner.UID
	}
	switch {
	case h.Gname == "root":
		gid = 0
	case h.Gname == instance.User && u.owner.GID >= 0:
		gid = u.owner.GID
	}
	return uid, gid
}

// finish completes the directories, those deepest in the tree first.
func (u *unpacker) finish() error {
	if err := u.checkDisk(); err != nil {
		return err
	}
	if len(u.directories) == 0 { // an instance without state
		return errors.Join(unix.Fchown(u.root, u.owner.UID, u.owner.GID), unix.Fchmod(u.root, 0o750))
	}
	for i := len(u.directories) - 1; i >= 0; i-- {
		if err := u.finishDirectory(u.directories[i]); err != nil {
			return fmt.Errorf("entry %q: %w", path.Join(upperName, u.directories[i].name), err)
		}
	}
	return nil
}

func (u *unpacker) finishDirectory(d directory) error {
	fd, err := beneath.OpenDir(u.root, d.name)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if d.opaque {
		if err := unix.Fsetxattr(fd, layers.OpaqueAttribute, []byte("y"), 0); err != nil {
			return err
		}
	}
	if err := unix.Fchown(fd, d.uid, d.gid); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, d.mode); err != nil {
		return err
	}
	return unix.UtimesNanoAt(fd, ".", d.times, 0)
}
