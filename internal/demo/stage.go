package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/rcon"
	"l4d2-host/internal/rig"
)

// stage is where the story is told.
type stage struct {
	out   io.Writer
	color bool
	rig   *rig.Rig
}

// newStage tells on out, in colours if it is a terminal (https://no-color.org).
func newStage(out *os.File) *stage {
	_, err := unix.IoctlGetTermios(int(out.Fd()), unix.TCGETS)
	return &stage{out: out, color: err == nil && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// The colours, as parameters of the terminal's escape sequence.
const (
	bold  = "1"
	green = "32"
	dim   = "2"
)

func (s *stage) paint(color, text string) string {
	if !s.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// heading says what comes next.
func (s *stage) heading(format string, args ...any) {
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, fmt.Sprintf(format, args...)))
}

// command shows a command as it is typed, behind a prompt.
func (s *stage) command(prompt, text string) {
	fmt.Fprintln(s.out, s.paint(green, prompt+" "+text))
}

// print shows what a program said.
func (s *stage) print(text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		fmt.Fprintln(s.out, text)
	}
}

// faint is for remarks beside the story.
func (s *stage) faint() io.Writer { return faint{s} }

type faint struct{ *stage }

func (f faint) Write(p []byte) (int, error) {
	_, err := fmt.Fprintln(f.out, f.paint(dim, strings.TrimRight(string(p), "\n")))
	return len(p), err
}

// step is a sentence and what it is about.
type step struct {
	say  string
	acts []action
}

// action shows one thing and returns an error when it is not as expected.
type action func(ctx context.Context, s *stage) error

// check returns an error when an output is not as expected.
type check func(out string) error

// sh runs a command that must succeed.
func sh(command string, checks ...check) action { return exits(0, command, checks...) }

// exits runs a command that must end with an exit code.
func exits(code int, command string, checks ...check) action {
	return func(ctx context.Context, s *stage) error {
		s.command("$", command)
		// One stream for both, so that the lines keep their order.
		res, err := s.rig.Shell(ctx, "exec 2>&1\n"+command)
		s.print(res.Stdout)
		if err == nil && res.Code != code {
			err = fmt.Errorf("exit code %d, want %d", res.Code, code)
		}
		return judge(command, res.Stdout, err, checks)
	}
}

// judge returns err, or what the first check to fail says of out.
func judge(command, out string, err error, checks []check) error {
	for i := 0; err == nil && i < len(checks); i++ {
		err = checks[i](out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	return nil
}

// console runs a command on the console of the server on port.
func console(port int, command string, checks ...check) action {
	return func(ctx context.Context, s *stage) error {
		s.command(fmt.Sprintf("rcon 127.0.0.1:%d>", port), command)
		out, err := s.rig.Console(ctx, port, password, command)
		s.print(out)
		return judge(command, out, err, checks)
	}
}

// crash makes the server on port end with SIGSEGV. A kill from outside would
// not: the stand-in's runtime turns that into an exit, the game's does not.
func crash(port int) action {
	run := console(port, "crash")
	return func(ctx context.Context, s *stage) error {
		err := run(ctx, s)
		switch {
		case err == nil:
			return errors.New("crash: the server answered, and should be dead")
		case errors.Is(err, rcon.ErrClosed):
			s.print("(the connection is cut)")
			return nil
		}
		return err
	}
}

// ask waits for the answer of the server on port, and compares.
func ask(port int, hostname, level, tags string) action {
	what := fmt.Sprintf("A2S_INFO 127.0.0.1:%d", port)
	return func(ctx context.Context, s *stage) error {
		s.command("server browser>", what)
		info, err := s.rig.Ask(ctx, port)
		if err != nil {
			return err
		}
		s.print(fmt.Sprintf("%q, map %s, %d of %d players, tags %q, version %s",
			info.Name, info.Map, info.Players, info.MaxPlayers, info.Keywords, info.Version))
		if info.Name != hostname || info.Map != level || info.Keywords != tags {
			return fmt.Errorf("%s: want %q, map %s, tags %q", what, hostname, level, tags)
		}
		return nil
	}
}

// reboot boots the machine anew.
func reboot(ctx context.Context, s *stage) error {
	s.command("$", "systemctl reboot")
	return s.rig.Reboot(ctx)
}

// has wants the output to have these texts, in this order.
func has(texts ...string) check {
	return func(out string) error {
		for _, text := range texts {
			_, after, found := strings.Cut(out, text)
			if !found {
				return fmt.Errorf("does not say %q, or not where it should", text)
			}
			out = after
		}
		return nil
	}
}

// lines wants the output to be one line for each pattern, in this order.
func lines(patterns ...string) check {
	return func(out string) error {
		got := strings.Split(strings.TrimSpace(out), "\n")
		if len(got) != len(patterns) {
			return fmt.Errorf("%d lines, want %d", len(got), len(patterns))
		}
		for i, pattern := range patterns {
			if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(got[i]) {
				return fmt.Errorf("line %d does not match %s", i+1, pattern)
			}
		}
		return nil
	}
}

// nothing wants no output.
func nothing(out string) error {
	if out != "" {
		return errors.New("prints something, want nothing")
	}
	return nil
}

// sameSums wants n lines that begin with the same checksum.
func sameSums(n int) check {
	return func(out string) error {
		got := strings.Split(strings.TrimSpace(out), "\n")
		if len(got) != n {
			return fmt.Errorf("%d lines, want %d", len(got), n)
		}
		sum, _, _ := strings.Cut(got[0], " ")
		for _, line := range got {
			if !strings.HasPrefix(line, sum+" ") {
				return fmt.Errorf("%s: want the sum %s", line, sum)
			}
		}
		return nil
	}
}
