package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/release"
	"l4d2-host/internal/staging"
	"l4d2-host/internal/steam"
	"l4d2-host/internal/systemd"
)

// updateUnit is the unit that updates the game.
const updateUnit = "l4d2-update.service"

type updateCommand struct {
	Cancel    bool `help:"End the update that is running. The next one goes on with what it has downloaded." xor:"what"`
	JSON      bool `name:"json" help:"Print what came of it as JSON, for programs." xor:"what"`
	Apply     bool `help:"Then restart each server that runs on another release than it would take, once nobody plays on it."`
	rollFlags `embed:"" group:"With --apply:"`
}

// Validate returns what of the command line does not go together.
func (c *updateCommand) Validate() error {
	switch {
	case c.given() && !c.Apply:
		return errors.New("the flags of a rolling restart go with --apply")
	case c.Apply && c.Cancel:
		return errors.New("--cancel goes with nothing else")
	}
	return c.check()
}

// Help is what --help prints besides.
func (*updateCommand) Help() string {
	return "Starts l4d2-update.service, which runs steamcmd, and waits for it. What has changed becomes a new release of the game, and the current one. " +
		"Running servers keep theirs; each takes the new one at its next start. Where there is no game yet, it is installed.\n\n" +
		"Ctrl-C leaves the update running. With --apply it is followed by a rolling restart, as l4d2ctl restart --when-empty makes it.\n\n" +
		"Example: l4d2ctl update --apply --within 6h"
}

// updateJSON is what update --json prints. The keys are stable.
type updateJSON struct {
	Release string  `json:"release"` // the current one
	Build   *string `json:"build"`   // Steam's id, null if it is not known
	Changed bool    `json:"changed"` // whether it is a new one
	Restart *rolled `json:"restart"` // what --apply did; null if nothing
}

func (c *updateCommand) Run(s *session) error {
	if c.Cancel {
		return s.cancelUpdate()
	}
	if c.Apply {
		if err := s.superuser(); err != nil {
			return err
		}
	}
	// Before anything is started, and in a word that is not the unit's.
	if _, err := staging.Base(s.layout); errors.Is(err, release.ErrPlain) {
		return err
	}
	before, err := chain.Current(s.layout)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.runUpdate(c.start); err != nil {
		if c.Apply && !errors.As(err, new(ended)) {
			s.warn("no server is restarted")
		}
		return err
	}
	after, err := chain.Current(s.layout)
	if err != nil {
		return err
	}
	answer := s.updateAnswer(before, after)
	if !c.JSON {
		s.sayUpdate(answer, before == "")
	}
	var rollErr error
	if c.Apply {
		answer.Restart, rollErr = s.applied(begun, c.JSON)
	}
	if c.JSON {
		return errors.Join(s.printJSON(answer), rollErr)
	}
	return rollErr
}

// start starts the update and waits for its end. With --apply it starts the
// rolling restart, which waits for the update by itself: what follows is up to
// systemd then, and not to this program, which may be closed in a long download.
// Nor is any of it to be cancelled with this program.
func (c *updateCommand) start(s *session, m Manager) error {
	ctx := context.WithoutCancel(s.ctx)
	if !c.Apply {
		return m.Start(ctx, updateUnit)
	}
	unit, err := s.transientAfterUpdate(c.order(nil))
	if err != nil {
		return err
	}
	err = s.startRoll(ctx, m, unit)
	var job *systemd.JobError
	if errors.As(err, &job) && job.Result == "dependency" {
		return &systemd.JobError{Unit: updateUnit, Verb: "start", Result: "failed"}
	}
	return err
}

// applied watches the rolling restart that the update was begun with.
func (s *session) applied(begun time.Time, quiet bool) (*rolled, error) {
	m, err := s.connect()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	state, err := s.awaitRoll(m, begun)
	switch {
	case state == nil:
		return nil, err
	case len(state.Servers) == 0:
		s.note("every server that runs has the release that it would take: nothing to restart\n")
		return nil, err
	case quiet:
		return &rolled{State: *state}, err
	}
	s.sayRoll(state)
	return nil, err
}

// runUpdate has start start the unit, or join it, and shows its progress.
func (s *session) runUpdate(start func(*session, Manager) error) error {
	m, err := s.connect()
	if err != nil {
		return err
	}
	defer m.Close()
	u, err := s.updateState(m)
	if err != nil {
		return err
	}
	if u.ActiveState == "activating" {
		s.note("an update is running already: following it\n")
	} else if err := m.ResetFailed(s.ctx, updateUnit); err != nil && !errors.Is(err, systemd.ErrDenied) {
		return err
	}
	if err := s.ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- start(s, m) }()
	if err := s.follow(m, done); err != nil {
		return s.updateProblem(m, err)
	}
	return nil
}

// followEvery is how often the unit is asked how far it is; it says so itself
// twice a second.
const followEvery = 500 * time.Millisecond

