package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"l4d2-host/internal/a2s"
)

// answer is what a server says of itself, and its JSON. The strings are what
// an operator, a mod or a player made them. All is null unless it answered;
// QueryError says why it did not, and is null too if it was not asked, because
// it does not run.
type answer struct {
	Hostname   *string `json:"hostname"`
	Map        *string `json:"map"`
	Players    *int    `json:"players"` // bots included
	MaxPlayers *int    `json:"max_players"`
	Bots       *int    `json:"bots"`
	QueryError *string `json:"query_error"`
}

// loopback is where the servers of this machine are asked: the unit has them
// listen everywhere.
func loopback(port uint16) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// query fills in the answers of the servers on these ports, side by side, with
// the time of one for all of them.
func (s *session) query(answers []*answer, ports []uint16) {
	ctx, done := context.WithTimeout(s.ctx, s.Patience)
	defer done()
	var all sync.WaitGroup
	for i, a := range answers {
		all.Add(1)
		go func() {
			defer all.Done()
			info, err := a2s.Query(ctx, loopback(ports[i]))
			if err != nil {
				text := s.silence(err)
				a.QueryError = &text
				return
			}
			a.Hostname, a.Map = &info.Name, &info.Map
			a.Players, a.MaxPlayers, a.Bots = &info.Players, &info.MaxPlayers, &info.Bots
		}()
	}
	all.Wait()
}

// silence says why a query came to nothing.
func (s *session) silence(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s: it may be loading a map", s.Patience.Round(time.Millisecond))
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens on its port: it may be starting"
	}
	return err.Error()
}

// playersOf is "3/8", or a dash.
func (a *answer) playersOf() string {
	if a.Players == nil {
		return "-"
	}
	return fmt.Sprintf("%d/%d", *a.Players, *a.MaxPlayers)
}
