package steam

import (
	"fmt"
	"time"

	"l4d2-host/internal/journal"
)

// Report is a Watcher that writes to the journal and to the unit's status.
type Report struct {
	Log *journal.Log
	// Status is told the progress, as Progress.String writes it.
	Status func(text string)

	last   Progress
	when   time.Time
	logged string
}

const (
	statusEvery = 500 * time.Millisecond
	loggedStep  = 10 // percent
)

// Line writes what steamcmd prints.
func (r *Report) Line(line string) { r.Log.Info("%s", line) }

// Progress tells the status each time it has a new phase, and otherwise twice a
// second at the most; the journal gets a line every 10 percent.
func (r *Report) Progress(p Progress) {
	now := time.Now()
	if p.Phase != r.last.Phase || now.Sub(r.when) >= statusEvery || p.Percent == 100 {
		r.Status(p.String())
		r.when = now
	}
	r.last = p
	step := fmt.Sprintf("%s %d", p.Phase, int(p.Percent)/loggedStep)
	if step != r.logged {
		r.logged = step
		r.Log.Info("%s", p)
	}
}
