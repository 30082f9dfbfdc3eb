package steam

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Watcher is told what goes on during a run.
type Watcher interface {
	Line(line string)    // anything that steamcmd prints but progress
	Progress(p Progress) // as often as steamcmd prints it
}

const (
	// graceful is how long steamcmd has to end after SIGTERM.
	graceful = 20 * time.Second
	// silence is how long steamcmd may say nothing before it counts as hanging.
	// Without a terminal it holds progress back, some minutes of it.
	silence = 30 * time.Minute
	// leftOver is how long the output is read after steamcmd has ended.
	leftOver = 5 * time.Second
)

// Run runs steamcmd once. The error is a *Failure, or ctx's when that ended.
func (c Command) Run(ctx context.Context, w Watcher) error {
	ctx, hang := context.WithCancelCause(ctx)
	defer hang(nil)
	watchdog := time.AfterFunc(silence, func() {
		hang(&Failure{Transient, fmt.Sprintf("nothing was printed for %s", silence)})
	})
	defer watchdog.Stop()

	var v verdict
	out := &splitter{emit: func(line string) {
		watchdog.Reset(silence)
		if p, ok := ParseProgress(line); ok {
			w.Progress(p)
			return
		}
		w.Line(line)
		v.judge(line)
	}}
	err := c.start(ctx, out)
	out.flush()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return v.conclude(err)
}

// conclude takes together what steamcmd said and how it ended.
func (v verdict) conclude(ended error) error {
	switch {
	case v.failure != nil:
		return v.failure
	case ended != nil:
		// Not only codes of its own, 1 to 8 in public reports with no certain
		// meaning: it may have been killed.
		return &Failure{Transient, ended.Error()}
	case !v.success:
		return &Failure{Transient, "it ended without saying that app " + App + " is fully installed"}
	}
	return nil
}

// start runs the program to its end, with its output going to out.
func (c Command) start(ctx context.Context, out io.Writer) error {
	cmd := exec.Command(c.Path, c.Args()...)
	cmd.Dir = c.Home
	cmd.Env = c.environment(os.Environ())
	// No controlling terminal, and nobody there to answer: a prompt for a
	// password reads the end of the file.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	output, theirs, err := openOutput()
	if err != nil {
		return err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = theirs, theirs
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(out, output) // a terminal ends with EIO
	}()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = end(cmd.Process.Pid, ended)
	}
	// What steamcmd.sh started and left behind holds the output open.
	unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	select {
	case <-read:
	case <-time.After(leftOver): // in a session of its own
		output.Close()
		<-read
	}
	return err
}

// end asks the whole process group of the leader pid to end, and makes it.
func end(pid int, ended <-chan error) error {
	unix.Kill(-pid, unix.SIGTERM)
	select {
	case err := <-ended:
		return err
	case <-time.After(graceful):
		unix.Kill(-pid, unix.SIGKILL)
		return <-ended
	}
}

// environment is what steamcmd needs of ours: in LD_PRELOAD and the like may
// be what is not for a 32-bit program, and it is not to speak to systemd.
func (c Command) environment(ours []string) []string {
	env := []string{"HOME=" + c.Home, "LC_ALL=C.UTF-8"}
	for _, entry := range ours {
		name, _, _ := strings.Cut(entry, "=")
		switch name {
		case "PATH", "TZ", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
			env = append(env, entry)
		}
	}
	return env
}

// openOutput returns the two ends of what steamcmd writes to: a terminal,
// because to a pipe the C library writes in blocks of 4 KiB, minutes of progress
// (Source-1-Games#1684, #1929; LinuxGSM#3655). Where there is none, a pipe.
func openOutput() (ours, theirs *os.File, err error) {
	if ours, theirs, err = openTerminal(); err == nil {
		return ours, theirs, nil
	}
	return os.Pipe()
}

func openTerminal() (ours, theirs *os.File, err error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*os.File, *os.File, error) {
		unix.Close(master)
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return fail(err)
	}
	// By number, and not through /dev/pts, which a sandbox may show differently
	// (Linux 4.13).
	slave, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return fail(errno)
	}
	// Not blocking, so that Close ends a Read.
	if err := unix.SetNonblock(master, true); err != nil {
		unix.Close(int(slave))
		return fail(err)
	}
	return os.NewFile(uintptr(master), "/dev/ptmx"), os.NewFile(uintptr(slave), "terminal"), nil
}
