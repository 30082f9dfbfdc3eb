package systemd

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// A JobError says that systemd finished a job otherwise than asked.
type JobError struct {
	Unit, Verb string
	// Result is systemd's word: failed, timeout, dependency, canceled,
	// skipped, assert, unsupported, collected, once.
	Result string
}

func (e *JobError) Error() string {
	why, ok := jobResults[e.Result]
	if !ok {
		why = fmt.Sprintf("the job ended with %q", e.Result)
	}
	return fmt.Sprintf("%s %s: %s", e.Verb, e.Unit, why)
}

// jobResults puts the results of JobRemoved (org.freedesktop.systemd1(5)) into
// words.
var jobResults = map[string]string{
	"failed":      "the unit failed",
	"timeout":     "it took longer than the unit allows",
	"dependency":  "a unit that it depends on failed",
	"canceled":    "someone else cancelled the job",
	"skipped":     "the job did not apply to the unit's state",
	"assert":      "an assertion of the unit is not met",
	"unsupported": "the unit's type is not supported here",
	"collected":   "a unit that it depends on is gone",
	"once":        "the unit can be started only once per boot",
}

// Start starts unit and waits until it has started, which is what the unit's
// Type= says it is. A unit that is running already is success.
//
// When ctx ends first, the job is cancelled and its end awaited; the error
// then wraps ctx's. Cancelling a job that systemd has begun does not undo
// what it began: ask Units for the state. The other errors are *JobError,
// ErrDenied, ErrNoUnit and ErrLost.
func (m *Manager) Start(ctx context.Context, unit string) error {
	return m.runJob(ctx, "start", unit, m.conn.StartUnitContext)
}

// Stop stops unit and waits until it has ended. The unit may have ended
// failed: ask Units. The errors are those of Start.
func (m *Manager) Stop(ctx context.Context, unit string) error {
	return m.runJob(ctx, "stop", unit, m.conn.StopUnitContext)
}

// Restart stops unit if it is running, starts it, and waits for both. The
// errors are those of Start.
func (m *Manager) Restart(ctx context.Context, unit string) error {
	return m.runJob(ctx, "restart", unit, m.conn.RestartUnitContext)
}

func (m *Manager) runJob(ctx context.Context, verb, unit string, queue queueFunc) error {
	j := job{verb: verb, unit: unit, queue: queue, cancel: m.cancelJob, lost: m.lost}
	return j.run(ctx)
}

func (m *Manager) cancelJob(ctx context.Context, id uint32) error {
	err := m.calls.Object(systemdName, systemdPath).CallWithContext(ctx, managerName+".CancelJob", 0, id).Err
	var e dbus.Error
	if errors.As(err, &e) && e.Name == systemdName+".NoSuchJob" {
		return nil // it ended by itself: its result is on the way
	}
	return explain(err)
}

// queueFunc queues a job and returns its number. The result goes to ch, once,
// and only if the error is nil; a result that arrives before the call returns
// is not missed.
type queueFunc func(ctx context.Context, unit, mode string, ch chan<- string) (int, error)

// job is one job's life, with what it needs of the manager.
type job struct {
	verb, unit string
	queue      queueFunc
	cancel     func(ctx context.Context, id uint32) error
	lost       <-chan struct{}
}

func (j job) run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return onUnit(j.verb, j.unit, &interruptedError{err, "no job is queued"})
	}
	// A call that is given up half-way may still queue the job, with nobody
	// left to cancel it: so the call is not ended by ctx.
	call, done := context.WithTimeout(context.WithoutCancel(ctx), answerLimit)
	defer done()
	// One place, so that the result never blocks the sender, which is the
	// dispatcher of all signals, if nobody is waiting any more.
	ch := make(chan string, 1)
	id, err := j.queue(call, j.unit, "replace", ch)
	if errors.Is(err, context.DeadlineExceeded) {
		return onUnit(j.verb, j.unit, fmt.Errorf("no answer from systemd within %s, the job may be queued all the same", answerLimit))
	}
	if err != nil {
		return onUnit(j.verb, j.unit, explain(err))
	}
	select {
	case result := <-ch:
		return j.judge(result)
	case <-j.lost:
		return onUnit(j.verb, j.unit, ErrLost)
	case <-ctx.Done():
		return onUnit(j.verb, j.unit, j.interrupt(ctx, uint32(id), ch))
	}
}

// interrupt cancels the job and awaits its end, with time of its own since
// ctx has none left.
func (j job) interrupt(ctx context.Context, id uint32, ch <-chan string) error {
	limit, done := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer done()
	if err := j.cancel(limit, id); err != nil {
		return &interruptedError{ctx.Err(), fmt.Sprintf("the job could not be cancelled: %v", err)}
	}
	select {
	case result := <-ch:
		if result == "canceled" {
			return &interruptedError{ctx.Err(), "the job is cancelled"}
		}
		return &interruptedError{ctx.Err(), "the job had already ended: " + result}
	case <-j.lost:
		return &interruptedError{ctx.Err(), ErrLost.Error()}
	case <-limit.Done():
		return &interruptedError{ctx.Err(), fmt.Sprintf("the cancelled job did not end within %s", cancelLimit)}
	}
}

// interruptedError says "interrupted" where the context would say "context
// canceled", which means nothing to an operator.
type interruptedError struct {
	cause error
	what  string
}

func (e *interruptedError) Error() string { return "interrupted: " + e.what }
func (e *interruptedError) Unwrap() error { return e.cause }

func (j job) judge(result string) error {
	if result == "done" {
		return nil
	}
	return &JobError{Unit: j.unit, Verb: j.verb, Result: result}
}
