package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/privatens"
)

func testSink(t *testing.T, ctx context.Context) *sink {
	t.Helper()
	privatens.Need(t)
	dir, err := unix.Open(t.TempDir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(dir) })
	s, err := newSink(ctx, dir, activation.Owner{UID: os.Getuid(), GID: os.Getgid()}, 0)
	must(t, err)
	return s
}

// An archive of nothing but directories and links can be interrupted as well.
func TestInterruptWithoutFiles(t *testing.T) {
	ctx, interrupt := context.WithCancel(context.Background())
	s := testSink(t, ctx)
	must(t, s.Directory("a"))
	must(t, s.Link("b", "a"))
	interrupt()
	for _, err := range []error{s.Directory("c"), s.Link("d", "a")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the interrupt: %v", err)
		}
	}
}

// What holds nothing takes room too.
func TestEmptyFilesTakeRoom(t *testing.T) {
	for what, put := range map[string]func(s *sink, name string) error{
		"files":       func(s *sink, name string) error { return s.File(name, false, strings.NewReader("")) },
		"directories": func(s *sink, name string) error { return s.Directory(name) },
		"links":       func(s *sink, name string) error { return s.Link(name, "x") },
	} {
		s := testSink(t, context.Background())
		s.room = 10 * block
		var err error
		n := 0
		for ; err == nil && n < 100; n++ {
			err = put(s, fmt.Sprint(n))
		}
		if !errors.Is(err, errNoRoom) || n != 11 {
			t.Errorf("%d %s in room for 10: %v", n-1, what, err)
		}
	}
}
