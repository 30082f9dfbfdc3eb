package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

// rollUnit does rolling restarts: one at a time, as there is one of that name.
const rollUnit = "l4d2-restart.service"

const (
	// rollDir is the unit's RuntimeDirectory=, which stays when it has ended.
	rollDir   = "/run/l4d2-restart"
	rollState = "state.json"
	// maxRollState bounds reading it, in bytes.
	maxRollState = 1 << 20
)

// rolled is a rolling restart, and its JSON.
type rolled struct {
	Running bool `json:"running"`
	roll.State
}

const (
	lookAtRoll = program + " restart --when-empty --status"
	cancelRoll = program + " restart --when-empty --cancel"
)

// rollAll is roll for all instances that run.
func (s *session) rollAll(o roll.Order, asJSON bool) error {
	st, err := s.open()
	if err != nil {
		return err
	}
	if o.Names, err = st.List(); err != nil {
		return readable(err)
	}
	return s.rollOver(o, asJSON)
}

// rollOver makes a rolling restart and says what came of it.
func (s *session) rollOver(o roll.Order, asJSON bool) error {
	state, err := s.roll(o)
	if state == nil {
		return err
	}
	if asJSON {
		return errors.Join(s.printJSON(rolled{State: *state}), err)
	}
	s.sayRoll(state)
	return err
}

func (s *session) sayRoll(state *roll.State) {
	for _, server := range state.Servers {
		s.result(server.Name, "%s", server.State+why(server.Detail))
	}
}

// roll has a unit do it, and watches. The state is how that has ended: nil if it
// goes on, or was not begun. The error says so if not all is as it should be.
func (s *session) roll(o roll.Order) (*roll.State, error) {
	if err := s.superuser(); err != nil {
		return nil, err
	}
	if err := s.known(o.Names); err != nil {
		return nil, err
	}
	m, err := s.connect()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	running, stopped, err := s.upAndDown(m, o.Names)
	if err != nil {
		return nil, err
	}
	for _, n := range stopped {
		s.step(n, "it does not run, and stays so")
	}
	if o.Names = running; len(running) == 0 {
		s.note("none of them runs: nothing to restart\n")
		return nil, nil
	}
	unit, err := s.transient(o)
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := s.startRoll(s.ctx, m, unit); err != nil {
		return nil, err
	}
	return s.awaitRoll(m, begun)
}

// startRoll starts the unit, and waits for it to have begun.
func (s *session) startRoll(ctx context.Context, m Manager, unit systemd.Transient) error {
	// One that has failed keeps its name.
	if err := m.ResetFailed(ctx, rollUnit); err != nil {
		return err
	}
	err := m.StartTransient(ctx, unit)
	if errors.Is(err, systemd.ErrExists) {
		return &problem{err: errors.New("another rolling restart is under way"),
			hints: []string{"see how far it has got: " + lookAtRoll, "end it: " + cancelRoll}}
	}
	return err
}

// awaitRoll watches the roll that was started at begun, and returns how it ended.
func (s *session) awaitRoll(m Manager, begun time.Time) (*roll.State, error) {
	if err := s.watchRoll(m); err != nil {
		if !errors.As(err, new(ended)) {
			err = &problem{err: err, hints: []string{"it may go on; see: " + lookAtRoll}}
		}
		return nil, err
	}
	return s.rollEnded(begun)
}

// upAndDown returns which of the instances run, and which are stopped.
func (s *session) upAndDown(m Manager, names []instance.Name) (running, stopped []instance.Name, err error) {
	units, err := m.Units(s.ctx, unitNames(names))
	if err != nil {
		return nil, nil, err
	}
	for i, u := range units {
		switch {
		case s.foreign(u, names[i]):
			return nil, nil, fmt.Errorf("%s: %s is of another root", names[i], u.Name)
		case u.Stopped():
			stopped = append(stopped, names[i])
		default:
			running = append(running, names[i])
		}
	}
	return running, stopped, nil
}

// watchRoll shows what the unit writes until it ends.
func (s *session) watchRoll(m Manager) error {
	u, err := s.rollUnit(m)
	if err != nil || u.InvocationID == "" { // ended well, systemd has forgotten it
		return err
	}
	run := u.InvocationID
	watching, done := context.WithCancel(s.ctx)
	defer done()
	followed := make(chan error, 1)
	go func() {
		followed <- m.FollowRun(watching, run, func(line string) { s.note(printable.Line(line) + "\n") })
	}()
	for err == nil && !u.Stopped() && u.InvocationID == run && s.ctx.Err() == nil {
		select {
		case <-time.After(s.RollInterval):
			u, err = s.rollUnit(m)
		case <-s.ctx.Done():
		}
	}
	done()
	if followErr := <-followed; followErr != nil {
		s.warn("%v", followErr)
	}
	if s.ctx.Err() != nil {
		s.note("it goes on\n")
		s.hint("see how far it has got: %s", lookAtRoll)
		s.hint("end it: %s", cancelRoll)
		return ended{s.ctx.Err()}
	}
	return err
}

