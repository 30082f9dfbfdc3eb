// Package roll restarts servers one after the other, each once nobody plays on
// it, and says meanwhile what it waits for.
//
// A server is empty when its answer to A2S_INFO and its console agree that no
// human is there. Silence is not emptiness: a server that loads a map does not
// answer, with all its players. After a deadline, those that are still played
// on are left alone, or restarted too if that was asked for.
//
// How a server is asked and restarted is its caller's business (Servers), and
// so is surviving the end of a terminal: the caller runs it in a unit.
package roll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
)

// Condition is what a server's unit does.
type Condition int

// The conditions.
const (
	Running Condition = iota
	Busy              // on its way up or down
	Stopped
	Renewed // running, and started anew since the roll began: nothing is left to do
)

// Sight is a server looked at. Info and Err are the answer to A2S_INFO of one
// that is Running.
type Sight struct {
	Condition Condition
	Info      a2s.Info
	Err       error
}

// Servers is what a roll asks and does.
type Servers interface {
	// Look looks at the servers, side by side, within a second or so. The error
	// is about all of them.
	Look(ctx context.Context, names []instance.Name) ([]Sight, error)
	// Console runs a line on a server's console.
	Console(ctx context.Context, n instance.Name, line string) (string, error)
	// Restart begins a restart. The channel gets its outcome when players can
	// join again, or when that has failed; it is not cut short by ctx.
	Restart(ctx context.Context, n instance.Name) <-chan error
}

// Order is what to do.
type Order struct {
	Names  []instance.Name
	Within time.Duration // time until the deadline; 0 for none
	AtOnce int           // how many may restart side by side
	Force  bool          // restart what is still played on at the deadline
	Warn   string        // what players are told before it; "" as Warnings says
}

const (
	// lookInterval is the time from one look at a server to the next, and
	// lookShare what each server that waits adds to it: systemd answers for some
	// 3 ms about each.
	lookInterval = 5 * time.Second
	lookShare    = 50 * time.Millisecond
	// consoleInterval is the time until the console of a server is asked again
	// that has said that somebody plays, or nothing: it writes each login down.
	consoleInterval = 15 * time.Second
	// tickInterval is the time between looks at the clock and at running restarts.
	tickInterval = 500 * time.Millisecond
)

// Roll is one rolling restart.
type Roll struct {
	order   Order
	servers Servers
	log     *journal.Log
	report  func(State)
	now     func() time.Time

	state    State
	deadline time.Time // zero for none
	changed  bool      // since it was reported
	waits    []wait
	running  map[int]<-chan error // restarts that have begun, by the server's index
	looked   time.Time
	warnings []time.Time
	broken   error // why no further restart is begun
}

// wait is what a server that waits was last seen to do.
type wait struct {
	occupancy
	up    bool // Running
	fresh bool // its console has not been asked since
	asked time.Time
}

// New returns a roll. log gets a line for whatever happens, and report the state
// whenever it has changed.
func New(o Order, s Servers, log *journal.Log, report func(State)) *Roll {
	return newAt(o, s, log, report, time.Now)
}

func newAt(o Order, s Servers, log *journal.Log, report func(State), now func() time.Time) *Roll {
	r := &Roll{
		order: o, servers: s, log: log, report: report, now: now,
		waits: make([]wait, len(o.Names)), running: map[int]<-chan error{}, changed: true,
	}
	r.state = State{Begun: utc(now()), AtOnce: o.AtOnce, Force: o.Force, Servers: []Server{}}
	for _, n := range o.Names {
		r.state.Servers = append(r.state.Servers, Server{Name: n, State: Waiting})
	}
	if o.Within > 0 {
		r.deadline = now().Add(o.Within)
		shown := utc(r.deadline)
		r.state.Deadline = &shown
		r.warnings = o.warnings(now(), r.deadline)
	}
	return r
}

// Run does it, and returns how it ended. When ctx ends no further restart is
// begun, and those that have begun are waited for: half a restart is a server
// that is down.
func (r *Roll) Run(ctx context.Context) State {
	r.log.Info("%s", r.order)
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	for !r.tick(ctx) {
		<-tick.C
	}
	return r.state
}

// tick does what is due, and reports whether all is done.
func (r *Roll) tick(ctx context.Context) bool {
	r.finish()
	if ctx.Err() != nil && r.broken == nil {
		r.broken = errCancelled
	}
	if r.broken == nil && len(r.waiting()) > 0 {
		waiting := r.waiting()
		if r.looked.IsZero() || r.now().Sub(r.looked) >= lookInterval+time.Duration(len(waiting)-1)*lookShare {
			r.looked = r.now()
			r.look(ctx, waiting...)
		}
		r.warn(ctx)
		r.begin(ctx)
	}
	if r.broken != nil {
		for _, i := range r.waiting() {
			r.leave(i, r.broken.Error())
		}
	}
	over := len(r.running) == 0 && len(r.waiting()) == 0
	if over {
		r.state.end(utc(r.now()), r.broken)
		r.changed = true
	}
	if r.changed {
		r.report(r.state)
		r.changed = false
	}
	return over
}

var errCancelled = errors.New("the roll was cancelled")

