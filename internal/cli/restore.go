package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/archive"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
	"l4d2-host/internal/store"
)

type restoreCommand struct {
	Name      nameArg `arg:"" help:"Instance to put back; it need not exist."`
	File      string  `arg:"" help:"The backup; a name without a slash may also be one in the directory of the backups." complete:"file"`
	StateOnly bool    `help:"Put back what the server wrote, and leave the spec as it is." xor:"spec"`
	Port      uint16  `help:"Put back the spec with this port." placeholder:"PORT" xor:"spec"`
	Yes       bool    `short:"y" help:"Do not ask; needed where there is no terminal."`
	NoBackup  bool    `help:"Keep no backup of what is replaced."`
}

// Help is what --help prints besides.
func (*restoreCommand) Help() string {
	return "Replaces the spec and all that the server has written by what the backup holds: all of it, or nothing " +
		"if something is wrong. What is replaced goes to a backup first. The instance must be stopped. " +
		"A backup of another instance, or of another host, will do.\n\n" +
		"Example: l4d2ctl restore versus versus-2026-11-24T201500Z.tar.zst"
}

func (c *restoreCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n := c.Name.Name
	st, err := s.open()
	if err != nil {
		return err
	}
	exists, err := s.restorable(st, n, c.StateOnly)
	if err != nil {
		return err
	}
	path := s.backupFile(c.File)
	var add func(int)
	a, total, closeFile, err := archive.OpenFile(path, func(k int) {
		if add != nil {
			add(k)
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	defer closeFile()
	s.step(n, "%s is a backup of %s, made %s", path, a.Name, a.At.Local().Format("2006-01-02 15:04:05"))
	if err := s.running(n, "its files cannot be exchanged beneath it"); err != nil {
		return err
	}
	if err := c.ask(s, n, exists); err != nil {
		return err
	}
	h, err := s.hold(st, n)
	if err != nil {
		return err
	}
	defer h.Release()
	kept, err := s.keep(st, n, exists && !c.NoBackup)
	if err != nil {
		return err
	}
	s.step(n, "unpacking its files")
	add, shown := s.progress(n, "unpacking", total)
	err = c.install(s, st, h, a)
	shown()
	if err != nil {
		return fmt.Errorf("%s: %w", n, interrupted(err))
	}
	s.result(n, "restored")
	if kept != "" {
		s.hint("undo it with: %s restore %s %s", program, n, kept)
	}
	return nil
}

// restorable returns whether there is an instance n to be replaced.
func (s *session) restorable(st *store.Store, n instance.Name, stateOnly bool) (exists bool, err error) {
	_, err = os.Lstat(s.layout.Instance(n))
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, readable(fmt.Errorf("%s: %w", n, err))
	}
	if _, _, err := st.Load(n); !errors.Is(err, store.ErrUnknown) {
		return false, fmt.Errorf("%s: %w", n, err) // a removal that was interrupted, say
	}
	if stateOnly {
		return false, unknown(n)
	}
	return false, nil
}

// backupFile finds what the operator calls a backup.
func (s *session) backupFile(file string) string {
	if _, err := os.Stat(file); err != nil && !strings.Contains(file, "/") {
		return filepath.Join(s.layout.Backups(), file)
	}
	return file
}

// ask says what goes, and has the operator confirm it.
func (c *restoreCommand) ask(s *session, n instance.Name, exists bool) error {
	if !exists {
		return nil
	}
	what := "its spec and all its own files are replaced"
	if c.StateOnly {
		what = "all its own files are replaced"
	}
	s.step(n, "%s: %s", what, s.layout.Upper(n))
	return s.agree(n, c.Yes)
}

// keep makes a backup of what is about to be given up, if wanted and if there
// is anything, and returns where it is.
func (s *session) keep(st *store.Store, n instance.Name, wanted bool) (string, error) {
	if !wanted {
		return "", nil
	}
	path, _, err := s.backUp(st, n, "", false)
	if err != nil {
		return "", &problem{err: err, hints: []string{
			"nothing of " + string(n) + " has been changed; --no-backup goes on without"}}
	}
	return path, nil
}

// install unpacks the archive and puts it in place. The spec comes first: it
// can be refused, and the other step cannot.
func (c *restoreCommand) install(s *session, st *store.Store, h *store.Hold, a *archive.Reader) error {
	fd, err := h.Stage()
	if err != nil {
		return err
	}
	err = a.Unpack(s.ctx, fd, gameOwner())
	unix.Close(fd)
	if err == nil {
		err = s.ctx.Err()
	}
	if err == nil && !c.StateOnly {
		err = c.applySpec(st, h.Name(), a)
	}
	if err != nil {
		return errors.Join(err, h.Discard())
	}
	return h.Install()
}

func (c *restoreCommand) applySpec(st *store.Store, n instance.Name, a *archive.Reader) error {
	file, text := "the backup's "+instance.SpecFile, a.Spec
	if c.Port != 0 {
		var err error
		if text, err = spec.WithPort(file, text, c.Port); err != nil {
			return err
		}
	}
	_, err := st.Init(n, file, text)
	return err
}
