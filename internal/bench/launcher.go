package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// launcher starts programs one after the other and times them.
type launcher struct {
	dir   string
	env   []string
	paths map[string]string
	work  chan func()
}

// newLauncher returns a launcher in the working directory dir. With own, what
// it starts is in a copy of the mount namespace, made now, as systemd makes
// one for the steps of a unit with a sandbox.
func newLauncher(dir string, env []string, own bool) *launcher {
	l := &launcher{dir, env, map[string]string{}, make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // its mount namespace is what the children get
		err := error(nil)
		if own {
			err = unix.Unshare(unix.CLONE_NEWNS)
		}
		ready <- err
		for f := range l.work {
			f()
		}
	}()
	if err := <-ready; err != nil {
		panic(err)
	}
	return l
}

// run starts argv and returns the time from fork to exit. What the program
// says is part of the error, should it fail.
func (l *launcher) run(argv []string) (took time.Duration, err error) {
	done := make(chan struct{})
	l.work <- func() {
		took, err = l.start(argv)
		close(done)
	}
	<-done
	return took, err
}

func (l *launcher) start(argv []string) (time.Duration, error) {
	path := l.paths[argv[0]]
	if path == "" {
		var err error
		if path, err = exec.LookPath(argv[0]); err != nil {
			return 0, err
		}
		l.paths[argv[0]] = path
	}
	said, err := unix.MemfdCreate("said", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, err
	}
	defer unix.Close(said)
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	begin := time.Now()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir: l.dir, Env: l.env, Files: []uintptr{null.Fd(), uintptr(said), uintptr(said)},
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	took := time.Since(begin)
	if err == nil && status != 0 {
		text := make([]byte, 4096)
		n, _ := unix.Pread(said, text, 0)
		err = fmt.Errorf("status %#x: %s", uint32(status), strings.TrimSpace(string(text[:max(n, 0)])))
	}
	return took, err
}

// reapOrphans waits until all that programs left in the background have ended,
// as the daemon of fuse-overlayfs does after its unmount. This process is PID 1
// to them.
func reapOrphans(limit time.Duration) error {
	for end := time.Now().Add(limit); time.Now().Before(end); {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if errors.Is(err, unix.ECHILD) {
			return nil
		}
		if pid == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	return errors.New("a program that was left in the background does not end")
}
