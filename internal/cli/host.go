package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/unit"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/ssh"
)

// hostArg is a machine on the command line.
type hostArg struct{ ssh.Host }

func (a *hostArg) UnmarshalText(text []byte) (err error) {
	a.Host, err = ssh.ParseHost(string(text))
	return err
}

// overBus are the commands that with --host talk to the systemd over there as
// here, by D-Bus, so that l4d2ctl need not be there, and so that Ctrl-C takes
// back the job. All others need that machine's files: l4d2ctl is run there.
var overBus = map[string]bool{"start": true, "stop": true, "restart": true}

// overBus reports whether the command line is one of these. A rolling restart
// asks the servers of the machine that it runs on.
func (l *commandLine) overBus(command string) bool { return overBus[command] && !l.Restart.WhenEmpty }

// connect reaches the systemd of the machine that the command is about.
func (s *session) connect() (Manager, error) {
	if s.host.Zero() {
		return s.Connect(s.ctx)
	}
	return s.ConnectTo(s.ctx, s.host)
}

// mountedThere is mounted for the machine of m: another one's systemd has a unit
// for each mount.
func (s *session) mountedThere(m Manager, n instance.Name) (bool, error) {
	if s.host.Zero() {
		return s.mounted(n, true)
	}
	units, err := m.Units(context.WithoutCancel(s.ctx), []string{escaped(s.layout.Merged(n)) + ".mount"})
	if err != nil {
		return false, err
	}
	return !units[0].Stopped(), nil
}

// escaped is a path as the name of a unit, systemd-escape(1) --path.
func escaped(path string) string { return unit.UnitNamePathEscape(path) }

// there runs the command line args by l4d2ctl on another machine and returns
// its exit code. line is args as they were understood here: a wrong one is not
// sent.
func (p *Program) there(ctx context.Context, out *output, line *commandLine, verb string, args []string) int {
	args = withoutHost(args)
	if !p.aloneIn(args) {
		out.report("", errors.New("--host: write it as a word of its own"))
		return ExitUsage
	}
	terminal := isTerminalFile(p.In) && isTerminalFile(p.Out)
	in := p.In
	// The spec is a file of the machine where it was named.
	if verb == "init" && line.Init.Spec != "-" {
		f, err := os.Open(line.Init.Spec)
		if err != nil {
			return out.exit(ctx, verb, err)
		}
		defer f.Close()
		for i := len(args) - 1; i >= 0; i-- {
			if args[i] == line.Init.Spec {
				args[i] = "-"
				break
			}
		}
		in, terminal = f, false
	}
	cmd := line.Host.Command(ctx, terminal, append([]string{program}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, p.Out, p.Err
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ExitInterrupted
	case !errors.As(err, &exit):
		if err == nil {
			return ExitDone
		}
		return out.exit(ctx, verb, fmt.Errorf("run ssh: %w", err))
	case exit.ExitCode() == 127:
		out.hint("%s has to be installed on %s for this: start, stop and restart do without", program, line.Host)
	case exit.ExitCode() == ExitUsage, exit.ExitCode() == ExitInterrupted:
		return exit.ExitCode()
	}
	return ExitFailed // also for ssh's own 255: it has said why
}

// aloneIn says that the command line args names no host.
func (p *Program) aloneIn(args []string) bool {
	var line commandLine
	_, err := p.newParser(&line).Parse(args)
	return err == nil && line.Host.Zero()
}

// withoutHost returns args without --host, in all the ways to write it: without
// the first, as what looks like it behind that can be a word for the console.
func withoutHost(args []string) []string {
	for i, a := range args {
		switch {
		case a == "--":
			return slices.Clone(args)
		case a == "--host" || a == "-H": // and its value
			return slices.Concat(args[:i], args[min(i+2, len(args)):])
		case strings.HasPrefix(a, "--host="), strings.HasPrefix(a, "-H"):
			return slices.Concat(args[:i], args[i+1:])
		}
	}
	return slices.Clone(args)
}

func isTerminalFile(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && isTerminal(f)
}
