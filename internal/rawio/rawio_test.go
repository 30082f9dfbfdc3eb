package rawio

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const limit = 3000
	for _, size := range []int{0, 1, limit - 1, limit, limit + 1} {
		for _, expected := range []int{-1, 0, 1, size, 10 * limit} {
			want := bytes.Repeat([]byte("x"), size)
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
			fd, err := Open(path, unix.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadAll(fd, expected, limit)
			unix.Close(fd)
			switch {
			case size > limit && !errors.Is(err, ErrLong):
				t.Errorf("%d bytes, expecting %d: %v, want ErrLong", size, expected, err)
			case size <= limit && (err != nil || !bytes.Equal(got, want)):
				t.Errorf("%d bytes, expecting %d: %d bytes, %v", size, expected, len(got), err)
			}
		}
	}
	if _, err := ReadAll(-1, 10, 10); !errors.Is(err, unix.EBADF) {
		t.Errorf("of no descriptor: %v", err)
	}
}

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var e *fs.PathError
	if _, err := Open(path, unix.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &e) || e.Path != path {
		t.Errorf("nothing there: %v", err)
	}
	fd, err := Open(path, unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags != unix.FD_CLOEXEC {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
}
