package cli

import (
	"fmt"
	"strconv"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
)

// describeStatus puts a status in words: a first line that begins with the
// name, and a line or more for each thing to say.
func (s *session) describeStatus(v *status) string {
	rows := [][]cell{}
	say := func(what string, cells ...cell) { rows = append(rows, append(plain("  "+what), cells...)) }
	text := func(what, format string, args ...any) { say(what, cell{text: fmt.Sprintf(format, args...)}) }

	text("server", "%s", v.serverText())
	for i, p := range v.PlayerList {
		text(heading("players", i), "%s", p)
	}
	if v.StatusText != nil {
		text("says", "%s", printable.Cut(*v.StatusText, 160))
	}
	if v.PID != nil {
		text("process", "%d, restarted automatically: %d", *v.PID, *v.Restarts)
	}
	text("last exit", "%s", v.lastExitText())
	if v.PID != nil {
		text("cpu", "%s", v.cpuText())
		text("memory", "%s", v.memoryText())
	}
	text("disk", "%s", v.diskText())
	for i, l := range v.Layers {
		text(heading("layers", i), "%d %s", i+1, l)
	}
	if why := v.Unknown["layers"]; why != "" {
		text("layers", "not known: %s", printable.Line(why))
	}
	for i, line := range v.pendingTexts() {
		say(heading("restart", i), line)
	}
	if v.Unapplied != nil && *v.Unapplied {
		say("spec", cell{s.unappliedText(v.Name), yellow})
	}
	return v.headText(s) + "\n" + s.table(rows)
}

// unappliedText is about a spec that says something else than what was generated.
func (s *session) unappliedText(n instance.Name) string {
	return fmt.Sprintf("edited and not applied; this does it: %s init %s %s", program, n, s.layout.Spec(n))
}

// heading is what only for the first of several lines.
func heading(what string, i int) string {
	if i > 0 {
		return ""
	}
	return what
}

func (v *status) headText(s *session) string {
	state := stateCell(v.State, "")
	if v.Substate != "" && v.Substate != v.State {
		state.text += " (" + v.Substate + ")"
	}
	line := string(v.Name) + "  " + s.paint(state)
	if v.State == "failed" && v.Result != nil {
		line += ", result " + *v.Result
	}
	if v.StateSince != nil {
		line += fmt.Sprintf(" since %s, %s", local(*v.StateSince), ago(*v.StateSince))
	}
	if v.Enabled != nil {
		line += fmt.Sprintf("; at boot: %s", boot(v.Enabled))
	}
	if why := v.Unknown["state"]; why != "" {
		line += ": " + printable.Line(why)
	}
	return line
}

func local(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// ago is how long t is past, in words; "0s" if it is still to come.
func ago(t time.Time) string {
	seconds := max(0, int64(time.Since(t)/time.Second))
	return uptime(&seconds)
}

func (v *status) serverText() string {
	port := "port not known"
	if v.runsOn != nil {
		port = fmt.Sprintf("port %d", *v.runsOn)
	} else if why := v.Unknown["port"]; why != "" {
		port += ": " + printable.Line(why)
	}
	switch {
	case v.Map != nil:
		return fmt.Sprintf("%s, %s, %s players, %s", printable.Cut(strconv.Quote(*v.Hostname), 64), printable.Cut(*v.Map, mapLength), v.playersOf(), port)
	case v.QueryError != nil:
		return port + ", " + printable.Line(*v.QueryError)
	}
	return port
}

func (p connected) String() string {
	name := printable.Cut(p.Name, 32)
	if p.Name == "" {
		name = "(connecting)"
	}
	return fmt.Sprintf("%s, score %d, here for %s", name, p.Score, uptime(&p.ConnectedSeconds))
}

func (v *status) lastExitText() string {
	e := v.LastExit
	if e == nil {
		if why := v.Unknown["last_exit"]; why != "" {
			return "not known: " + printable.Line(why)
		}
		return "none that is known of"
	}
	return fmt.Sprintf("%s, %s ago (%s)", e, ago(e.At), local(e.At))
}

// String says how it ended and why, as far as systemd tells.
func (e lastExit) String() string {
	var how string
	switch {
	case e.Code == "exited":
		how = "ended with exit code " + e.Status
	case e.Code == "killed" && e.Result == "success" && (e.Status == "INT" || e.Status == "TERM"):
		how = "stopped by " + e.Status
	case e.Code == "killed":
		how = "killed by signal " + e.Status
	case e.Code == "dumped":
		how = "killed by signal " + e.Status + " (core dumped)"
	default:
		how = "the server was not started: a step before it failed"
	}
	if reason := exitReasons[e.Result]; reason != "" {
		how += ": " + reason
	}
	return how
}

// exitReasons puts those of systemd's results in words that say more than the
// exit itself (systemd.exec(5), $SERVICE_RESULT).
var exitReasons = map[string]string{
	"timeout":         "it took longer than the unit allows",
	"watchdog":        "it did not show life any more",
	"oom-kill":        "the memory ran out",
	"start-limit-hit": "it was started too often",
	"resources":       "systemd lacked something to start it",
	"protocol":        "it did not do what systemd expects of the service",
}

func (v *status) cpuText() string {
	if v.CPUSeconds == nil {
		return "not known: systemd does not account for it here"
	}
	seconds := int64(*v.CPUSeconds)
	text := uptime(&seconds) + " in all"
	if v.CPUPercent != nil {
		text = fmt.Sprintf("%.1f%% of a processor now, %s", *v.CPUPercent, text)
	}
	return text
}

func (v *status) memoryText() string {
	if v.MemoryBytes == nil {
		return "not known: systemd does not account for it here"
	}
	return size(int64(*v.MemoryBytes))
}

func (v *status) diskText() string {
	why := printable.Cut(v.Unknown["disk"], 120) // a path in it can be long
	switch {
	case v.Disk == nil:
		return "not known: " + why
	case !v.Disk.Complete:
		return fmt.Sprintf("at least %s in %d files; %s", size(v.Disk.Bytes), v.Disk.Files, why)
	}
	return fmt.Sprintf("%s in %d files of its own", size(v.Disk.Bytes), v.Disk.Files)
}

func (l statusLayer) String() string {
	if l.Target == nil {
		return l.Name
	}
	return l.Name + " -> " + visible(*l.Target)
}

// pendingTexts are the lines about what a restart would change.
func (v *status) pendingTexts() []cell {
	if v.PID == nil {
		return nil
	}
	why := printable.Line(v.Unknown["pending"])
	if v.Pending == nil {
		return plain("what it would change is not known: " + why)
	}
	var lines []cell
	for _, c := range v.Pending {
		lines = append(lines, cell{fmt.Sprintf("would change %s: %s", c.What, printable.Line(c.Detail)), yellow})
	}
	if why != "" {
		lines = append(lines, cell{text: "perhaps more: " + why})
	}
	if len(lines) == 0 {
		lines = plain("would change nothing")
	}
	return lines
}
