package roll

import (
	"time"

	"l4d2-host/internal/instance"
)

// State is how far a roll has got. Its JSON keys are what programs may rely on.
type State struct {
	Begun    time.Time  `json:"begun"`    // RFC 3339, UTC, as all times here
	Deadline *time.Time `json:"deadline"` // null if there is none
	AtOnce   int        `json:"at_once"`
	Force    bool       `json:"force"`
	Ended    *time.Time `json:"ended"`   // null while it goes on, or if it was killed
	Outcome  *string    `json:"outcome"` // done, left, failed or cancelled; null until Ended
	Servers  []Server   `json:"servers"` // in the order that they were given in
}

// Server is one server in a State.
type Server struct {
	Name    instance.Name `json:"name"`
	State   string        `json:"state"`   // waiting, restarting, restarted, skipped, left or failed
	Players *int          `json:"players"` // humans, of one that waits because of them; else null
	Detail  string        `json:"detail"`  // what it waits for, or why it was not restarted; may be empty
	At      *time.Time    `json:"at"`      // since when the state is so; null for waiting
}

// The states of a server.
const (
	Waiting    = "waiting"
	Restarting = "restarting"
	Restarted  = "restarted"
	Skipped    = "skipped" // there was nothing to do: stopped, or started anew by someone else
	Left       = "left"    // it still runs as it did
	Failed     = "failed"
)

// The outcomes of a roll.
const (
	Done       = "done"      // no server runs as it did
	SomeLeft   = "left"      // at the deadline some were left as they are
	SomeFailed = "failed"    // a restart failed, and the rest was not tried
	Cancelled  = "cancelled" // by the operator
)

// Count returns how many servers are in that state.
func (s State) Count(state string) int {
	n := 0
	for _, server := range s.Servers {
		if server.State == state {
			n++
		}
	}
	return n
}

func (s *State) end(at time.Time, broken error) {
	outcome := Done
	switch {
	case s.Count(Failed) > 0:
		outcome = SomeFailed
	case s.Count(Left) > 0 && broken == errCancelled:
		outcome = Cancelled
	case s.Count(Left) > 0:
		outcome = SomeLeft
	}
	s.Ended, s.Outcome = &at, &outcome
}
