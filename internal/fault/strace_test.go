package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// call is one system call of a traced run.
type call struct {
	Name string
	N    int    // the Nth of its name, from 1
	Text string // as strace prints it
	Own  bool   // the program's, after its start; not the Go runtime's
}

// runtimeCalls are those that the Go runtime makes when it likes, and gives up
// over when they fail.
var runtimeCalls = []string{
	"arch_prctl", "clock_gettime", "clone", "clone3", "epoll_create1", "epoll_ctl", "epoll_pwait", "eventfd2",
	"execve", "exit_group", "futex", "getpid", "gettid", "getrandom", "madvise", "mmap", "mprotect", "munmap",
	"nanosleep", "prctl", "restart_syscall", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity",
	"sched_yield", "sigaltstack", "tgkill", "timer_create", "timer_delete", "timer_settime", "uname",
}

var callLine = regexp.MustCompile(`(?m)^([a-z0-9_]+)\(.*$`)

// parseTrace reads strace's output. What comes between the start of a program,
// or of its second run when it executes itself again, and the call
// with first in its text is its runtime's doing.
func parseTrace(text, first string) []call {
	var calls []call
	count := map[string]int{}
	started := false
	for _, m := range callLine.FindAllStringSubmatch(text, -1) {
		name := m[1]
		if len(calls) > 0 {
			count[name]++ // strace does not count the execve that it starts with
		}
		started = started || strings.Contains(m[0], first)
		own := started && !slices.Contains(runtimeCalls, name)
		if name == "execve" {
			own, started = started, false
		}
		calls = append(calls, call{name, count[name], m[0], own})
	}
	return calls
}

// fault is what happens to a call: kill, or the name of an error.
type fault string

const kill fault = "KILL"

// injection is strace's option for the fault f on the nth call called name.
func (f fault) injection(name string, n int) string {
	what := "error=" + string(f)
	if f == kill {
		what = "signal=KILL"
	}
	return fmt.Sprintf("inject=%s:%s:when=%d", name, what, n)
}

// run is a program that ended.
type run struct {
	Code  int    // -1 if it was killed
	Said  string // on stderr
	Trace string
}

// limit bounds one run of a program, which takes milliseconds; an unmount that
// stays busy gives up after seconds.
const limit = 30 * time.Second

// execute runs argv. In a sandbox it gets a mount namespace of its own, as
// systemd gives to the steps of a unit.
func execute(sandbox bool, env []string, argv ...string) run {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = env
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Cancel = func() error { return unix.Kill(-1, unix.SIGKILL) } // we are PID 1: all the others
	if sandbox {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		panic(err)
	}
	r := run{Code: cmd.ProcessState.ExitCode(), Said: said.String()}
	if ctx.Err() != nil {
		r.Said += "(it hung, and was killed)\n"
	}
	return r
}

// trace runs argv under strace with its injections; only is the calls to
// write down, "" for all.
func trace(output, only string, injections, env, argv []string) run {
	args := []string{"strace", "-q", "-o", output}
	if only != "" {
		args = append(args, "-e", "trace="+only)
	}
	for _, i := range injections {
		args = append(args, "-e", i)
	}
	must(os.WriteFile(output, nil, 0o600))
	r := execute(true, env, slices.Concat(args, []string{"--"}, argv)...)
	text, err := os.ReadFile(output)
	must(err)
	r.Trace = string(text)
	return r
}

// happened reports whether the fault was injected.
func (r run) happened(f fault) bool {
	if f == kill {
		return strings.Contains(r.Trace, "killed by SIGKILL")
	}
	return strings.Contains(r.Trace, "(INJECTED)")
}

// others returns the processes that are left beside us; the dead among them,
// which nobody but PID 1 can wait for, are waited for first.
func others() []string {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		if pid <= 0 || err != nil {
			break
		}
	}
	entries, err := os.ReadDir("/proc")
	must(err)
	var left []string
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			command, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
			left = append(left, fmt.Sprintf("%d %q", pid, command))
		}
	}
	return left
}
