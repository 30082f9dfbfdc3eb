package cli

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type listCommand struct {
	JSON bool `help:"Print an array of objects, for programs."`
}

// Help is what --help prints besides.
func (*listCommand) Help() string {
	return "Example: l4d2ctl list --json"
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
	Enabled       *bool         `json:"enabled"`        // at boot; null if systemd is not running
	Error         *string       `json:"error"`          // what is wrong with its spec
}

func (c *listCommand) Run(s *session) error {
	st, err := s.open()
	if err != nil {
		return err
	}
	names, err := st.List()
	if err != nil {
		return readable(err)
	}
	list := make([]listed, len(names))
	var broken problems
	for i, n := range names {
		if err := list[i].describe(st, n); err != nil {
			broken = append(broken, readable(fmt.Errorf("%s: %w", n, err)))
		}
	}
	if err := s.addStates(list); err != nil {
		return err
	}
	if c.JSON {
		if err := s.printJSON(list); err != nil {
			return err
		}
	} else if len(list) > 0 {
		s.print(table(list))
	}
	if len(list) == 0 {
		s.hint("no instances in %s: make one with: %s init NAME SPEC", s.layout.Instances(), program)
	}
	if len(broken) > 0 {
		return broken
	}
	return nil
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

// addStates fills in what systemd knows; that it is not running is a warning.
func (s *session) addStates(list []listed) error {
	if len(list) == 0 {
		return nil
	}
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		s.warn("%v: states are unknown", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	names := make([]string, len(list))
	for i, l := range list {
		names[i] = unitName(l.Name)
	}
	units, err := m.Units(s.ctx, names)
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
	if u.MainPID != 0 {
		l.PID = &u.MainPID
	}
	if !u.Since.IsZero() {
		since := u.Since.UTC().Truncate(time.Second)
		up := max(0, int64(now.Sub(u.Since)/time.Second))
		l.Since, l.UptimeSeconds = &since, &up
	}
}

// table lays the list out in columns; the one for errors is there only if it
// has something to say.
func table(list []listed) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	head := "NAME\tPORT\tSTATE\tPID\tUPTIME\tBOOT"
	wrong := false
	for _, l := range list {
		wrong = wrong || l.Error != nil
	}
	if wrong {
		head += "\tERROR"
	}
	fmt.Fprintln(w, head)
	for _, l := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s", l.Name, orDash(l.Port), l.State, orDash(l.PID), uptime(l.UptimeSeconds), boot(l.Enabled))
		if wrong {
			fmt.Fprintf(w, "\t%s", firstLine(l.Error))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return text.String()
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
