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

func TestCompare(t *testing.T) {
	ours := map[string]string{"A": "a", "B": ""}
	for _, tt := range []struct {
		theirs map[string]string
		want   string // in the error; "" for none
	}{
		{map[string]string{"A": "a", "B": ""}, ""},
		{map[string]string{"A": "b", "B": ""}, "A has a value"},
		{map[string]string{"A": "a"}, "B has a value"},
		{map[string]string{"A": "a", "B": "", "C": "c"}, "reads variables"},
	} {
		err := compare(ours, tt.theirs)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v, want %q", tt.theirs, err, tt.want)
		}
	}
}
