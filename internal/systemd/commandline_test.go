package systemd

import (
	"slices"
	"testing"
)

func TestExpand(t *testing.T) {
	env := map[string]string{"PORT": "27015", "ARGS": `+map "a b" '' \"x`, "EMPTY": "", "DOLLAR": "$PORT ${PORT}"}
	for _, tt := range []struct {
		words, want []string
	}{
		{[]string{"env", "-port", "${PORT}", "$ARGS"}, []string{"env", "-port", "27015", "+map", "a b", "", `"x`}},
		{[]string{"env", "$EMPTY", "${EMPTY}", "$UNSET", "x"}, []string{"env", "", "x"}},
		{[]string{"env", "a${PORT}b${PORT}", "$$PORT", "$$"}, []string{"env", "a27015b27015", "$PORT", "$"}},
		{[]string{"env", "a$PORT", "$1", "${1}", "${PORT", "$", "x$"}, []string{"env", "a$PORT", "", "${PORT", "x$"}},
		{[]string{"env", "${DOLLAR}", "$DOLLAR"}, []string{"env", "$PORT ${PORT}", "$PORT", "${PORT}"}},
	} {
		got, err := Command{Words: tt.words}.Expand(env)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v, want %q", tt.words, got, err, tt.want)
		}
	}
	if _, err := (Command{Words: []string{"env", "$ARGS"}}).Expand(map[string]string{"ARGS": `"open`}); err == nil {
		t.Error("an open quote is no error")
	}
	words := []string{"env", "${PORT}", "$ARGS", "$$"}
	if got, _ := (Command{Words: words, Verbatim: true}).Expand(env); !slices.Equal(got, words) {
		t.Errorf("verbatim: %q", got)
	}
}

func TestDefinitionOf(t *testing.T) {
	d := definitionOf(map[string]any{
		"FragmentPath": "/f", "DropInPaths": []string{"/d"}, "NeedDaemonReload": true,
		"Environment": []string{"A=1"},
		"ExecStartEx": [][]any{
			{"/bin/a", []string{"/bin/a", "x"}, []string{"no-env-expand"}, uint64(0)},
			{"/bin/b", []string{"/bin/b"}, []string{}, uint64(0)},
		},
		"EnvironmentFiles": [][]any{{"/e", true}, {"/g", false}},
	})
	if d.Fragment != "/f" || !slices.Equal(d.DropIns, []string{"/d"}) || !d.Stale || !slices.Equal(d.Environment, []string{"A=1"}) {
		t.Errorf("%+v", d)
	}
	if len(d.Commands) != 2 || !d.Commands[0].Verbatim || d.Commands[1].Verbatim || !slices.Equal(d.Commands[0].Words, []string{"/bin/a", "x"}) {
		t.Errorf("commands %+v", d.Commands)
	}
	if !slices.Equal(d.EnvironmentFiles, []EnvironmentFile{{"/e", true}, {"/g", false}}) {
		t.Errorf("files %+v", d.EnvironmentFiles)
	}
	if d := definitionOf(nil); d.Fragment != "" || d.Commands != nil {
		t.Errorf("nothing is %+v", d)
	}
}
