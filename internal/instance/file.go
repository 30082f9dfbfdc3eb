package instance

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/rawio"
)

// ReadFile returns the contents of a regular file of at most limit bytes; the
// last element of path may be no symbolic link.
func ReadFile(path string, limit int) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	fd, err := rawio.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: a symbolic link, not a regular file", path)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	data, err := rawio.ReadAll(fd, int(min(st.Size, int64(limit))), limit)
	if errors.Is(err, rawio.ErrLong) {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, limit)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return data, nil
}
