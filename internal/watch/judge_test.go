package watch

import (
	"testing"
	"time"
)

// unit is the WatchdogSec= of the unit as shipped.
const unit = 45 * time.Second

// life is what a server does at a time.
type life func(at, elapsed time.Duration) Round

func answering(_, _ time.Duration) Round { return Round{Answered: true} }
func dead(_, _ time.Duration) Round      { return Round{} }

// working uses a share of a processor, and waits for one as long as it can.
func working(share float64) life {
	return func(_, elapsed time.Duration) Round {
		return Round{CPU: time.Duration(share * float64(elapsed)), Wanted: elapsed}
	}
}

// noise is a server that waits for a lock by sleeping, and Steam's threads.
func noise(_, elapsed time.Duration) Round {
	return Round{CPU: elapsed / 20, Wanted: elapsed / 20, Read: int64(elapsed.Seconds() * 1000)}
}

func reading(_, elapsed time.Duration) Round {
	return Round{Read: int64(elapsed.Seconds() * (1 << 20)), CPU: elapsed / 50, Wanted: elapsed / 50}
}

// phases plays one life after the other.
func phases(parts ...any) life {
	return func(at, elapsed time.Duration) Round {
		var until time.Duration
		for i := 0; i < len(parts); i += 2 {
			if until += parts[i].(time.Duration); at <= until {
				return parts[i+1].(func(time.Duration, time.Duration) Round)(at, elapsed)
			}
		}
		return Round{Answered: true}
	}
}

// hangs returns when a server with this life is told to hang; 0 for not within
// a day.
func hangs(watchdog time.Duration, l life) time.Duration {
	j := &Judge{Limits: LimitsFor(watchdog)}
	for at := time.Duration(0); at < 24*time.Hour; {
		at += j.Round
		r := l(at, j.Round)
		r.Elapsed = j.Round
		if j.Add(r); j.Hung() {
			return at
		}
	}
	return 0
}

func TestJudge(t *testing.T) {
	f := func(l life) func(time.Duration, time.Duration) Round { return l }
	const minute, second = time.Minute, time.Second
	tests := []struct {
		name     string
		life     life
		from, to time.Duration // when it is to be found; 0, 0: never
	}{
		{"healthy", answering, 0, 0},
		{"dead-lock", dead, 40 * second, 50 * second},
		{"dead-lock with threads that do a little", noise, 40 * second, 50 * second},
		{"dead-lock after an hour", phases(60*minute, answering, 24*60*minute, dead), 60*minute + 40*second, 60*minute + 50*second},
		{"endless loop", working(1), 3 * minute, 4 * minute},
		{"endless loop on a busy machine", working(0.25), 12 * minute, 13 * minute},
		{"endless loop that reads", reading, 10 * minute, 12 * minute},
		{"map load of two minutes, reading", phases(2*minute, reading), 0, 0},
		{"map load of two minutes, computing", phases(2*minute, f(working(1))), 0, 0},
		{"map load of two minutes, first reading, then computing", phases(minute, reading, minute, f(working(1))), 0, 0},
		{"map load of a minute of work, with an eighth of a processor", phases(8*minute, f(working(0.125))), 0, 0},
		{"one map load after the other", func(at, elapsed time.Duration) Round {
			if at%(3*minute) < 10*second {
				return answering(at, elapsed)
			}
			return working(1)(at, elapsed)
		}, 0, 0},
		{"query flood: packets are taken, no answer is seen", func(_, _ time.Duration) Round { return Round{Took: true} }, 0, 0},
		{"muted for ever, RCON answers", func(_, _ time.Duration) Round { return Round{Console: true} }, 0, 0},
		{"in a debugger for an hour", phases(60*minute, func(_, _ time.Duration) Round { return Round{Held: true} }), 0, 0},
		{"an answer now and then", func(at, _ time.Duration) Round { return Round{Answered: at%(40*second) == 0} }, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if at := hangs(unit, tt.life); at < tt.from || at > tt.to {
				t.Errorf("found after %s, want %s to %s", at, tt.from, tt.to)
			}
		})
	}
}

// All limits follow from WatchdogSec=.
func TestLimitsScale(t *testing.T) {
	for _, watchdog := range []time.Duration{2 * time.Second, 10 * time.Minute} {
		if at := hangs(watchdog, dead); at < watchdog || at > watchdog*6/5 {
			t.Errorf("WatchdogSec=%s: a dead-lock is found after %s", watchdog, at)
		}
		if at := hangs(watchdog, working(1)); at < 5*watchdog || at > 6*watchdog {
			t.Errorf("WatchdogSec=%s: an endless loop is found after %s", watchdog, at)
		}
	}
	if got := LimitsFor(unit); got.Round != 5*time.Second {
		t.Errorf("the unit's round is %s", got.Round)
	}
}

// A machine that was suspended, or had no time for the watcher, is not a server
// that was silent.
func TestGapsCountLittle(t *testing.T) {
	j := &Judge{Limits: LimitsFor(unit)}
	j.Add(Round{Elapsed: 5 * time.Second, Answered: true})
	if j.Add(Round{Elapsed: time.Hour}); j.Hung() {
		t.Error("one look after an hour was enough")
	}
	if j.Add(Round{Elapsed: 5 * time.Second, Answered: true}); j.Lost != 0 || j.Silent != 0 {
		t.Errorf("after an answer lost for %s, silent for %s", j.Lost, j.Silent)
	}
}
