package watch

import (
	"fmt"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/printable"
)

// maxName, in characters, is what a status shows of a server's or a map's name.
const maxName = 64

// playing is the status of a server that answers.
func playing(info a2s.Info) string {
	return fmt.Sprintf("%s, %d/%d players, %s", name(info.Map), info.Players, info.MaxPlayers, name(info.Name))
}

// silent is the status of a ready server that does not answer queries.
func silent(level string, since time.Duration, sign Sign) string {
	return fmt.Sprintf("%s, no answer for %s, but it %s", name(level), since.Round(time.Second), sign)
}

// lost is the status of a ready server that shows no sign of life.
func lost(level string, j *Judge) string {
	why := "no answer, no packet taken, the processor idle"
	if j.work >= j.Work || j.reading >= j.Reading {
		why = "no answer, no packet taken, busy for too long"
	}
	return fmt.Sprintf("%s, no sign of life for %s: %s", name(level), j.Lost.Round(time.Second), why)
}

// name is what a server calls itself or its map, in a form that cannot become
// another line of the message to systemd.
func name(s string) string { return printable.Cut(s, maxName) }
