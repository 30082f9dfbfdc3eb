package roll

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"
)

// TimePlaceholder stands in a warning for the time that is left.
const TimePlaceholder = "{time}"

// defaultWarning is said before players are thrown out, if there is no other.
const defaultWarning = "This server restarts in " + TimePlaceholder + "."

// maxWarning is what the game shows of a line of its chat, in bytes
// (CheckChatText in Valve's source-sdk-2013).
const maxWarning = 127

// warnBefore are the times before the deadline when players are told.
var warnBefore = []time.Duration{10 * time.Minute, 5 * time.Minute, time.Minute}

// CheckWarning returns an error about a text that the console's say cannot take.
func CheckWarning(text string) error {
	switch {
	case strings.TrimSpace(text) == "":
		return errors.New("the text is empty")
	case strings.Contains(text, `"`), strings.ContainsFunc(text, unicode.IsControl):
		return errors.New("the console has no way to write a double quote or a line end in a text")
	case len(expand(text, warnBefore[0])) > maxWarning:
		return fmt.Errorf("longer than the %d bytes that the game shows", maxWarning)
	}
	return nil
}

func expand(text string, left time.Duration) string {
	return strings.ReplaceAll(text, TimePlaceholder, inWords(left))
}

// inWords is a time in whole minutes or, below one, seconds.
func inWords(d time.Duration) string {
	n, unit := int(d.Round(time.Minute)/time.Minute), "minute"
	if d < 45*time.Second {
		n, unit = max(1, int(d.Round(time.Second)/time.Second)), "second"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// text is what players are told; "" for nothing.
func (o Order) text() string {
	if o.Warn == "" && o.Force {
		return defaultWarning
	}
	return o.Warn
}

// warnings are the times when players are told: those of warnBefore that are
// still to come, or now if it is too late for all of them.
func (o Order) warnings(now, deadline time.Time) []time.Time {
	if o.text() == "" {
		return nil
	}
	var times []time.Time
	for _, before := range warnBefore {
		if at := deadline.Add(-before); !at.Before(now) {
			times = append(times, at)
		}
	}
	if times == nil {
		times = []time.Time{now}
	}
	return times
}

// warn tells the players of all that wait, when it is time.
func (r *Roll) warn(ctx context.Context) {
	due := 0
	for due < len(r.warnings) && !r.now().Before(r.warnings[due]) {
		due++
	}
	left := time.Duration(0)
	if due > 0 {
		r.warnings, left = r.warnings[due:], r.deadline.Sub(r.now())
	}
	if left <= 0 {
		return
	}
	text := expand(r.order.text(), left)
	indices := r.waiting()
	errs := make([]error, len(indices))
	var all sync.WaitGroup
	for j, i := range indices {
		if !r.waits[i].up {
			errs[j] = errors.New("it does not run now")
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			_, errs[j] = r.servers.Console(ctx, r.order.Names[i], `say "`+text+`"`)
		}()
	}
	all.Wait()
	for j, i := range indices {
		if errs[j] != nil {
			r.log.Warn("%s: its players could not be told: %v", r.order.Names[i], errs[j])
		} else {
			r.log.Info("%s: told its players: %s", r.order.Names[i], text)
		}
	}
}

// String says what is to be done.
func (o Order) String() string {
	text := fmt.Sprintf("restarting %d of the servers once nobody plays on them, %d at a time", len(o.Names), o.AtOnce)
	switch {
	case o.Within == 0:
	case o.Force:
		text += fmt.Sprintf("; in %s at the latest, with or without players", o.Within)
	default:
		text += fmt.Sprintf("; in %s those that are still played on are left as they are", o.Within)
	}
	return text
}
