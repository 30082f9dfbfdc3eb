// Package layers is what an overlay shows, worked out from its directories
// without mounting anything: which layer a file comes from, what it hides, and
// what the topmost layer has changed.
//
// It follows the rules of Linux' overlayfs as package overlay mounts it, with
// index, metacopy and redirect_dir off (fs/overlayfs/namei.c and readdir.c of
// Linux 6.18); a test compares it with the kernel. Older kernels than 6.7 take
// the whiteouts that are extended attributes for empty files; only root can
// have made such, and nothing here does.
//
// The game's user can write all these trees, and may be doing so at this
// moment. Names are looked up beneath the layer's directory, no link is
// followed and no mount crossed, nothing but regular files and directories is
// ever opened, and every path can be anyone's text. What a layer has on
// another mount is an error: an overlay would show what is below that mount.
package layers

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Layer is one directory tree.
type Layer struct {
	Name string // for messages and programs
	Path string // where it is, for messages
	Dir  int    // its descriptor, open for reading
}

// Close closes the layer's descriptor.
func (l *Layer) Close() { unix.Close(l.Dir) }

// Type is what kind of file an entry is.
type Type string

// The types. A Whiteout says that a name is deleted.
const (
	File      Type = "file"
	Directory Type = "directory"
	Symlink   Type = "symlink"
	FIFO      Type = "fifo"
	Socket    Type = "socket"
	Device    Type = "device"
	Whiteout  Type = "whiteout"
)

// Entry is what one layer has under a name.
type Entry struct {
	Type     Type
	Opaque   bool   // a directory that hides what lower layers have in it
	Mode     uint32 // permission bits, 0o7777
	UID, GID uint32
	Size     int64 // of a file, in bytes
	Modified time.Time
	Links    uint64 // hard links
	Dev, Ino uint64
}

// Error is about one file of a layer. The path is printed quoted.
type Error struct {
	Op   string
	Path string // with the layer's in front
	Err  error
}

func (e *Error) Error() string {
	cause := e.Err.Error()
	switch {
	case errors.Is(e.Err, unix.EXDEV):
		cause = "something is mounted there: unmount it"
	case errors.Is(e.Err, unix.ENAMETOOLONG):
		cause = "the path is longer than 4095 bytes: remove what is so deep"
	}
	return fmt.Sprintf("%s %s: %s", e.Op, strconv.Quote(e.Path), cause)
}

func (e *Error) Unwrap() error { return e.Err }

func (l *Layer) fail(op, name string, err error) error {
	return &Error{op, path.Join(l.Path, name), err}
}

const resolve = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS |
	unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

