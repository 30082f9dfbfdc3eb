package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/rcon"
)

// prompt runs what is typed, until the end of it. The history is kept in
// memory alone: lines can hold passwords.
func (s *session) prompt(conn *rcon.Conn, n instance.Name, in, out *os.File) error {
	s.step(n, "connected; exit or Ctrl-D leaves, and the server goes on")
	t := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, string(n)+"> ")
	for {
		line, err := s.readLine(t, in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		switch line = strings.TrimSpace(line); line {
		case "":
			continue
		case "exit", "quit":
			// Typed out of habit: with the server's own meaning, players would be
			// thrown out.
			s.step(n, "left; this would end the server: %s stop %s", program, n)
			return nil
		}
		if err := s.execute(conn, n, line); err != nil {
			return err
		}
	}
}

// readLine reads a line with editing. The terminal is in raw mode only for
// that, so that Ctrl-C interrupts while an answer is waited for.
func (s *session) readLine(t *term.Terminal, in *os.File) (string, error) {
	fd := int(in.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return "", err
	}
	defer term.Restore(fd, before)
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		if err := t.SetSize(width, height); err != nil {
			return "", err
		}
	}
	return interruptible(s.ctx, t.ReadLine)
}
