package cli

import (
	"context"
	"errors"
	"fmt"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/systemd"
)

type startCommand struct {
	Names []nameArg `arg:"" name:"name" help:"Instances to start, all at once."`
}

// Help is what --help prints besides.
func (*startCommand) Help() string {
	return "Example: l4d2ctl start versus coop"
}

func (c *startCommand) Run(s *session) error {
	return s.eachUnit(c.Names, func(m Manager, n instance.Name, before systemd.Unit) error {
		if before.Active() {
			s.result(n, "already running%s", pid(before))
			return nil
		}
		s.step(n, "starting %s", unitName(n))
		return s.bringUp(m, n, "started", m.Start)
	})
}

// bringUp runs job, a start or restart, and says what came of it.
func (s *session) bringUp(m Manager, n instance.Name, done string, job func(context.Context, string) error) error {
	after, err := s.up(m, n, done, job)
	if err == nil {
		s.result(n, "%s%s", done, pid(after))
	}
	return err
}

// up runs job, a start or restart, and returns the unit that runs then.
func (s *session) up(m Manager, n instance.Name, done string, job func(context.Context, string) error) (systemd.Unit, error) {
	var none systemd.Unit
	// An operator who starts a unit by hand means it: what it failed at
	// before, and how often, must not hold systemd back.
	// Who may start servers (group l4d2-admin) need not be allowed that as well:
	// the start itself says whether it could be done without.
	if err := m.ResetFailed(s.ctx, unitName(n)); err != nil && !errors.Is(err, systemd.ErrDenied) {
		return none, fmt.Errorf("%s: %w", n, err)
	}
	if err := job(s.ctx, unitName(n)); err != nil {
		return none, s.unitProblem(m, n, err)
	}
	// With some types of service the job is done before the server can have
	// stumbled.
	after, err := s.unit(m, n)
	if err != nil {
		return none, fmt.Errorf("%s: %s, but: %w", n, done, err)
	}
	if !after.Active() {
		return none, s.unitProblem(m, n, fmt.Errorf("%s %s, but it is %s now", unitName(n), done, state(after)))
	}
	return after, nil
}

// mainResult is the unit's result that goes with the way its main process
// ended (ExecMainCode); with another result, the main process is not to blame.
var mainResult = map[int]string{1: "exit-code", 2: "signal", 3: "core-dump"}

// journalLines is how much of the journal goes with a failure.
const journalLines = 10

// unitProblem adds to err, which befell instance n's job, what systemd knows
// about it.
func (s *session) unitProblem(m Manager, n instance.Name, err error) error {
	p := &problem{err: fmt.Errorf("%s: %w", n, err)}
	switch {
	case errors.Is(err, systemd.ErrNoUnit):
		p.hints = append(p.hints, "l4d2@.service comes with the package l4d2-host; after installing by hand: systemctl daemon-reload")
		return p
	case errors.Is(err, systemd.ErrDenied), errors.Is(err, systemd.ErrLost):
		return p
	}
	u, stateErr := s.unit(m, n)
	if stateErr != nil {
		return p
	}
	if errors.Is(err, context.Canceled) {
		p.err = fmt.Errorf("%s: %w; the unit is %s", n, err, state(u))
		p.hints = append(p.hints, "what has begun goes on; see: "+unitStatus(n))
		return p
	}
	if u.Result != "" && u.Result != "success" {
		p.err = fmt.Errorf("%w: result %s", p.err, u.Result)
	}
	if u.Result == "timeout" && u.StatusText != "" {
		p.err = fmt.Errorf("%w: %s", p.err, printable.Line(u.StatusText)) // what the watcher waits for
	}
	if exit := u.Exit(); exit != "" && u.ExecMainStatus != 0 && u.Result == mainResult[u.ExecMainCode] {
		p.err = fmt.Errorf("%w: %s", p.err, exit)
	}
	p.detail = s.lastWords(m, n, u, err)
	p.hints = append(p.hints, "more: "+unitStatus(n))
	if u.ActiveState == "activating" {
		p.hints = append(p.hints, fmt.Sprintf("systemd goes on trying; this ends it: %s stop %s", program, n))
	}
	return p
}

// lastWords are the last lines of the journal about the unit's last run.
func (s *session) lastWords(m Manager, n instance.Name, u systemd.Unit, err error) []string {
	run := u.InvocationID
	var job *systemd.JobError
	if errors.As(err, &job) && (job.Result == "assert" || job.Result == "dependency") {
		run = "" // there was no run: the number is of an earlier one
	}
	lines, err := m.Journal(context.WithoutCancel(s.ctx), unitName(n), run, journalLines)
	if err != nil {
		return []string{fmt.Sprintf("(no journal: %v)", err)}
	}
	if len(lines) == 0 {
		return []string{"(nothing in the journal that you may read)"}
	}
	return lines
}

func unitStatus(n instance.Name) string { return "systemctl status l4d2@" + string(n) }

// pid is " (pid N)", or nothing.
func pid(u systemd.Unit) string {
	if u.MainPID == 0 {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", u.MainPID)
}

// state is the unit's state in systemd's words, with the finer one where it
// says more.
func state(u systemd.Unit) string {
	switch {
	case !u.Installed():
		return "not installed"
	case u.Active(), u.Stopped(), u.SubState == "":
		return u.ActiveState
	}
	return fmt.Sprintf("%s (%s)", u.ActiveState, u.SubState)
}