func (l *Layer) open(name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	for {
		fd, err := unix.Openat2(l.Dir, name, &how)
		// EAGAIN: a rename somewhere on the host raced with the lookup.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// absent says that the layer has nothing under the name: not there, or a parent
// is no directory, or has just been exchanged for a link.
func absent(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// Stat returns what the layer has at name, a path relative to its root ("."
// is the root itself). The error is fs.ErrNotExist where it has nothing.
func (l *Layer) Stat(name string) (Entry, error) {
	e, found, err := l.look(name)
	if err == nil && !found {
		err = l.fail("look up", name, fs.ErrNotExist)
	}
	return e, err
}

// look is Stat without an error, which costs more than the look, where there is
// nothing.
func (l *Layer) look(name string) (e Entry, found bool, err error) {
	fd, err := l.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if absent(err) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, l.fail("look up", name, err)
	}
	defer unix.Close(fd)
	if e, err = describe(fd); err != nil {
		return Entry{}, false, l.fail("look at", name, err)
	}
	return e, true, nil
}

// describe looks at an O_PATH descriptor.
func describe(fd int) (Entry, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Entry{}, err
	}
	e := Entry{
		Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Size: st.Size,
		Modified: time.Unix(st.Mtim.Unix()), Links: uint64(st.Nlink), Dev: st.Dev, Ino: st.Ino,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type = File
		if st.Size == 0 {
			_, marked, err := attribute(fd, "trusted.overlay.whiteout")
			if err != nil {
				return Entry{}, err
			}
			if marked {
				e.Type = Whiteout
			}
		}
	case unix.S_IFDIR:
		value, _, err := attribute(fd, OpaqueAttribute)
		if err != nil {
			return Entry{}, err
		}
		// "x" would say that the directory has whiteouts that are attributes.
		e.Type, e.Opaque, e.Size = Directory, value == "y", 0
	case unix.S_IFLNK:
		e.Type, e.Size = Symlink, 0
	case unix.S_IFIFO:
		e.Type = FIFO
	case unix.S_IFSOCK:
		e.Type = Socket
	case unix.S_IFCHR:
		e.Type = Device
		if st.Rdev == 0 {
			e.Type = Whiteout
		}
	default:
		e.Type = Device
	}
	return e, nil
}

// OpaqueAttribute is the extended attribute of an opaque directory; its value
// is then "y".
const OpaqueAttribute = "trusted.overlay.opaque"

// attribute returns a short extended attribute of the O_PATH descriptor fd,
// and whether it has it.
func attribute(fd int, name string) (string, bool, error) {
	var buf [16]byte
	// fgetxattr(2) takes no O_PATH descriptor; the magic link leads to the
	// very file, also to a link or a device, and opens nothing.
	n, err := unix.Getxattr("/proc/self/fd/"+strconv.Itoa(fd), name, buf[:])
	switch {
	case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
		return "", false, nil
	case errors.Is(err, unix.ERANGE):
		return "", true, nil
	case err != nil:
		return "", false, err
	}
	return string(buf[:n]), true, nil
}

// Names returns what the layer has in the directory name, in their order; none
// if it is no directory.
func (l *Layer) Names(name string) ([]string, error) {
	fd, err := l.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		if absent(err) {
			return nil, nil
		}
		return nil, l.fail("open", name, err)
	}
	f := os.NewFile(uintptr(fd), unnamed)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, l.fail("list", name, err)
	}
	slices.Sort(names)
	return names, nil
}

// Pin opens what is at name without opening it, whatever it is (O_PATH), and
// describes it: so it can be linked to, or opened if it is the right thing.
func (l *Layer) Pin(name string) (int, Entry, error) {
	fd, err := l.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		if absent(err) {
			err = fs.ErrNotExist
		}
		return -1, Entry{}, l.fail("open", name, err)
	}
	e, err := describe(fd)
	if err != nil {
		unix.Close(fd)
		return -1, Entry{}, l.fail("open", name, err)
	}
	return fd, e, nil
}

// Open opens the regular file at name for reading, and describes it. Anything
// else is refused unopened: a FIFO would wait for ever, a device do whatever
// opening it does.
func (l *Layer) Open(name string) (*os.File, Entry, error) {
	pinned, e, err := l.Pin(name)
	if err != nil {
		return nil, Entry{}, err
	}
	defer unix.Close(pinned)
	if e.Type != File {
		return nil, Entry{}, l.fail("open", name, fmt.Errorf("not a regular file, but a %s", e.Type))
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(pinned), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, Entry{}, l.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), unnamed), e, nil
}

// unnamed is the name of every os.File here: errors print theirs unquoted.
const unnamed = "it"

// Readlink returns where the symbolic link at name leads: anyone's text.
func (l *Layer) Readlink(name string) (string, error) {
	fd, err := l.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", l.fail("readlink", name, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", l.fail("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// Read returns the contents of the regular file at name, at most limit bytes.
func (l *Layer) Read(name string, limit int64) ([]byte, error) {
	f, _, err := l.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("longer than %d bytes", limit)
	}
	if err != nil {
		return nil, l.fail("read", name, err)
	}
	return data, nil
}
