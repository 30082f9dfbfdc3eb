package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
	"l4d2-host/internal/store"
)

type editCommand struct {
	Name nameArg `arg:"" help:"Instance whose spec to edit."`
}

// Help is what --help prints besides.
func (*editCommand) Help() string {
	return "Opens a copy of the spec in $VISUAL, $EDITOR, or what \"editor\" is on this machine, and applies it as init does. " +
		"A wrong spec changes nothing, and what you wrote is kept in a file.\n\n" +
		"Example: EDITOR=nano l4d2ctl edit versus"
}

// Run never removes the operator's text unless it has become the spec, or says
// what the spec says.
func (c *editCommand) Run(s *session) error {
	if err := s.superuser(); err != nil {
		return err
	}
	n := c.Name.Name
	st, err := s.open()
	if err != nil {
		return err
	}
	was, err := st.ReadSpec(n)
	if errors.Is(err, store.ErrUnknown) {
		return unknown(n)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	e := &editing{session: s, store: st, name: n, was: was}
	if e.file, err = copySpec(n, was); err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	result, err := e.untilRight()
	if err != nil {
		return e.keep(err)
	}
	e.discard()
	s.result(n, "%s", result)
	if result == store.Changed {
		s.tellIfRunning(n)
	}
	return nil
}

// editing is one spec in an editor.
type editing struct {
	*session
	store *store.Store
	name  instance.Name
	was   []byte // the spec when it began
	file  string // the copy that is edited
}

// copySpec makes a file for the editor, which only this user can read, since
// a spec may hold passwords. It is alone in a directory, for what an editor
// leaves beside it.
func copySpec(n instance.Name, data []byte) (string, error) {
	dir, err := os.MkdirTemp("", "l4d2-edit-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, string(n)+".yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil { //nolint:forbidigo // the directory is new and ours
		return "", errors.Join(err, os.RemoveAll(dir)) //nolint:forbidigo // the directory is ours alone
	}
	return file, nil
}

// untilRight lets the operator edit until the spec is applied, unchanged, or
// given up.
func (e *editing) untilRight() (store.Result, error) {
	for {
		if err := e.runEditor(); err != nil {
			return store.Unchanged, err
		}
		text, err := instance.ReadFile(e.file, spec.MaxFile)
		if err != nil {
			return store.Unchanged, err
		}
		if bytes.Equal(text, e.was) {
			return store.Unchanged, nil
		}
		if err := e.ctx.Err(); err != nil {
			return store.Unchanged, fmt.Errorf("interrupted: %w", err)
		}
		e.step(e.name, "checking what you wrote, and writing %s", e.layout.Instance(e.name))
		result, err := e.store.Edit(e.name, e.file, text, e.was)
		if err == nil || errors.Is(err, store.ErrChangedMeanwhile) || !e.again(err) {
			return result, err
		}
	}
}

// again shows what is wrong, and asks whether to go on: only somebody at a
// terminal can.
func (e *editing) again(err error) bool {
	in, ok := e.In.(*os.File)
	if !ok || !isTerminal(in) {
		return false
	}
	e.report("edit", err)
	e.note(fmt.Sprintf("%s: edit it again? [Y/n] ", e.name))
	answer, readErr := interruptible(e.ctx, func() (string, error) { return bufio.NewReader(in).ReadString('\n') })
	if readErr != nil && !errors.Is(readErr, io.EOF) {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "", "y", "yes":
		return readErr == nil
	}
	return false
}

// runEditor runs the operator's editor and waits for its end. It is the shell's
// to split, as git and others have it: EDITOR="emacs -nw". An interrupt is the
// editor's own affair: it has the terminal.
func (e *editing) runEditor() error {
	editor := "editor" // Debian's name for the machine's (update-alternatives)
	if _, err := exec.LookPath(editor); err != nil {
		editor = "vi"
	}
	for _, variable := range []string{"EDITOR", "VISUAL"} {
		if v := strings.TrimSpace(os.Getenv(variable)); v != "" {
			editor = v
		}
	}
	cmd := exec.Command("/bin/sh", "-c", editor+` "$1"`, "sh", e.file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = e.In, e.Program.Out, e.Program.Err
	if err := cmd.Run(); err != nil {
		return advice.With(fmt.Errorf("editor %q: %w", editor, err), "name another one in VISUAL or EDITOR")
	}
	return nil
}

// keep adds to err where the operator's text is, unless there is none.
func (e *editing) keep(err error) error {
	p := &problem{err: fmt.Errorf("%s: %w", e.name, err)}
	text, readErr := os.ReadFile(e.file)
	if readErr == nil && bytes.Equal(text, e.was) {
		e.discard()
		return p
	}
	if errors.Is(err, store.ErrChangedMeanwhile) {
		p.hints = append(p.hints, fmt.Sprintf("compare: diff %s %s", e.layout.Spec(e.name), e.file))
	}
	p.hints = append(p.hints,
		fmt.Sprintf("the instance is as it was, and what you wrote is kept in %s", e.file),
		fmt.Sprintf("apply it with: %s init %s %s", program, e.name, e.file))
	return p
}

// discard removes the copy: its text is in the spec. A directory that stays
// behind is worth a warning, it can hold a password.
func (e *editing) discard() {
	if err := os.RemoveAll(filepath.Dir(e.file)); err != nil { //nolint:forbidigo // the directory is ours alone
		e.warn("%s: the copy that was edited is still there: %v", e.name, err)
	}
}
