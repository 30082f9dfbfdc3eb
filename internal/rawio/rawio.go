// Package rawio opens and reads files by system calls alone. It is for the
// privileged helper, which runs for two milliseconds: a file of package os makes
// the runtime set up its poller, which costs more than all that is read then.
package rawio

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Open is open(2), with O_CLOEXEC. The error names the path.
func Open(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		if err == nil {
			return fd, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return -1, &fs.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// ErrLong says that there is more to read than the limit.
var ErrLong = errors.New("too long")

// ReadAll reads fd to its end, at most limit bytes; a buffer of size bytes is
// what is expected to hold it all. The error is the kernel's, or ErrLong.
func ReadAll(fd, size, limit int) ([]byte, error) {
	// One byte more, to see the end.
	data := make([]byte, 0, max(0, min(size, limit, 1<<30))+1)
	for {
		n, err := unix.Read(fd, data[len(data):cap(data)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return data, nil
		}
		data = data[:len(data)+n]
		if len(data) > limit {
			return nil, ErrLong
		}
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}
