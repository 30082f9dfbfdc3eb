package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"l4d2-host/internal/archive"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
)

type backupCommand struct {
	Name    nameArg `arg:"" help:"Instance to copy."`
	Output  string  `short:"o" help:"Write to this new file instead of one in the directory of the backups." placeholder:"FILE" complete:"file"`
	Running bool    `help:"Also copy a server that runs: each file as it is at the moment it is read."`
}

// Help is what --help prints besides.
func (*backupCommand) Help() string {
	return "A backup holds the spec and all that the server has written, and neither the game nor a layer. " +
		"It holds passwords. A server that runs is copied only with --running: what it writes meanwhile may be " +
		"missing, or be half of it, such as the last lines of a log or a database in the middle of a change.\n\n" +
		"Example: l4d2ctl backup versus"
}

func (c *backupCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n := c.Name.Name
	if err := s.known([]instance.Name{n}); err != nil {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	live, release, err := s.holdOrLive(st, n, c.Running)
	if err != nil {
		return err
	}
	defer release()
	path, bytes, err := s.backUp(st, n, c.Output, live)
	if err != nil {
		return err
	}
	s.result(n, "backed up to %s (%s)", path, size(bytes))
	s.hint("get it back with: %s restore %s %s", program, n, path)
	return nil
}

// holdOrLive holds an instance that is stopped; one that runs is refused unless
// the operator wants it live.
func (s *session) holdOrLive(st *store.Store, n instance.Name, wanted bool) (live bool, release func(), err error) {
	err = s.running(n, "what it writes while it is copied could be torn",
		"or copy it as it runs, with --running")
	var p *problem
	if wanted && errors.As(err, &p) {
		s.step(n, "it is running: a file that it writes to meanwhile may be torn")
		return true, func() {}, nil
	}
	if err != nil {
		return false, nil, err
	}
	h, err := s.hold(st, n)
	if err != nil {
		return false, nil, err
	}
	return false, h.Release, nil
}

// backUp writes a backup to path, or to a new name in the directory of the
// backups, and returns where and how large it is.
func (s *session) backUp(st *store.Store, n instance.Name, path string, live bool) (string, int64, error) {
	now := time.Now()
	if path == "" {
		var err error
		if path, err = st.BackupPath(n, now, archive.Extension); err != nil {
			return "", 0, fmt.Errorf("%s: %w", n, err)
		}
	}
	s.step(n, "copying its spec and its own files to %s", path)
	f, err := archive.Create(path)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", n, err)
	}
	if err := s.pack(st, n, f, now, live); err != nil {
		return "", 0, errors.Join(fmt.Errorf("%s: back up: %w", n, interrupted(err)), f.Abort())
	}
	bytes, err := f.Commit()
	if err != nil {
		return "", 0, fmt.Errorf("%s: back up: %w", n, err)
	}
	return path, bytes, nil
}

// pack writes the archive of n to w.
func (s *session) pack(st *store.Store, n instance.Name, w io.Writer, at time.Time, live bool) error {
	text, err := st.ReadSpec(n)
	if err != nil {
		return err
	}
	upper, err := s.upper(n)
	if err != nil {
		return err
	}
	if upper != nil {
		defer upper.Close()
	}
	total, err := archive.Measure(s.ctx, upper)
	if err != nil {
		return err
	}
	add, shown := s.progress(n, "copying", total)
	defer shown()
	return archive.Write(s.ctx, w, archive.Backup{
		Name: n, Spec: text, At: at, Upper: upper, Owner: gameOwner(), Live: live, Progress: add,
		Remark: func(path, why string) { s.warn("%s: %s: %s", n, visible(path), why) },
	})
}
