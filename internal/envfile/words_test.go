package envfile

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"l4d2-host/internal/spec/spectest"
)

// What systemd 252's replace_env_argv() was seen to make of these values.
func TestSplitWords(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", nil},
		{"  ", nil},
		{" a  b ", []string{"a", "b"}},
		{`'a\b' x`, []string{"ab", "x"}},
		{`"a\b"`, []string{"ab"}},
		{`a\ b`, []string{"a b"}},
		{`"" x ''`, []string{"", "x", ""}},
		{`a"b c"d`, []string{"ab cd"}},
		{`'a\'b' c`, []string{"a'b", "c"}},
		{`"it's" 'a"b'`, []string{"it's", `a"b`}},
		{`a$b "$L4D2_ARGS" %n`, []string{"a$b", "$L4D2_ARGS", "%n"}},
		{"é\u00a0x", []string{"é\u00a0x"}},
	} {
		got, err := SplitWords(tt.in)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("SplitWords(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		}
		if got := systemdSplit(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("the test's own model splits %q into %q; want %q", tt.in, got, tt.want)
		}
	}
}

func TestSplitWordsRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`a "b`:   `the closing " is missing`,
		`a 'b`:   `the closing ' is missing`,
		`a\`:     `a backslash at the end: write \\ for a backslash`,
		`"a\"`:   `the closing " is missing`,
		"a\tb":   "control character U+0009 is not allowed",
		"a\nb":   "a newline is not allowed",
		"a\xffb": "invalid UTF-8 (byte 0xff)",
	} {
		if got, err := SplitWords(in); err == nil || err.Error() != want {
			t.Errorf("SplitWords(%q) = %q, %v; want error %q", in, got, err, want)
		}
	}
}

func TestJoinWords(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{nil, ""},
		{[]string{""}, `""`},
		{[]string{"-tickrate", "100", "a b"}, `-tickrate 100 "a b"`},
		{[]string{`a\b`, `c"d`, "$e"}, `"a\\b" "c\"d" $e`},
		{[]string{"it's"}, `"it's" `}, // the space keeps the quote off the value's end
	} {
		if got, err := JoinWords(tt.words); err != nil || got != tt.want {
			t.Errorf("JoinWords(%q) = %q, %v; want %q", tt.words, got, err, tt.want)
		}
	}
	for in, want := range map[string]string{
		"a\nb":   `word "a\nb": a newline is not allowed`,
		"a\x00":  `word "a\x00": control character U+0000 is not allowed`,
		"\xff":   `word "\xff": invalid UTF-8 (byte 0xff)`,
		"\ufffe": `word "\ufffe": U+FFFE is not a character`,

		strings.Repeat("a", MaxString+1): "a word of 131072 bytes: at most 131071 are allowed",
	} {
		if got, err := JoinWords([]string{"x", in}); err == nil || err.Error() != want {
			t.Errorf("JoinWords(%.40q) = %.40q, %v; want error %q", in, got, err, want)
		}
	}
}

// roundTrip follows words through the file to what systemd starts.
func roundTrip(t *testing.T, words []string) {
	t.Helper()
	joined, err := JoinWords(words)
	if err != nil {
		t.Errorf("JoinWords(%q): %v", words, err)
		return
	}
	data, err := Format([]Var{{"ARGS", joined}})
	if err != nil {
		t.Errorf("Format of %q: %v", joined, err)
		return
	}
	sameForAll(t, string(data), map[string]string{"ARGS": joined})
	vars, err := Parse("f", data)
	if err != nil {
		t.Errorf("Parse(%q): %v", data, err)
		return
	}
	if got, err := SplitWords(vars["ARGS"]); err != nil || !slices.Equal(got, words) {
		t.Errorf("SplitWords(%q) = %q, %v; want %q", vars["ARGS"], got, err, words)
	}
	if got := systemdSplit(vars["ARGS"]); !slices.Equal(got, words) {
		t.Errorf("systemd splits %q into %q; want %q", vars["ARGS"], got, words)
	}
}

func TestWordsProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		roundTrip(t, spectest.Words(r))
	}
}

func FuzzWords(f *testing.F) {
	for _, s := range []string{"", "a|b", "a b|", `\|'|"`, `it's "x"`, "$HOME|%i|#|;", "é|\u00a0", "|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// Any string splits alike, or is refused.
		if got, err := SplitWords(s); err == nil {
			if want := systemdSplit(s); !slices.Equal(got, want) {
				t.Errorf("SplitWords(%q) = %q; systemd: %q", s, got, want)
			}
		}
		words := strings.Split(s, "|")
		if _, err := JoinWords(words); err != nil {
			if CheckText(s) == nil && len(s) <= MaxString {
				t.Errorf("JoinWords(%q): %v", words, err)
			}
			return
		}
		if len(s) < MaxString/4 { // the quoting may double it, and Format bounds it
			roundTrip(t, words)
		}
	})
}
