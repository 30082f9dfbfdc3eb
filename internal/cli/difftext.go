package cli

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/aymanbagabas/go-udiff"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/printable"
)

// maxText is the greatest size of a file that is compared as text, in bytes.
const maxText = 4 << 20

// diffText prints the unified difference between a file and what is beneath.
func (s *session) diffText(n instance.Name, k stack, path string) error {
	now, err := k.view().Lookup(path)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	before, err := k.lowers.Lookup(path)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	if now.Top() == nil && before.Top() == nil {
		return &problem{err: fmt.Errorf("%s: there is no %s, neither in its own files nor in a layer", n, visible(path)),
			hints: []string{fmt.Sprintf("paths are relative to the game's root; see: %s diff %s", program, n)}}
	}
	if now.Top() != nil && now.Top().Layer != k.upper {
		s.step(n, "%s is as %s brings it", visible(path), now.Top().Layer.Name)
		return nil
	}
	oldName, oldText, err := sideOf(path, before.Top())
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	newName, newText, err := sideOf(path, now.Top())
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	text := udiff.Unified(oldName, newName, oldText, newText)
	if text == "" {
		s.step(n, "%s holds the same as in %s", visible(path), before.Top().Layer.Name)
	}
	s.print(printable.Text(text)) // the text of a file is anyone's
	return nil
}

// sideOf returns the label and the text of one side.
func sideOf(path string, f *layers.Found) (label, text string, err error) {
	if f == nil {
		return "/dev/null", "", nil
	}
	label = visible(f.Layer.Name + "/" + path)
	if f.Type != layers.File {
		return "", "", fmt.Errorf("%s is a %s, not a file", label, f.Type)
	}
	data, err := f.Layer.Read(path, maxText)
	if err != nil {
		return "", "", err
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return "", "", errors.New(label + " is not text: it holds zero bytes")
	}
	return label, string(data), nil
}
