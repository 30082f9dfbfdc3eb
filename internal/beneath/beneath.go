// Package beneath does file work in trees that someone less trusted than the
// caller can write, and may be rewriting at this moment.
//
// Every function takes an open directory and a name in it. None follows a
// symbolic link, leaves the directory, crosses a mount point or opens anything
// but a directory or a file that it made itself; so a link into /etc, a bind
// mount of someone else's data, a FIFO or a hard link planted in the way ends
// in an error or is replaced, and never in a write or a removal elsewhere.
// os.Root does not promise that: it crosses mounts, follows links inside the
// tree, and waits for ever on a FIFO.
package beneath

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// Error says which step failed on which name. It unwraps to the kernel's
// error. The path is printed quoted, as its parts can be anyone's.
type Error struct {
	Op   string // "open", "mkdir", "unlink", …
	Path string // relative to the directory that the caller passed
	Err  error
}

func (e *Error) Error() string {
	cause := e.Err.Error()
	switch {
	case errors.Is(e.Err, unix.EXDEV):
		cause = "something is mounted there"
	case errors.Is(e.Err, unix.ELOOP):
		cause = "it is a symbolic link"
	case errors.Is(e.Err, unix.EPERM):
		cause = "operation not permitted (an immutable or append-only file or directory? see lsattr -d)"
	}
	return fmt.Sprintf("%s %s: %s", e.Op, strconv.Quote(e.Path), cause)
}

func (e *Error) Unwrap() error { return e.Err }

// resolve is the openat2(2) rule (Linux 5.6) behind the promise above.
const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS |
	unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// OpenDir opens the directory name in dir for reading. The error is ELOOP for
// a symbolic link, EXDEV for a mount point, ENOTDIR for anything else that is
// no directory.
func OpenDir(dir int, name string) (int, error) {
	how := unix.OpenHow{
		// O_NOFOLLOW with O_DIRECTORY would turn ELOOP into ENOTDIR.
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: resolve,
	}
	for {
		fd, err := unix.Openat2(dir, name, &how)
		// EAGAIN: a rename somewhere on the host raced with the lookup, and the
		// kernel could not tell whether it stayed beneath (openat2(2)).
		if err == nil || !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, wrap("open", name, err)
		}
	}
}

// MakeDir is OpenDir, but makes the directory if it is missing: mode 0755, and
// with the owner and group of dir. It gets its name when it is whole: a run
// that is killed leaves nothing that the next one would take for finished.
func MakeDir(dir int, name string) (int, error) {
	fd, err := OpenDir(dir, name)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	var parent unix.Stat_t
	if err := unix.Fstat(dir, &parent); err != nil {
		return -1, wrap("stat", ".", err)
	}
	if err := checkRename(dir); err != nil {
		return -1, wrap("mkdir", name, err)
	}
	temporary := "." + name + ".l4d2-host"
	if err := RemoveAll(dir, temporary); err != nil {
		return -1, err
	}
	if err := unix.Mkdirat(dir, temporary, 0o700); err != nil {
		return -1, wrap("mkdir", temporary, err)
	}
	if fd, err = OpenDir(dir, temporary); err == nil {
		if err = finishDir(dir, temporary, name, fd, parent); err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	unix.Unlinkat(dir, temporary, unix.AT_REMOVEDIR)
	return -1, err
}

// finishDir gives the directory temporary, open as fd, its owner, mode and name.
func finishDir(dir int, temporary, name string, fd int, parent unix.Stat_t) error {
	// Mode last: whoever can open the directory before it is whole finds it shut.
	if err := unix.Fchown(fd, int(parent.Uid), int(parent.Gid)); err != nil {
		return wrap("chown", name, err)
	}
	if err := unix.Fchmod(fd, 0o755); err != nil {
		return wrap("chmod", name, err)
	}
	if err := unix.Renameat2(dir, temporary, dir, name, unix.RENAME_NOREPLACE); err != nil {
		return wrap("mkdir", name, err)
	}
	return isSame(dir, name, fd)
}

// File is what WriteFile leaves behind.
type File struct {
	Data     []byte
	Mode     uint32
	UID, GID int
}

// WriteFile replaces the file name in dir by one of its own making, in one
// rename: readers see the old file or the new one, never a part. Whatever bore
// the name (a link, a FIFO, one of several hard links) loses the name and is
// otherwise untouched; a directory is left, with the error EISDIR. The file is
// not synced to disk.
func WriteFile(dir int, name string, f File) error {
	if err := checkRename(dir); err != nil {
		return wrap("write", name, err)
	}
	temporary := "." + name + ".l4d2-host"
	if err := unix.Unlinkat(dir, temporary, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return wrap("unlink", temporary, err)
	}
	fd, err := unix.Openat2(dir, temporary, &unix.OpenHow{
		Flags:   unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_CLOEXEC,
		Mode:    0o600,
		Resolve: resolve,
	})
	if err != nil {
		return wrap("create", temporary, err)
	}
	defer unix.Close(fd)
	if err := fill(fd, f); err != nil {
		unix.Unlinkat(dir, temporary, 0)
		return wrap("write", name, err)
	}
	if err := unix.Renameat(dir, temporary, dir, name); err != nil {
		unix.Unlinkat(dir, temporary, 0)
		return wrap("replace", name, err)
	}
	return isSame(dir, name, fd)
}

func fill(fd int, f File) error {
	for data := f.Data; len(data) > 0; {
		n, err := unix.Write(fd, data)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		data = data[max(n, 0):]
	}
	if err := unix.Fchown(fd, f.UID, f.GID); err != nil {
		return err
	}
	return unix.Fchmod(fd, f.Mode)
}

// checkRename returns EPERM for an append-only directory. What is made in one
// can neither get its name later nor be removed again; in an overlay, to make it
// would even carry the flag from the layer to the upper directory for good.
func checkRename(dir int) error {
	var st unix.Statx_t
	err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_TYPE, &st)
	if err == nil && st.Attributes&unix.STATX_ATTR_APPEND != 0 {
		err = unix.EPERM
	}
	return err
}

// ErrExchanged says that someone replaced what was being written meanwhile.
var ErrExchanged = errors.New("another process exchanged it meanwhile")

// isSame makes sure that name in dir is the file open as fd: someone may have
// put another one under the temporary name just before the rename.
func isSame(dir int, name string, fd int) error {
	var want, got unix.Stat_t
	if err := unix.Fstat(fd, &want); err != nil {
		return wrap("stat", name, err)
	}
	if err := unix.Fstatat(dir, name, &got, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return wrap("stat", name, err)
	}
	if want.Ino != got.Ino || want.Dev != got.Dev {
		return wrap("replace", name, ErrExchanged)
	}
	return nil
}

func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{op, path, err}
}
