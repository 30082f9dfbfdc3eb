package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Extension is how the names of backups end.
const Extension = ".tar.zst"

// File is a compressed archive in the making. It gets its name when it is
// whole; until then it has one that begins with a dot and ends in ".new".
type File struct {
	path, temporary string
	file            *os.File
	zstd            *zstd.Encoder
}

// Create begins the file at path, which must not exist, readable by nobody but
// its owner: it holds passwords.
func Create(path string) (*File, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
	}
	f := &File{path: path, temporary: filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")}
	// Of a run that was killed.
	if err := os.Remove(f.temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var err error
	f.file, err = os.OpenFile(f.temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if f.zstd, err = zstd.NewWriter(f.file); err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	return f, nil
}

// Write compresses data into the file.
func (f *File) Write(data []byte) (int, error) { return f.zstd.Write(data) }

// Commit completes the file, on disk too, and gives it its name. It returns its
// size in bytes.
func (f *File) Commit() (int64, error) {
	err := f.zstd.Close()
	if err == nil {
		err = f.file.Sync()
	}
	info, statErr := f.file.Stat()
	if err = errors.Join(err, statErr); err == nil {
		// A link, unlike a rename, replaces nothing. By the descriptor: the temporary
		// name may be another's by now, who writes to the same path.
		from := "/proc/self/fd/" + strconv.Itoa(int(f.file.Fd()))
		if err = unix.Linkat(unix.AT_FDCWD, from, unix.AT_FDCWD, f.path, unix.AT_SYMLINK_FOLLOW); err != nil {
			err = &os.LinkError{Op: "link", Old: f.temporary, New: f.path, Err: err}
		}
	}
	err = errors.Join(err, f.file.Close(), os.Remove(f.temporary))
	if err != nil {
		return 0, err
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return 0, err
	}
	return info.Size(), errors.Join(dir.Sync(), dir.Close())
}

// Abort removes what has been written.
func (f *File) Abort() error {
	if f.zstd != nil {
		_ = f.zstd.Close() // it holds buffers; what it writes goes with the file
	}
	return errors.Join(f.file.Close(), os.Remove(f.temporary))
}

// maxWindow, in bytes, bounds the memory that a file can ask for; ours ask for
// 8 MiB at the most.
const maxWindow = 64 << 20

// OpenFile opens a compressed archive and reads its head. progress is told how
// many bytes of the file have been read, of size; close ends it all.
func OpenFile(path string, progress func(n int)) (a *Reader, size int64, closeAll func(), err error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	z, err := zstd.NewReader(&counted{f, progress}, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	closeAll = func() { z.Close(); f.Close() }
	if a, err = Open(z); err != nil {
		closeAll()
		return nil, 0, nil, fmt.Errorf("%s: %w", path, err)
	}
	return a, info.Size(), closeAll, nil
}

type counted struct {
	r        io.Reader
	progress func(int)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.progress != nil {
		c.progress(n)
	}
	return n, err
}
