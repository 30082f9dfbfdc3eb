package dotenv

import (
	"strings"
	"testing"

	"l4d2-host/internal/envfile"
)

func TestCheck(t *testing.T) {
	data, err := envfile.Format([]envfile.Var{{Name: "A", Value: `it's "$HOME" \n`}, {Name: "B", Value: "a b"}, {Name: "C"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check("f", data); err != nil {
		t.Error(err)
	}
	if err := Check("f", []byte("A=$HOME\n")); err == nil || !strings.HasPrefix(err.Error(), "f:1: A: ") {
		t.Errorf("what only one of them expands: %v", err)
	}
}
