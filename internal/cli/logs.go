package cli

import (
	"context"
	"errors"
	"fmt"

	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type logsCommand struct {
	Name   nameArg `arg:"" help:"Instance whose journal to show."`
	Follow bool    `short:"f" help:"Go on with what is written from now on, until interrupted."`
	Lines  *uint   `short:"n" placeholder:"N" help:"Show the last N lines (default: 100, or all with --since)."`
	Since  string  `placeholder:"TIME" complete:"none" help:"Show what is not older, such as today, 1h ago or 2026-01-31 20:00 (see systemd.time(7))."`
}

// Help is what --help prints besides.
func (*logsCommand) Help() string {
	return "The helper's steps, the server's console and what systemd says of the unit, together. " +
		"Members of the groups adm and systemd-journal may read them, and root.\n\n" +
		"Example: l4d2ctl logs versus --since today"
}

// lastLines is how many lines are shown of a journal that may reach back for
// months.
const lastLines = 100

func (c *logsCommand) Run(s *session) error {
	n := c.Name.Name
	st, err := s.open()
	if err != nil {
		return err
	}
	// Who may read the journal need not be able to read the instances.
	if _, _, err := st.Load(n); errors.Is(err, store.ErrUnknown) {
		p := &problem{err: fmt.Errorf("%s: no such instance", n)}
		p.hints = append(p.hints, fmt.Sprintf("the journal may have lines of one that was deleted: journalctl -u %s", unitName(n)))
		return p
	}
	q := systemd.JournalQuery{Unit: unitName(n), Lines: -1, Since: c.Since, Follow: c.Follow}
	if c.Lines != nil {
		q.Lines = int(*c.Lines)
	} else if c.Since == "" {
		q.Lines = lastLines
	}
	err = systemd.ShowJournal(s.ctx, q, s.Out, s.Err)
	if c.Follow && errors.Is(err, context.Canceled) {
		return ended{err}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n, interrupted(err))
	}
	return nil
}