// waiting are the indices of those that have yet to be restarted.
func (r *Roll) waiting() []int {
	var indices []int
	for i, s := range r.state.Servers {
		if s.State == Waiting {
			indices = append(indices, i)
		}
	}
	return indices
}

func (r *Roll) set(i int, state, detail string) {
	at := utc(r.now())
	s := &r.state.Servers[i]
	*s = Server{Name: s.Name, State: state, Detail: detail, At: &at}
	r.changed = true
}

// leave gives up on a server.
func (r *Roll) leave(i int, why string) {
	r.log.Warn("%s: left as it is: %s", r.order.Names[i], why)
	r.set(i, Left, why)
}

// finish takes note of the restarts that have ended.
func (r *Roll) finish() {
	for i, done := range r.running {
		select {
		case err := <-done:
			delete(r.running, i)
			n := r.order.Names[i]
			if err == nil {
				r.log.Info("%s: restarted, players can join", n)
				r.set(i, Restarted, "")
				continue
			}
			r.log.Error("%s: %v", n, err)
			r.set(i, Failed, err.Error())
			if r.broken == nil {
				r.broken = fmt.Errorf("the restart of %s failed", n)
			}
		default:
		}
	}
}

// look looks at some of those that wait.
func (r *Roll) look(ctx context.Context, indices ...int) {
	names := make([]instance.Name, len(indices))
	for j, i := range indices {
		names[j] = r.order.Names[i]
	}
	sights, err := r.servers.Look(ctx, names)
	if err != nil {
		r.log.Warn("the servers cannot be looked at now: %v", err)
		for _, i := range indices {
			r.waits[i] = wait{asked: r.waits[i].asked}
		}
		return
	}
	for j, i := range indices {
		r.see(i, sights[j])
	}
}

func (r *Roll) see(i int, seen Sight) {
	n := r.order.Names[i]
	skip := func(why string) {
		r.log.Info("%s: %s", n, why)
		r.set(i, Skipped, why)
	}
	switch seen.Condition {
	case Stopped:
		skip("it does not run, and stays so")
	case Renewed:
		skip("it was started anew meanwhile, by someone else")
	case Busy:
		r.waitFor(i, wait{occupancy: occupancy{kind: silent, why: "it is starting or stopping"}})
	case Running:
		w := wait{occupancy: byQuery(seen.Info, seen.Err), up: true, fresh: true}
		if w.empty {
			w.kind = r.waits[i].kind // until its console is asked
		}
		r.waitFor(i, w)
	}
}

// waitFor says what is waited for, in the log only when it is of another kind
// than before: players come and go all the time.
func (r *Roll) waitFor(i int, w wait) {
	s := &r.state.Servers[i]
	if w.kind != "" && w.kind != r.waits[i].kind {
		r.log.Info("%s: waiting: %s", s.Name, w.why)
	}
	w.asked = r.waits[i].asked
	r.waits[i] = w
	if s.Detail != w.why {
		r.changed = true
	}
	s.Detail, s.Players = w.why, w.humans
}

// begin restarts those that may be, as many as may be, and at the deadline gives
// up on the others unless that is a reason to restart them.
func (r *Roll) begin(ctx context.Context) {
	due := !r.deadline.IsZero() && !r.now().Before(r.deadline)
	for _, i := range r.waiting() {
		if len(r.running) >= r.order.AtOnce {
			break
		}
		switch {
		case due && r.order.Force:
			if !r.stillWaits(ctx, i) {
				continue
			}
			r.log.Warn("%s: restarting it now, at the deadline%s", r.order.Names[i], because(r.waits[i].why))
			r.restart(ctx, i)
		case r.isEmpty(ctx, i):
			r.log.Info("%s: nobody plays, restarting it", r.order.Names[i])
			r.restart(ctx, i)
		}
	}
	if !due || r.order.Force {
		return
	}
	for _, i := range r.waiting() {
		r.leave(i, "at the deadline"+because(r.waits[i].why))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

// stillWaits looks once more at a server whose turn has come since the last look:
// players, or somebody who stopped or restarted it, may have come, too.
func (r *Roll) stillWaits(ctx context.Context, i int) bool {
	if r.looked.Before(r.now()) {
		r.look(ctx, i)
	}
	return r.state.Servers[i].State == Waiting
}

// isEmpty asks the console of a server that is empty by the last look, once for
// each of these.
func (r *Roll) isEmpty(ctx context.Context, i int) bool {
	if w := r.waits[i]; !w.empty || !w.fresh || !w.asked.IsZero() && r.now().Sub(w.asked) < consoleInterval {
		return false
	}
	if !r.stillWaits(ctx, i) || !r.waits[i].empty {
		return false
	}
	r.waits[i].fresh, r.waits[i].asked = false, r.now()
	o := byConsole(r.servers.Console(ctx, r.order.Names[i], "status"))
	if ctx.Err() != nil {
		return false
	}
	if !o.empty {
		r.waitFor(i, wait{occupancy: o, up: true})
	}
	return o.empty
}

func (r *Roll) restart(ctx context.Context, i int) {
	r.set(i, Restarting, "")
	r.running[i] = r.servers.Restart(ctx, r.order.Names[i])
}

func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
