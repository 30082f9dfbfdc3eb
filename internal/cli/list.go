package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/record"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type listCommand struct {
	JSON  bool `xor:"form" help:"Print an array of objects, for programs."`
	Watch bool `short:"w" xor:"form" help:"Show it anew every 2 seconds, in place, until interrupted."`
}

// Help is what --help prints besides.
func (*listCommand) Help() string {
	return "Asks systemd for the states, and the servers that run for map and players. " +
		"One that does not answer within half a second may be loading a map.\n\n" +
		"Example: l4d2ctl list --json"
}

// listed is one instance in the list, and in its JSON: these keys are what
// programs may rely on. A null is something that is not so or not known.
type listed struct {
	Name          instance.Name `json:"name"`
	Port          *uint16       `json:"port"`           // null if instance.env cannot be read
	State         string        `json:"state"`          // systemd's ActiveState, or unknown
	Substate      string        `json:"substate"`       // systemd's SubState, or unknown
	PID           *int          `json:"pid"`            // null unless running
	Since         *time.Time    `json:"since"`          // RFC 3339, UTC, when it became active
	UptimeSeconds *int64        `json:"uptime_seconds"` // since then
	Restarts      *int          `json:"restarts"`       // automatic ones since the last start by hand; null unless running
	Enabled       *bool         `json:"enabled"`        // at boot; null if systemd is not running
	Error         *string       `json:"error"`          // what is wrong with its spec
	answer
}

func (c *listCommand) Run(s *session) error {
	st, err := s.open()
	if err != nil {
		return err
	}
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		m = nil
	} else if err != nil {
		return err
	} else {
		defer m.Close()
	}
	if c.Watch {
		return s.watch(func() (string, error) {
			list, _, err := s.list(st, m)
			return s.listTable(list), err
		})
	}
	list, broken, err := s.list(st, m)
	if err != nil {
		return err
	}
	if c.JSON {
		if err := s.printJSON(list); err != nil {
			return err
		}
	} else if len(list) > 0 {
		s.print(s.listTable(list))
	}
	switch {
	case len(list) == 0:
		s.hint("no instances in %s: make one with: %s init NAME SPEC", s.layout.Instances(), program)
	case m == nil:
		s.warn("%v: states are unknown", systemd.ErrNotRunning)
	}
	if len(broken) > 0 {
		return broken
	}
	return nil
}

// list returns all instances, and what is wrong with their specs. Without
// systemd, m is nil.
func (s *session) list(st *store.Store, m Manager) ([]listed, problems, error) {
	names, err := st.List()
	if err != nil {
		return nil, nil, readable(err)
	}
	list := make([]listed, len(names))
	var broken problems
	for i, n := range names {
		if err := list[i].describe(st, n); err != nil {
			broken = append(broken, readable(fmt.Errorf("%s: %w", n, err)))
		}
	}
	if m == nil || len(list) == 0 {
		return list, broken, nil
	}
	if err := s.addStates(m, list); err != nil {
		return nil, nil, err
	}
	s.addAnswers(list)
	return list, broken, nil
}

// describe fills in what the store knows.
func (l *listed) describe(st *store.Store, n instance.Name) error {
	l.Name, l.State, l.Substate = n, "unknown", "unknown"
	_, env, err := st.Load(n)
	if err == nil {
		l.Port = &env.Port
		return nil
	}
	text := err.Error()
	l.Error = &text
	// The server runs with what was generated: a spec that was edited wrongly
	// does not change its port.
	if env, envErr := instance.ReadEnv(st.Layout, n); envErr == nil {
		l.Port = &env.Port
	}
	return err
}

// addStates fills in what systemd knows.
func (s *session) addStates(m Manager, list []listed) error {
	names := make([]string, len(list))
	for i, l := range list {
		names[i] = unitName(l.Name)
	}
	units, err := m.Overview(s.ctx, unitName("*"), allUnits, names)
	if err != nil {
		return err
	}
	if !units[0].Installed() {
		s.warn("l4d2@.service is not installed: nothing can run")
	}
	now := time.Now()
	for i, u := range units {
		if !s.foreign(u, list[i].Name) {
			list[i].addState(u, now)
		}
	}
	return nil
}

func (l *listed) addState(u systemd.Unit, now time.Time) {
	l.State, l.Substate, l.Enabled = u.ActiveState, u.SubState, &u.Enabled
	if !u.Stopped() {
		l.Restarts = &u.NRestarts
	}
	if u.MainPID != 0 {
		l.PID = &u.MainPID
	}
	if !u.Since.IsZero() {
		since := u.Since.UTC().Truncate(time.Second)
		up := max(0, int64(now.Sub(u.Since)/time.Second))
		l.Since, l.UptimeSeconds = &since, &up
	}
}

// addAnswers asks all servers that run, side by side: those that say nothing
// cost the time of one.
func (s *session) addAnswers(list []listed) {
	var asked []*answer
	var ports []uint16
	for i := range list {
		l := &list[i]
		if l.PID == nil || l.Port == nil {
			continue
		}
		port := *l.Port
		// A port that was changed since is the next start's.
		if start, err := record.ReadStart(s.layout, l.Name); err == nil {
			port = start.Env.Port
		}
		asked, ports = append(asked, &l.answer), append(ports, port)
	}
	s.query(asked, ports)
}

// listTable lays the list out in columns; the one for errors is there only if
// it has something to say.
func (s *session) listTable(list []listed) string {
	head := []string{"NAME", "PORT", "STATE", "MAP", "PLAYERS", "PID", "UPTIME", "RESTARTS", "BOOT"}
	wrong := false
	for _, l := range list {
		wrong = wrong || l.Error != nil
	}
	if wrong {
		head = append(head, "ERROR")
	}
	rows := [][]cell{plain(head...)}
	for _, l := range list {
		row := append(plain(string(l.Name), orDash(l.Port)), stateCell(l.State, l.Substate), l.mapCell())
		row = append(row, plain(l.playersOf(), orDash(l.PID), uptime(l.UptimeSeconds), orDash(l.Restarts), boot(l.Enabled))...)
		if wrong {
			row = append(row, cell{printable.Line(firstLine(l.Error)), red})
		}
		rows = append(rows, row)
	}
	return s.table(rows)
}

func stateCell(state, substate string) cell {
	c := cell{text: state}
	switch state {
	case "active":
		c.colour = green
	case "failed":
		c.colour = red
	case "activating", "deactivating", "reloading":
		c.colour = yellow
		if substate == "auto-restart" {
			c.text = substate // the wait between a crash and the next start
		}
	}
	return c
}

// mapLength is enough for every map's name that anyone could tell apart.
const mapLength = 32

func (l *listed) mapCell() cell {
	switch {
	case l.Map != nil:
		return cell{text: printable.Cut(*l.Map, mapLength)}
	case l.QueryError != nil:
		return cell{"(no answer)", yellow}
	}
	return cell{text: "-"}
}

func orDash[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}

func boot(enabled *bool) string {
	switch {
	case enabled == nil:
		return "-"
	case *enabled:
		return "enabled"
	}
	return "disabled"
}

func firstLine(text *string) string {
	if text == nil {
		return ""
	}
	line, _, _ := strings.Cut(*text, "\n")
	return line
}

// uptime writes seconds with the two greatest units that are not zero.
func uptime(seconds *int64) string {
	if seconds == nil {
		return "-"
	}
	s := *seconds
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*60*60:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}