func (s *session) rollUnit(m Manager) (systemd.Unit, error) {
	units, err := m.Units(context.WithoutCancel(s.ctx), []string{rollUnit})
	if err != nil {
		return systemd.Unit{}, err
	}
	return units[0], nil
}

// findRoll connects to systemd and asks for the unit.
func (s *session) findRoll() (Manager, systemd.Unit, error) {
	m, err := s.connect()
	if err != nil {
		return nil, systemd.Unit{}, err
	}
	u, err := s.rollUnit(m)
	if err != nil {
		m.Close()
		return nil, u, err
	}
	return m, u, nil
}

// rollEnded returns how the roll did that was started at begun and has ended.
func (s *session) rollEnded(begun time.Time) (*roll.State, error) {
	state, err := s.readRoll()
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && state.Begun.Before(begun.Truncate(time.Second)): // of the one before
		return nil, &problem{err: errors.New("the rolling restart did not begin"), hints: []string{"see why: journalctl -u l4d2-restart"}}
	case err != nil:
		return nil, err
	case state.Outcome == nil:
		return state, &problem{err: errors.New("the rolling restart was ended before it was done"), hints: []string{"see why: journalctl -u l4d2-restart"}}
	case *state.Outcome == roll.SomeFailed:
		err = errors.New("a restart failed, and the rest was not tried")
	case *state.Outcome == roll.SomeLeft:
		err = fmt.Errorf("left as they are: %d", state.Count(roll.Left))
	case *state.Outcome == roll.Cancelled:
		err = errors.New("the rolling restart was cancelled")
	}
	return state, err
}

func why(detail string) string {
	if detail == "" {
		return ""
	}
	return ": " + printable.Line(detail)
}

// readRoll returns the state of the roll that goes on or was the last one, or
// an error that is fs.ErrNotExist.
func (s *session) readRoll() (*roll.State, error) {
	path := filepath.Join(s.RollDir, rollState)
	text, err := instance.ReadFile(path, maxRollState)
	if err != nil {
		return nil, err
	}
	state := new(roll.State)
	if err := json.Unmarshal(text, state); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return state, nil
}

// showRoll says how far the roll has got, or how the last one ended.
func (s *session) showRoll(asJSON bool) error {
	m, u, err := s.findRoll()
	if err != nil {
		return err
	}
	m.Close()
	if u.Stopped() && u.Queued {
		s.note("a rolling restart waits for the end of " + updateUnit + "\n")
	}
	state, err := s.readRoll()
	if errors.Is(err, fs.ErrNotExist) {
		if asJSON {
			return s.printJSON(nil)
		}
		s.note("there has been no rolling restart since the machine was booted\n")
		return nil
	}
	if err != nil {
		return err
	}
	v := rolled{!u.Stopped(), *state}
	if asJSON {
		return s.printJSON(v)
	}
	s.print(s.describeRoll(v))
	return nil
}

func (s *session) describeRoll(v rolled) string {
	var b strings.Builder
	fmt.Fprintf(&b, "rolling restart, %d at a time, begun %s", v.AtOnce, local(v.Begun))
	if v.Deadline != nil {
		fmt.Fprintf(&b, ", until %s", local(*v.Deadline))
		if v.Force {
			b.WriteString(" by force")
		}
	}
	switch {
	case v.Outcome != nil:
		fmt.Fprintf(&b, ": %s %s\n", *v.Outcome, local(*v.Ended))
	case v.Running:
		b.WriteString(": goes on\n")
	default:
		b.WriteString(": was ended before it was done\n")
	}
	rows := [][]cell{}
	for _, server := range v.Servers {
		state := cell{text: server.State}
		switch server.State {
		case roll.Restarted, roll.Skipped:
			state.colour = green
		case roll.Failed:
			state.colour = red
		case roll.Left:
			state.colour = yellow
		}
		rows = append(rows, []cell{{text: "  " + string(server.Name)}, state, {text: printable.Line(server.Detail)}})
	}
	return b.String() + s.table(rows)
}

// cancelRoll ends the roll, and says so.
func (s *session) cancelRoll() error {
	m, u, err := s.findRoll()
	if err != nil {
		return err
	}
	defer m.Close()
	if u.Stopped() && !u.Queued {
		s.note("no rolling restart is under way\n")
		return nil
	}
	s.note("stopping " + rollUnit + "; a restart that has begun is finished first\n")
	if err := m.Stop(s.ctx, rollUnit); err != nil {
		return err
	}
	s.print("cancelled\n")
	return nil
}

// self is the path of this program, for the unit.
func self() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("the path of %s: %w", program, err)
	}
	return path, nil
}
