package machine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Path returns the host's path to a path inside: through the running system, so
// that /run and all other mounts are seen, or in the tree when the machine is
// off. It holds until the machine is next started or stopped. An absolute
// symbolic link on the way leads to the host; ReadFile and WriteFile know better.
func (m *Machine) Path(inside string) string {
	return filepath.Join(m.base(), inside)
}

func (m *Machine) base() string {
	if p := m.running(); p != nil {
		return fmt.Sprintf("/proc/%d/root", p.leader)
	}
	return m.place.tree()
}

// ReadFile returns the content of a file inside. The error is an *fs.PathError,
// so that fs.ErrNotExist can be told.
func (m *Machine) ReadFile(inside string) ([]byte, error) {
	f, err := m.open(inside, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile writes a file inside, in place if it is there, and makes the
// directories that lead to it (0755). Owned by root; mode is exact for a new file.
func (m *Machine) WriteFile(inside string, data []byte, mode os.FileMode) error {
	f, err := m.create(inside, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// Push copies a file of the host, with its mode, to a path inside.
func (m *Machine) Push(host, inside string) error {
	from, err := os.Open(host)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	to, err := m.create(inside, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// create opens a file inside for writing, with the directories above it.
func (m *Machine) create(inside string, mode os.FileMode) (*os.File, error) {
	parts := strings.Split(strings.Trim(filepath.Clean(inside), "/"), "/")
	for i := 1; i < len(parts); i++ {
		if err := m.mkdir(strings.Join(parts[:i-1], "/"), parts[i-1]); err != nil {
			return nil, err
		}
	}
	f, err := m.open(inside, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, uint64(mode.Perm()))
	if err != nil {
		return nil, err
	}
	return f, f.Chmod(mode) // whatever the umask
}

// mkdir makes the directory name in parent unless something is there.
func (m *Machine) mkdir(parent, name string) error {
	dir, err := m.open(parent, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Mkdirat(int(dir.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return &os.PathError{Op: "mkdir", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return nil
}

// open resolves a path as the machine does: its root is the root, also for
// symbolic links.
func (m *Machine) open(inside string, flags int, mode uint64) (*os.File, error) {
	base := m.base()
	root, err := unix.Open(base, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: base, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Mode: mode, Resolve: unix.RESOLVE_IN_ROOT}
	if inside = strings.TrimLeft(inside, "/"); inside == "" {
		inside = "."
	}
	fd, err := unix.Openat2(root, inside, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: filepath.Join(base, inside), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(base, inside)), nil
}
