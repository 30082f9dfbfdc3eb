package release

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// copyFile makes name in dir a copy of what is open as from (O_PATH): a file with
// its contents, a link, or any other but a directory. progress is called with the
// bytes that were copied.
func copyFile(ctx context.Context, dir int, name string, from int, progress func(int64)) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return copyRegular(ctx, dir, name, from, progress)
	case unix.S_IFLNK:
		return copyLink(dir, name, from, st)
	}
	if err := unix.Mknodat(dir, name, st.Mode, int(st.Rdev)); err != nil {
		return err
	}
	return errors.Join(unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW),
		unix.Fchmodat(dir, name, st.Mode&0o7777, 0), setTimes(dir, name, st))
}

func copyRegular(ctx context.Context, dir int, name string, from int, progress func(int64)) error {
	fd, err := unix.Open(magicLink(from), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	source := os.NewFile(uintptr(fd), "it")
	defer source.Close()
	to, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	target := os.NewFile(uintptr(to), "the copy")
	defer target.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(target, source, 16<<20)
		progress(n)
		if errors.Is(err, io.EOF) {
			return sameAttributes(to, from)
		}
		if err != nil {
			return err
		}
	}
}

func copyLink(dir int, name string, from int, st unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(from, "", buf)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buf[:n]), dir, name); err != nil {
		return err
	}
	return errors.Join(unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW), setTimes(dir, name, st))
}

func setTimes(dir int, name string, st unix.Stat_t) error {
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

// sameAttributes lets what is open as fd have the owner, mode, times and extended
// attributes of what is open as from (O_PATH).
func sameAttributes(fd, from int) error {
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := copyAttributes(fd, from); err != nil {
		return err
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, magicLink(fd), []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// copyAttributes copies extended attributes, access control lists among them. The
// kernel's notes for overlays are not part of what an overlay shows.
func copyAttributes(fd, from int) error {
	// The lists are taken at their longest (XATTR_LIST_MAX, XATTR_SIZE_MAX): they
	// can change between two calls.
	names := make([]byte, 64<<10)
	n, err := unix.Listxattr(magicLink(from), names)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Split(string(names[:n]), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Getxattr(magicLink(from), name, value)
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err == nil {
			err = unix.Fsetxattr(fd, name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
	}
	return nil
}

func magicLink(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
