package instance

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	const limit = 3000
	for _, size := range []int{0, 1, limit - 1, limit} {
		want := bytes.Repeat([]byte("x"), size)
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := ReadFile(path, limit); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d bytes, %v", size, len(got), err)
		}
	}
	// A file whose size is not known beforehand.
	if got, err := ReadFile("/proc/self/status", limit); err != nil || !bytes.HasPrefix(got, []byte("Name:")) || !bytes.HasSuffix(got, []byte("\n")) {
		t.Errorf("/proc/self/status: %q, %v", got, err)
	}
	if _, err := ReadFile(filepath.Join(dir, "none"), limit); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("none: %v", err)
	}
}

func TestReadFileRefuses(t *testing.T) {
	dir := t.TempDir()
	long, link, fifo := filepath.Join(dir, "long"), filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(long, make([]byte, 11), 0o600), os.Symlink(long, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		long:                "longer than 10 bytes",
		link:                "a symbolic link, not a regular file",
		fifo:                "not a regular file",
		dir:                 "not a regular file",
		"/proc/self/status": "longer than 10 bytes",
	} {
		if _, err := ReadFile(path, 10); err == nil || err.Error() != path+": "+want {
			t.Errorf("%v, want %s: %s", err, path, want)
		}
	}
}
