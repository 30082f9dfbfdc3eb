package cli

import (
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/archive"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
	"l4d2-host/internal/store"
)

type cloneCommand struct {
	Name      nameArg `arg:"" help:"Instance to copy."`
	New       nameArg `arg:"" help:"Name of the new instance." complete:"none"`
	Port      uint16  `required:"" help:"Port of the new instance." placeholder:"PORT"`
	WithState bool    `help:"Copy what the server has written too."`
	Running   bool    `help:"With --with-state: also copy a server that runs, each file as it is when it is read."`
}

// Help is what --help prints besides.
func (*cloneCommand) Help() string {
	return "The new instance has the same spec but for the port, and the same layers. It is neither started nor enabled.\n\n" +
		"Example: l4d2ctl clone versus versus-2 --port 27016"
}

func (c *cloneCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n, to := c.Name.Name, c.New.Name
	if err := s.known([]instance.Name{n}); err != nil {
		return err
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	if _, _, err := st.Load(to); !errors.Is(err, store.ErrUnknown) {
		if err == nil {
			err = errors.New("there is such an instance already")
		}
		return fmt.Errorf("%s: %w", to, err)
	}
	if err := c.copy(s, st); err != nil {
		return fmt.Errorf("%s: clone of %s: %w", to, n, interrupted(err))
	}
	s.result(to, "created")
	s.hint("its spec names what %s's does, such as the hostname: %s edit %s", n, program, to)
	s.hint("start it with: %s start %s", program, to)
	return nil
}

func (c *cloneCommand) copy(s *session, st *store.Store) error {
	n, to := c.Name.Name, c.New.Name
	text, err := st.ReadSpec(n)
	if err != nil {
		return err
	}
	if text, err = spec.WithPort(s.layout.Spec(n), text, c.Port); err != nil {
		return err
	}
	file := fmt.Sprintf("%s (with port %d)", s.layout.Spec(n), c.Port)
	if !c.WithState {
		s.step(to, "writing %s", s.layout.Instance(to))
		_, err := st.Init(to, file, text)
		return err
	}
	h, err := st.Hold(to)
	if err != nil {
		return err
	}
	defer h.Release()
	err = c.copyState(s, st, h)
	if err == nil {
		s.step(to, "writing %s", s.layout.Instance(to))
		_, err = st.Init(to, file, text)
	}
	if err != nil {
		return errors.Join(err, h.Discard())
	}
	return h.Install()
}

// copyState stages a copy of the state: an archive that is unpacked while it is
// written.
func (c *cloneCommand) copyState(s *session, st *store.Store, h *store.Hold) error {
	live, release, err := s.holdOrLive(st, c.Name.Name, c.Running)
	if err != nil {
		return err
	}
	defer release()
	fd, err := h.Stage()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	s.step(h.Name(), "copying the files of %s", c.Name.Name)
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := s.pack(st, c.Name.Name, w, time.Now(), live)
		w.CloseWithError(err)
		packed <- err
	}()
	a, err := archive.Open(r)
	if err == nil {
		err = a.Unpack(s.ctx, fd, gameOwner())
	}
	r.CloseWithError(err) // nil: io.ErrClosedPipe, to nobody who still writes
	if packErr := <-packed; packErr != nil && !errors.Is(err, packErr) && !errors.Is(packErr, err) {
		return packErr
	}
	return err
}
