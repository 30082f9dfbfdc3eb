package watch

import "time"

// Sign is why a server counts as alive; empty when nothing says so.
type Sign string

// The signs of life, the strongest first.
const (
	Answers Sign = "answers queries"
	Takes   Sign = "takes packets, but answers no query: muted or flooded?"
	Console Sign = "answers on RCON, but no query"
	Held    Sign = "is held by a debugger"
	Reads   Sign = "reads files: loading a map?"
	Works   Sign = "is busy: loading a map?"
	None    Sign = ""
)

// Limits say how long a server may be without which signs of life. All follow
// from the unit's WatchdogSec=, so that one setting scales them; the examples
// are for the 45 s that the unit has.
type Limits struct {
	// Round is how often to look: 5 s.
	Round time.Duration
	// Quiet is how long the server may show no sign at all: 45 s. A dead-lock
	// shows none.
	Quiet time.Duration
	// Work is how much processor time it may use without a better sign: 3 min.
	// An endless loop shows no other sign. It is not measured by the clock, so
	// that a server which has to share its processor with many others may take
	// as much longer to load a map.
	Work time.Duration
	// Reading is how long it may do nothing but read files: 10 min. A map
	// loaded from a slow disk takes minutes, but not for ever.
	Reading time.Duration
}

const (
	// roundsInQuiet: a single lost answer must not weigh much.
	roundsInQuiet = 9
	longestRound  = 5 * time.Second

	// busy is the share of a processor that a server which works wants. A game
	// that waits for a lock by sleeping and looking again takes a percent or
	// two, as do threads of Steam's library.
	busy = 0.2
	// readingRate, in bytes a second, is what a server that loads a map reads at
	// least.
	readingRate = 64 << 10
)

// LimitsFor returns the limits that go with the unit's WatchdogSec=.
func LimitsFor(watchdog time.Duration) Limits {
	return Limits{
		Round:   min(watchdog/roundsInQuiet, longestRound),
		Quiet:   watchdog,
		Work:    watchdog * 4,
		Reading: watchdog * 40 / 3,
	}
}

// Round is what was seen of a server since one looked last.
type Round struct {
	Elapsed  time.Duration
	Answered bool // to a query
	Took     bool // packets that waited in its socket
	Console  bool // it answered on RCON
	Held     bool // stopped by a debugger: a person looks at it
	Read     int64
	CPU      time.Duration // processor time, at most Elapsed
	Wanted   time.Duration // CPU, or more: what its busiest thread ran and waited for a processor
}

// Judge keeps account of a server's signs of life.
type Judge struct {
	Limits
	Silent time.Duration // since it last answered a query or RCON, or took packets
	Lost   time.Duration // since the last sign of any kind

	work, reading time.Duration // used up since Silent was 0
}

// Sign returns the strongest sign of life in r that still counts.
func (j *Judge) Sign(r Round) Sign {
	switch {
	case r.Answered:
		return Answers
	case r.Took:
		return Takes
	case r.Console:
		return Console
	case r.Held:
		return Held
	case float64(r.Read) >= readingRate*r.Elapsed.Seconds() && r.Read > 0 && j.reading < j.Reading:
		return Reads
	case float64(r.Wanted) >= busy*float64(r.Elapsed) && r.Wanted > 0 && j.work < j.Work:
		return Works
	}
	return None
}

// Add takes account of r, and returns its sign.
func (j *Judge) Add(r Round) Sign {
	sign := j.Sign(r)
	// On a machine that was asleep, or that had no processor for the watcher,
	// much time may have passed in which nobody could see anything.
	elapsed := min(r.Elapsed, 2*j.Round)
	j.Silent += r.Elapsed
	if sign == None {
		j.Lost += elapsed
		return sign
	}
	j.Lost = 0
	switch sign {
	case Answers, Takes, Console:
		j.Silent, j.work, j.reading = 0, 0, 0
	case Reads:
		j.reading += elapsed
	case Works:
		j.work += r.CPU
	}
	return sign
}

// Hung says that there was no sign of life for too long.
func (j *Judge) Hung() bool { return j.Lost >= j.Quiet }
