package advice

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
)

func TestFor(t *testing.T) {
	err := fmt.Errorf("layer x: %w", With(fs.ErrNotExist, "make it"))
	if got := For(err); got != "make it" {
		t.Errorf("For = %q", got)
	}
	if got := For(With(err, "no, this")); got != "no, this" {
		t.Errorf("For = %q, want the outermost", got)
	}
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != "layer x: file does not exist" {
		t.Errorf("the advice changed the error: %v", err)
	}
	if For(fs.ErrNotExist) != "" || With(nil, "x") != nil {
		t.Error("advice from nothing")
	}
}
