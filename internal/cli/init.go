package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type initCommand struct {
	Name nameArg `arg:"" help:"Instance to make or change."`
	Spec string  `arg:"" complete:"file" help:"Its spec, a YAML file; - reads standard input."`
}

// Help is what --help prints besides.
func (*initCommand) Help() string {
	return "Everything that is wrong with the spec is reported at once, with file and line, and then nothing is changed. A running server keeps what it has until its next start.\n\n" +
		"Example: l4d2ctl init versus versus.yaml"
}

func (c *initCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n := c.Name.Name
	file := c.Spec
	if file == "-" {
		file = "standard input"
		s.step(n, "reading the spec from standard input")
	}
	data, err := s.readSpec(c.Spec)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	s.step(n, "checking %s and writing %s", file, s.layout.Instance(n))
	result, err := st.Init(n, file, data)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	s.result(n, "%s", result)
	switch result {
	case store.Created:
		s.hint("start it with: %s start %s", program, n)
	case store.Changed:
		s.tellIfRunning(n)
	}
	return nil
}

// tellIfRunning says that a running server does not see the changed spec. The
// spec is applied by now, so that not reaching systemd is a warning at most.
func (s *session) tellIfRunning(n instance.Name) {
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		return // nothing runs while an image is built
	}
	if err != nil {
		s.warn("%s: cannot tell whether it is running: %v", n, err)
		return
	}
	defer m.Close()
	u, err := s.unit(m, n)
	if err != nil {
		s.warn("%s: cannot tell whether it is running: %v", n, err)
		return
	}
	if !u.Stopped() && !s.foreign(u, n) {
		s.step(n, "the running server keeps what it has until: %s restart %s", program, n)
	}
}

// readSpec reads the file called path, or standard input for "-".
func (s *session) readSpec(path string) ([]byte, error) {
	return interruptible(s.ctx, func() ([]byte, error) {
		in, file := s.In, "standard input"
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in, file = f, path
		}
		data, err := io.ReadAll(io.LimitReader(in, spec.MaxFile+1))
		if err != nil {
			return nil, err
		}
		if len(data) > spec.MaxFile {
			return nil, fmt.Errorf("%s: larger than a spec may be (%d bytes)", file, spec.MaxFile)
		}
		return data, nil
	})
}

// interruptible returns what read does, or ctx's error as soon as ctx ends;
// read then goes on until the process ends. A terminal or a pipe may never
// give anything.
func interruptible[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		v, err := read()
		ch <- answer{v, err}
	}()
	select {
	case a := <-ch:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("interrupted: %w", ctx.Err())
	}
}
