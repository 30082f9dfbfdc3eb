package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Command is a program to run inside.
type Command struct {
	Args           []string // the program, looked up in the machine's PATH, and its arguments
	Env            []string // NAME=VALUE, on top of PATH, HOME, LANG and TERM
	Stdin          io.Reader
	Stdout, Stderr io.Writer // nil discards
}

// Result is what a program left behind.
type Result struct {
	Stdout, Stderr string
	Code           int // exit code; 128 plus the signal's number when it was killed
}

// Run runs a program as root in the machine's namespaces, with nothing on its
// standard input, and returns what it printed and its exit code: a code other
// than 0 is no error. When ctx ends, or after five minutes, the program and all
// it started are killed; otherwise what it left in the background runs on. The
// program belongs to no unit: where that matters, run systemd-run --pipe --wait.
func (m *Machine) Run(ctx context.Context, argv ...string) (Result, error) {
	if m.running() == nil {
		return Result{Code: -1}, m.wrap("run "+argv[0], ErrOff)
	}
	// Files, not pipes: a program left in the background would hold a pipe
	// open and Run back.
	var files [2]*os.File
	for i := range files {
		f, err := scratch(m.place.dir)
		if err != nil {
			return Result{Code: -1}, m.wrap("run "+argv[0], err)
		}
		defer f.Close()
		files[i] = f
	}
	code, err := m.Exec(ctx, Command{Args: argv, Stdout: files[0], Stderr: files[1]})
	return Result{Stdout: readBack(files[0]), Stderr: readBack(files[1]), Code: code}, err
}

// Shell runs a script with the machine's /bin/sh, as Run does.
func (m *Machine) Shell(ctx context.Context, script string) (Result, error) {
	return m.Run(ctx, "/bin/sh", "-c", script)
}

// Exec is Run for a program that needs an input, an environment, or a reader
// while it runs. It returns the exit code.
func (m *Machine) Exec(ctx context.Context, c Command) (int, error) {
	what := "run " + c.Args[0]
	p := m.running()
	if p == nil {
		return -1, m.wrap(what, ErrOff)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, runLimit, fmt.Errorf("not done within %s", runLimit))
	defer cancel()
	// A group of its own is what makes it possible to kill the program: the
	// process inside is not a child of ours but of nsenter.
	group, err := os.MkdirTemp(m.place.group, "run-")
	if err != nil {
		return -1, m.wrap(what, err)
	}
	defer os.Remove(group) // fails while something runs on, and the warden removes it
	groupDir, err := os.Open(group)
	if err != nil {
		return -1, m.wrap(what, err)
	}
	defer groupDir.Close()

	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(p.leader), "--all", "--"}, c.Args...)...)
	cmd.Env = append([]string{searchPath, "HOME=/root", "LANG=C.UTF-8", "TERM=dumb"}, c.Env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(groupDir.Fd())}
	cmd.Cancel = func() error { return killInside(group, cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, m.wrap(what, context.Cause(ctx))
	case errors.As(err, &exit):
		if s := exit.Sys().(syscall.WaitStatus); s.Signaled() {
			return 128 + int(s.Signal()), nil
		}
		return exit.ExitCode(), nil
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return -1, m.wrap(what, err)
	}
	return 0, nil
}

// killInside ends everything in a control group but the nsenter that runs it,
// which thereupon ends by itself. Killed first, nsenter would leave its child to
// the host's process 1, and as long as that did not reap it the machine would
// see a process that no signal ends: its shutdown waits 10 s for such.
func killInside(group string, nsenter int) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		list, err := os.ReadFile(filepath.Join(group, "cgroup.procs"))
		if err != nil || len(list) == 0 {
			return err
		}
		for _, field := range strings.Fields(string(list)) {
			// 0 stands for a process that cannot be seen from here.
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && pid != nsenter {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
	return os.WriteFile(filepath.Join(group, "cgroup.kill"), []byte("1"), 0)
}

// Journal returns what journalctl prints with these arguments: of the running
// system, or, when the machine is off, from the journal in its tree, which then
// tells of the shutdown too.
func (m *Machine) Journal(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"--no-pager"}, args...)
	if m.running() == nil {
		// The machine's own journalctl: the host's may be older.
		args = append([]string{m.place.tree(), "journalctl", "--directory=/var/log/journal"}, args...)
		cmd := exec.CommandContext(ctx, "chroot", args...)
		cmd.Env = []string{searchPath, "LANG=C.UTF-8"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return string(out), m.wrap("journal", fmt.Errorf("%w: %s", err, out))
		}
		return string(out), nil
	}
	// journald writes in its own time; wait for what was logged until now.
	if _, err := m.Run(ctx, "journalctl", "--sync"); err != nil {
		return "", err
	}
	r, err := m.Run(ctx, append([]string{"journalctl"}, args...)...)
	if err == nil && r.Code != 0 {
		err = m.wrap("journal", fmt.Errorf("exit code %d: %s", r.Code, r.Stderr))
	}
	return r.Stdout, err
}

// Console returns what systemd and systemd-nspawn printed, over all boots.
func (m *Machine) Console() string {
	text, _ := os.ReadFile(m.place.console())
	return string(text)
}
