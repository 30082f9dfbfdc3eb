package fault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// job is one case: what is run, and what happens to which call of it.
type job struct {
	Scenario string
	Call     call
	Fault    fault  // "" for none: the calls of a good run are asked for
	Then     string // the verb that is tried first afterwards
	// Force is which fsconfig is to succeed without having been made, so that
	// the kernel looks too old for l4d2-overlay's first way to mount; 0 none.
	Force int
}

func (j job) String() string {
	return fmt.Sprintf("%s: %s at %s, call %d: %s; then %s", j.Scenario, j.Fault, j.Call.Name, j.Call.N, j.Call.Text, j.Then)
}

// outcome is what came of a job.
type outcome struct {
	Job      job
	Calls    []call
	Happened bool     // the call was reached
	Code     int      // exit status, -1 for a killed program
	Problems []string // what is not as it must be
	Command  string   // what was run, in a shell's words
}

// serve is PID 1: it does the jobs that come in as JSON until there are no
// more, and answers each.
func serve(dir string, in io.Reader, out io.Writer) {
	isolate(dir)
	w := newWorld(dir)
	answers := json.NewEncoder(out)
	for jobs := json.NewDecoder(in); ; {
		var j job
		err := jobs.Decode(&j)
		if errors.Is(err, io.EOF) {
			return
		}
		must(err)
		must(answers.Encode(w.do(j)))
	}
}

// isolate makes the namespaces that this process was started in its own: what
// is mounted here is not seen outside, /proc shows our processes, the system
// has the game's user, and no systemd runs.
func isolate(dir string) {
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	must(unix.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	if !*disk {
		// An unmount writes out all of the file system that holds upper, with
		// what others have written there too.
		must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	}
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	write(passwd, fmt.Sprintf("root:x:0:0::/:/bin/sh\nl4d2:x:%d:%d::/:/usr/sbin/nologin\n", gameUID, gameGID), 0o644)
	write(group, fmt.Sprintf("root:x:0:\nl4d2:x:%d:\n", gameGID), 0o644)
	must(unix.Mount(passwd, "/etc/passwd", "", unix.MS_BIND, ""))
	must(unix.Mount(group, "/etc/group", "", unix.MS_BIND, ""))
}

func (w *world) do(j job) outcome {
	i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == j.Scenario })
	s := scenarios[i]
	w.problems = nil
	w.name = s.instance
	w.enter(s.root)
	s.prepare(w)

	injections, only := []string(nil), ""
	if j.Force > 0 {
		injections = append(injections, fmt.Sprintf("inject=fsconfig:retval=0:when=%d", j.Force))
	}
	if j.Fault != "" {
		injections = append(injections, j.Fault.injection(j.Call.Name, j.Call.N))
		only = j.Call.Name
		if j.Force > 0 {
			only += ",fsconfig"
		}
	}
	before := w.state()
	argv := s.argv(w)
	r := trace(filepath.Join(w.dir, "trace"), only, injections, w.environment(), argv)
	o := outcome{Job: j, Code: r.Code, Command: command(injections, w.environment(), argv)}
	if j.Fault == "" {
		o.Calls = parseTrace(r.Trace, s.first)
		if r.Code != 0 {
			w.problem("a good run ends with status %d", r.Code)
		}
	} else {
		o.Happened = r.happened(j.Fault)
	}
	w.try(func() {
		w.ended(j, r)
		s.inspect(w, j, r, before)
		s.recover(w, j)
		w.alone("at the end")
	})
	if len(w.problems) > 0 {
		w.problem("it said:\n%s", r.Said)
		w.rebuild()
	}
	o.Problems = w.problems
	return o
}

// try calls f, in which the tree can be so broken that looking at it fails.
func (w *world) try(f func()) {
	defer func() {
		if p := recover(); p != nil {
			w.problem("%v\n%s", p, debug.Stack())
		}
	}()
	f()
}

// ended checks how the program ended.
func (w *world) ended(j job, r run) {
	w.alone("after the fault")
	switch {
	case r.Code == 0 && (j.Call.Name == "fsync" || j.Call.Name == "syncfs") && j.Fault != "" && j.Fault != "EINTR": // that one it repeats
		w.problem("what it wrote may be lost, and it says nothing")
	case r.Code == 0:
	case r.Code == -1 && j.Fault == kill:
	case !j.Call.Own: // a runtime that can't go on says so in its own way
	case r.Code == 1:
		w.reasonable(j, r.Said)
	default:
		w.problem("exit status %d", r.Code)
	}
}

// reasonable checks what a program says that ended with an error: one line for
// it, perhaps one with a hint, and in it the reason.
func (w *world) reasonable(j job, said string) {
	var errs []string
	for line := range strings.Lines(said) {
		rest, found := strings.CutPrefix(line, w.program+": ")
		if found && !strings.HasPrefix(rest, "hint: ") && !strings.HasPrefix(rest, "warning: ") {
			errs = append(errs, rest)
		}
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") || strings.HasPrefix(line, "goroutine ") {
			w.problem("it crashed")
			return
		}
	}
	if len(errs) != 1 && !(w.program == controlProgram && len(errs) > 0) {
		w.problem("it gives %d reasons, want 1", len(errs))
		return
	}
	if want := j.Fault.message(); !strings.Contains(strings.Join(errs, "\n"), want) {
		w.problem("the reason given is not the true one, %q", want)
	}
}

// alone checks that no process is left.
func (w *world) alone(when string) {
	if left := others(); len(left) > 0 {
		w.problem("%s these run: %s", when, strings.Join(left, ", "))
		unix.Kill(-1, unix.SIGKILL)
	}
}

func command(injections, env, argv []string) string {
	var b strings.Builder
	b.WriteString(strings.Join(env, " ") + " strace")
	for _, i := range injections {
		b.WriteString(" -e " + i)
	}
	return b.String() + " " + strings.Join(argv, " ")
}

func (w *world) problem(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

// errors that are injected: what a disk, a quota, a security module, a memory
// limit and a signal can do to about any call.
var faultErrors = []fault{"EIO", "ENOSPC", "EPERM", "ENOMEM", "EINTR"}

func (f fault) message() string {
	switch f {
	case "EIO":
		return unix.EIO.Error()
	case "ENOSPC":
		return unix.ENOSPC.Error()
	case "EPERM":
		return unix.EPERM.Error()
	case "ENOMEM":
		return unix.ENOMEM.Error()
	case "EINTR":
		return unix.EINTR.Error()
	}
	return ""
}

// quietly runs one of the programs without a fault.
func (w *world) quietly(program string, args ...string) run {
	return execute(false, w.environment(), append([]string{filepath.Join(w.bin, program)}, args...)...)
}

// expect is quietly for a run that must succeed.
func (w *world) expect(program string, args ...string) bool {
	r := w.quietly(program, args...)
	if r.Code != 0 {
		w.problem("afterwards, %s %s ends with status %d: %s", program, strings.Join(args, " "), r.Code, r.Said)
	}
	return r.Code == 0
}

// arrange is expect in the making of a scenario.
func (w *world) arrange(program string, args ...string) {
	if r := w.quietly(program, args...); r.Code != 0 {
		panic(fmt.Sprintf("%s %v: %s", program, args, r.Said))
	}
}

func (w *world) environment() []string {
	return []string{
		"L4D2_ROOT=" + w.layout.Root(),
		// as systemd tells the steps after a run (systemd.exec(5))
		"SERVICE_RESULT=success", "EXIT_CODE=exited", "EXIT_STATUS=0",
		"RUNTIME_DIRECTORY=" + w.shared(),
	}
}
