package systemd

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// fakeJob is a job number 7 whose queue and cancel do as a test says.
type fakeJob struct {
	job
	queued    int
	cancelled []uint32
	ch        chan<- string
}

func newFakeJob(onQueue func(call context.Context, f *fakeJob) error, onCancel func(limit context.Context, f *fakeJob) error) *fakeJob {
	f := &fakeJob{}
	f.job = job{verb: "start", unit: "u.service", lost: make(chan struct{})}
	f.queue = func(ctx context.Context, unit, mode string, ch chan<- string) (int, error) {
		f.queued++
		f.ch = ch
		if unit != "u.service" || mode != "replace" {
			return 0, errors.New("queued " + unit + " with mode " + mode)
		}
		return 7, onQueue(ctx, f)
	}
	f.cancel = func(ctx context.Context, id uint32) error {
		f.cancelled = append(f.cancelled, id)
		return onCancel(ctx, f)
	}
	return f
}

func never(context.Context, *fakeJob) error { panic("not to be called here") }

func TestJobResults(t *testing.T) {
	for _, result := range []string{"done", "failed", "timeout", "dependency", "canceled", "assert", "of the future"} {
		f := newFakeJob(func(_ context.Context, f *fakeJob) error {
			f.ch <- result // before the call that queues it returns
			return nil
		}, never)
		err := f.run(context.Background())
		if result == "done" {
			if err != nil {
				t.Errorf("done: %v", err)
			}
			continue
		}
		var job *JobError
		if !errors.As(err, &job) || *job != (JobError{Unit: "u.service", Verb: "start", Result: result}) {
			t.Errorf("%s: got %#v", result, err)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, "start u.service: ") {
			t.Errorf("%s: %q does not say what was done to what", result, text)
		}
		if result == "of the future" && !strings.Contains(err.Error(), result) {
			t.Errorf("an unknown result is not in %q", err)
		}
	}
}

func TestJobErrorsOfQueueing(t *testing.T) {
	for name, want := range map[string]error{
		"org.freedesktop.DBus.Error.AccessDenied":                     ErrDenied,
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired": ErrDenied,
		"org.freedesktop.systemd1.NoSuchUnit":                         ErrNoUnit,
	} {
		f := newFakeJob(func(context.Context, *fakeJob) error {
			return dbus.Error{Name: name, Body: []any{"words of systemd"}}
		}, never)
		if err := f.run(context.Background()); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	f := newFakeJob(func(context.Context, *fakeJob) error {
		return dbus.Error{Name: "org.freedesktop.systemd1.UnitMasked", Body: []any{"Unit u.service is masked."}}
	}, never)
	if err := f.run(context.Background()); err == nil || !strings.Contains(err.Error(), "is masked") {
		t.Errorf("systemd's words are lost: %v", err)
	}
	f = newFakeJob(func(context.Context, *fakeJob) error { return dbus.ErrClosed }, never)
	if err := f.run(context.Background()); !errors.Is(err, ErrLost) {
		t.Errorf("closed connection: %v", err)
	}
}

func TestJobNotQueuedAfterCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f := newFakeJob(never, never)
	if err := f.run(ctx); !errors.Is(err, context.Canceled) || f.queued != 0 {
		t.Errorf("err %v, queued %d times", err, f.queued)
	}
}

// The caller gives up while the call that queues the job is under way: the
// call must go on, or nobody could cancel the job that it makes.
func TestJobCancelled(t *testing.T) {
	for name, end := range map[string]struct {
		result string // what JobRemoved says, if it comes
		err    error  // of CancelJob
		want   string
	}{
		"cancelled":         {"canceled", nil, "interrupted: the job is cancelled"},
		"ended just before": {"done", nil, "already ended: done"},
		"not allowed":       {"", ErrDenied, "could not be cancelled: access denied"},
	} {
		ctx, giveUp := context.WithCancel(context.Background())
		f := newFakeJob(
			func(call context.Context, f *fakeJob) error {
				giveUp()
				return call.Err()
			},
			func(limit context.Context, f *fakeJob) error {
				if limit.Err() != nil {
					t.Errorf("%s: no time to cancel in: %v", name, limit.Err())
				}
				if _, limited := limit.Deadline(); !limited {
					t.Errorf("%s: cancelling has no limit", name)
				}
				if end.err == nil {
					f.ch <- end.result
				}
				return end.err
			})
		err := f.run(ctx)
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), end.want) {
			t.Errorf("%s: got %v, want %q and context.Canceled", name, err, end.want)
		}
		if len(f.cancelled) != 1 || f.cancelled[0] != 7 {
			t.Errorf("%s: cancelled jobs %v, want only 7", name, f.cancelled)
		}
	}
}

func TestJobConnectionLost(t *testing.T) {
	lost := make(chan struct{})
	f := newFakeJob(func(context.Context, *fakeJob) error {
		close(lost)
		return nil
	}, never)
	f.lost = lost
	if err := f.run(context.Background()); !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
	// A result that nobody waits for must not hold up the dispatcher.
	select {
	case f.ch <- "done":
	default:
		t.Error("the result's channel has no room")
	}
}

func TestJobConnectionLostWhileCancelling(t *testing.T) {
	ctx, giveUp := context.WithCancel(context.Background())
	lost := make(chan struct{})
	f := newFakeJob(
		func(context.Context, *fakeJob) error { giveUp(); return nil },
		func(context.Context, *fakeJob) error { close(lost); return nil })
	f.lost = lost
	if err := f.run(ctx); err == nil {
		t.Error("no error")
	} else if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrLost) {
		t.Errorf("got %v", err)
	}
}
