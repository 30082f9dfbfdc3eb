package activation

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/privatens"
)

// With many layers the thread that mounts has descriptors of its own, which no
// other waits for; with few ones it is not worth it.
func TestOwnDescriptors(t *testing.T) {
	for _, layers := range []int{2, manyLayers + 1} {
		t.Run(fmt.Sprint(layers), func(t *testing.T) {
			h := newHost(t)
			names := make([]string, layers)
			for i := range names {
				names[i] = fmt.Sprintf("l%d", i)
				h.layer(names[i])
			}
			h.configure(names...)
			h.Alone = true
			done := make(chan error)
			go func() { // not the test's goroutine: its thread is the one that changes
				privatens.LockThread()
				err := errors.Join(h.Mount(), seesOthers(layers <= manyLayers), h.Unmount())
				// Changed layers: all that the server wrote is compared with them.
				slices.Reverse(names)
				h.configure(names...)
				done <- errors.Join(err, h.Mount(), h.Unmount())
			}()
			must(t, <-done)
			h.wantFree()
			if strings.Contains(h.said.String(), "not known") {
				t.Errorf("said:\n%s", h.said)
			}
		})
	}
}

// seesOthers returns an error unless another thread has what this one opens, or
// not.
func seesOthers(want bool) error {
	fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var here, there unix.Stat_t
	if err := unix.Fstat(fd, &here); err != nil {
		return err
	}
	found := make(chan bool)
	go func() {
		runtime.LockOSThread()
		err := unix.Fstat(fd, &there)
		found <- err == nil && here.Ino == there.Ino && here.Dev == there.Dev
	}()
	if got := <-found; got != want {
		return fmt.Errorf("another thread sees the descriptor: %v, want %v", got, want)
	}
	return nil
}
