package printable_test

import (
	"encoding/json"
	"testing"

	"l4d2-host/internal/printable"
)

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"Versus 1 – ünïcödé 世界": "Versus 1 – ünïcödé 世界",
		"a\x1b[2J\x07b":         `a\x1b[2J\ab`,
		"two\nlines\r\tand":     `two\nlines\r\tand`,
		"\xff\xfe half":         `\xff\xfe half`,
		"c1 \u009b31m":          `c1 \u009b31m`,
		"bidi \u202egnp.exe":    `bidi \u202egnp.exe`,
		"replacement \ufffd is": "replacement \ufffd is",
	} {
		if got := printable.Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestText(t *testing.T) {
	if got, want := printable.Text("a\tb\r\nc\rd\x1b[31m\n"), "a\tb\nc\\rd\\x1b[31m\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  string
	}{{"short", 5, "short"}, {"longer", 5, "long…"}, {"\x1b\x1b", 5, `\x1b…`}, {"世界世界", 3, "世界…"}, {"a", 0, "…"}} {
		if got := printable.Cut(tt.in, tt.width); got != tt.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", tt.in, tt.width, got, tt.want)
		}
	}
}

// The text changes, its meaning does not.
func TestJSON(t *testing.T) {
	hostile := "esc \x1b c1 \u009b bidi \u202e tag \U000e0041 quote \" done"
	text, err := json.MarshalIndent(map[string]string{"name": hostile}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	safe := printable.JSON(text)
	for _, r := range string(safe) {
		if r != '\n' && (r < ' ' || r > '~') {
			t.Errorf("%U is left in %s", r, safe)
		}
	}
	var back map[string]string
	if err := json.Unmarshal(safe, &back); err != nil || back["name"] != hostile {
		t.Errorf("read back %q, %v", back["name"], err)
	}
}