// follow shows the unit's progress until its job is done.
func (s *session) follow(m Manager, done <-chan error) error {
	show := &updateProgress{session: s}
	defer show.clear()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-s.ctx.Done():
			show.clear()
			s.note("the update goes on by itself; see: systemctl status l4d2-update\n")
			s.hint("this ends it: %s update --cancel", program)
			return ended{s.ctx.Err()}
		case <-tick.C:
			// What can't be asked now is asked again.
			if u, err := s.updateState(m); err == nil && u.ActiveState == "activating" {
				show.status(u.StatusText)
			}
		}
	}
}

func (s *session) updateState(m Manager) (systemd.Unit, error) {
	units, err := m.Units(context.WithoutCancel(s.ctx), []string{updateUnit})
	if err != nil {
		return systemd.Unit{}, err
	}
	if !units[0].Installed() {
		return units[0], &problem{err: fmt.Errorf("%s: %w", updateUnit, systemd.ErrNoUnit),
			hints: []string{"it comes with the package l4d2-host; after installing by hand: systemctl daemon-reload"}}
	}
	return units[0], nil
}

// updateProblem adds to an error of the unit's job what the unit last said.
func (s *session) updateProblem(m Manager, err error) error {
	var job *systemd.JobError
	if !errors.As(err, &job) || job.Result == "canceled" {
		return err
	}
	p := &problem{err: err, hints: []string{"more: journalctl -u l4d2-update"}}
	u, stateErr := s.updateState(m)
	if stateErr != nil {
		return p
	}
	lines, journalErr := m.Journal(context.WithoutCancel(s.ctx), updateUnit, u.InvocationID, journalLines)
	if journalErr != nil {
		lines = []string{fmt.Sprintf("(no journal: %v)", journalErr)}
	}
	p.detail = lines
	return p
}

// updateAnswer is what came of an update: before and after are the releases that
// were current.
func (s *session) updateAnswer(before, after instance.Name) updateJSON {
	answer := updateJSON{Release: string(after), Changed: before != after}
	r, err := chain.Read(s.layout, after)
	if err != nil {
		s.warn("the build id of release %s is not known: %v", after, err)
	} else if r.Build != "" {
		answer.Build = &r.Build
	}
	return answer
}

func (s *session) sayUpdate(answer updateJSON, first bool) {
	if !answer.Changed {
		s.print(fmt.Sprintf("up to date: release %s%s\n", answer.Release, ofBuild(answer.Build)))
		return
	}
	s.print(fmt.Sprintf("release %s%s is current\n", answer.Release, ofBuild(answer.Build)))
	if !first {
		s.note("running servers keep theirs until their next start\n")
	}
}

func ofBuild(build *string) string {
	if build == nil {
		return ""
	}
	return ", build " + *build + ","
}

// cancelUpdate ends the update that is running.
func (s *session) cancelUpdate() error {
	m, err := s.connect()
	if err != nil {
		return err
	}
	defer m.Close()
	u, err := s.updateState(m)
	if err != nil {
		return err
	}
	if u.Stopped() {
		s.print("no update is running\n")
		return nil
	}
	before, err := chain.Current(s.layout)
	if err != nil {
		return err
	}
	if err := m.Stop(s.ctx, updateUnit); err != nil {
		return err
	}
	switch after, err := chain.Current(s.layout); {
	case err != nil:
		return err
	case after != before:
		s.print(fmt.Sprintf("too late: release %s is current\n", after))
	default:
		s.print("cancelled; the next update goes on with what was downloaded\n")
	}
	return nil
}

// updateProgress shows the unit's status: as a bar on a terminal, as lines for
// anybody else.
type updateProgress struct {
	*session
	last  string // line
	phase string
	total int64
	bar   *progressbar.ProgressBar
}

// linesEvery is how many percent a line is worth where there is no bar.
const linesEvery = 10

func (u *updateProgress) status(text string) {
	p, ok := steam.ParseStatus(text)
	terminal, isFile := u.Err.(*os.File)
	switch {
	case text == "":
	case !ok:
		u.line(printable.Line(text), printable.Line(text))
	case !isFile || !isTerminal(terminal):
		u.line(fmt.Sprintf("%s %d", p.Phase, int(p.Percent)/linesEvery), p.String())
	default:
		u.draw(terminal, p)
	}
}

// line writes text unless the last line was about the same.
func (u *updateProgress) line(about, text string) {
	if about == u.last {
		return
	}
	u.clear()
	u.last = about
	u.note(text + "\n")
}

func (u *updateProgress) draw(terminal *os.File, p steam.Progress) {
	// Without bytes, in hundredths of a percent.
	done, total, bytes := int64(p.Percent*100), int64(100*100), false
	if p.Total > 0 {
		done, total, bytes = int64(min(p.Done, p.Total)), int64(p.Total), true
	}
	if u.bar == nil || p.Phase != u.phase || total != u.total {
		u.clear()
		u.phase, u.total = p.Phase, total
		u.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(terminal),
			progressbar.OptionSetDescription(p.Phase),
			progressbar.OptionShowBytes(bytes),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
		)
	}
	_ = u.bar.Set64(done) // that it cannot be drawn is nobody's trouble
}

func (u *updateProgress) clear() {
	if u.bar != nil {
		_ = u.bar.Clear()
		u.bar = nil
	}
}
