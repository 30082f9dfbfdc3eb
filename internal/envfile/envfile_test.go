package envfile

import (
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/joho/godotenv"

	"l4d2-host/internal/spec/spectest"
)

// sameForAll fails unless godotenv and both generations of systemd read want.
func sameForAll(t *testing.T, data string, want map[string]string) {
	t.Helper()
	theirs, err := godotenv.Unmarshal(data)
	if err != nil || !maps.Equal(theirs, want) {
		t.Errorf("godotenv reads %q as %q, %v; want %q", data, theirs, err, want)
	}
	for _, v254 := range []bool{false, true} {
		if got := systemdLoad(data, v254); !maps.Equal(got, want) {
			t.Errorf("systemd (v254 or later: %v) reads %q as %q; want %q", v254, data, got, want)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{"", "A=\n"},
		{"27015", "A=27015\n"},
		{"overlays/a.b_c-d:installation", "A='overlays/a.b_c-d:installation'\n"},
		{"a b", "A='a b'\n"},
		{"#", "A='#'\n"},
		{`$HOME \n "x"`, `A='$HOME \n "x"'` + "\n"},
		{"it's", `A="it's"` + "\n"},
		{`'$A' \ "` + "`x", `A="'\$A' \\ \"` + "\\`x\"\n"},
		{`"it's`, `A="\"it's"` + "\n"},
		{`it's \$(x) \\${Y}$`, `A="it's \\\$(x) \\\\\${Y}\$"` + "\n"},
		{"\u00a0\u2028é'", "A=\"\u00a0\u2028é'\"\n"},
		{"\u00a0", "A='\u00a0'\n"},
	} {
		got, err := Format([]Var{{"A", tt.value}})
		if err != nil || string(got) != tt.want {
			t.Errorf("Format(%q) = %q, %v; want %q", tt.value, got, err, tt.want)
			continue
		}
		sameForAll(t, string(got), map[string]string{"A": tt.value})
		if vars, err := Parse("f", got); err != nil || vars["A"] != tt.value {
			t.Errorf("Parse(%q) = %q, %v", got, vars, err)
		}
	}
}

func TestFormatRefuses(t *testing.T) {
	for _, tt := range []struct {
		vars []Var
		want string
	}{
		{[]Var{{"", "x"}}, "the name of a variable is missing in front of the ="},
		{[]Var{{"1A", "x"}}, `"1A" is not a variable's name: use letters, digits and _, and no digit first`},
		{[]Var{{"A.B", "x"}}, `"A.B" is not a variable's name`},
		{[]Var{{"Ä", "x"}}, `"Ä" is not a variable's name`},
		{[]Var{{"A", ""}, {"A", ""}}, "variable A: given twice"},
		{[]Var{{"A", `a\`}}, `variable A: a backslash at the end`},
		{[]Var{{"A", `it's "`}}, `variable A: a double quote at the end`},
		{[]Var{{"A", "a\nb"}}, "variable A: a newline is not allowed"},
		{[]Var{{"A", "a\tb"}}, "variable A: control character U+0009 is not allowed"},
		{[]Var{{"A", "a\x00"}}, "variable A: control character U+0000 is not allowed"},
		{[]Var{{"A", "\u0085"}}, "variable A: control character U+0085 is not allowed"},
		{[]Var{{"A", "\x85"}}, "variable A: invalid UTF-8 (byte 0x85)"},
		{[]Var{{"A", "\ufffe"}}, "variable A: U+FFFE is not a character"},
		{[]Var{{"A", "\U0001ffff"}}, "variable A: U+1FFFF is not a character"},
		{[]Var{{"A", "\ufdd0"}}, "variable A: U+FDD0 is not a character"},
		{[]Var{{"A", strings.Repeat("a", MaxString-1)}}, "variable A: 131072 bytes long with its name, at most 131071 are allowed"},
		{[]Var{{"A", strings.Repeat("a", 100<<10)}, {"B", strings.Repeat("a", 100<<10)}, {"C", strings.Repeat("a", 100<<10)}},
			"307209 bytes of variables, at most 262144 are allowed"},
	} {
		if got, err := Format(tt.vars); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Format(%.60q) = %.60q, %v; want error %q", tt.vars, got, err, tt.want)
		}
	}
	if _, err := Format([]Var{{"A", "\ufffd"}, {"B", strings.Repeat("a", MaxString-2)}}); err != nil {
		t.Errorf("the replacement character and the longest value: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		data string
		want map[string]string
	}{
		{"", map[string]string{}},
		{"\n\n# a comment; with 'quotes\n#\n", map[string]string{}},
		{"A=1", map[string]string{"A": "1"}},
		{"A=\nB=", map[string]string{"A": "", "B": ""}},
		{"A=''\nB=\"\"\n", map[string]string{"A": "", "B": ""}},
		{"export=1\n", map[string]string{"export": "1"}},
		{"A=B=C\n", map[string]string{"A": "B=C"}},
		{`A="a\"b\\c\$D\` + "`e #;'\"\n", map[string]string{"A": "a\"b\\c$D`e #;'"}},
		{`A=' "a" '`, map[string]string{"A": ` "a" `}},
	} {
		got, err := Parse("f", []byte(tt.data))
		if err != nil || !maps.Equal(got, tt.want) {
			t.Errorf("Parse(%q) = %q, %v; want %q", tt.data, got, err, tt.want)
		}
		sameForAll(t, tt.data, tt.want)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct{ data, want string }{
		{"\ufeffA=1\n", "f:1: a byte order mark: save the file without it"},
		{"A=1\r\n", "f:1: the line ends in a carriage return: save the file with Unix line ends"},
		{"A=1\rB=2\n", "f:1: control character U+000D is not allowed"},
		{"\n\xffA=1\n", "f:2: invalid UTF-8 (byte 0xff)"},
		{"A='a\x00b'\n", "f:1: control character U+0000 is not allowed"},
		{"# \ufffe\n", "f:1: U+FFFE is not a character"},
		{"A=1\n# x\\\nB=2\n", "f:2: the comment ends in a backslash: remove it"},
		{" A=1\n", "f:1: the line starts with a space: remove it"},
		{" \n", "f:1: the line starts with a space: remove it"},
		{";A=1\n", "f:1: a line that starts with ; is a comment to systemd only: start it with #"},
		{"export A=1\n", `f:1: systemd does not know "export": write NAME=value`},
		{"A\n", "f:1: no = in the line: write NAME=value, or # in front of a comment"},
		{"A: 1\n", "f:1: no = in the line: write NAME=value, or # in front of a comment"},
		{"A: b=1\n", `f:1: a colon in the name "A: b": write NAME=value`},
		{"A =1\n", "f:1: a space beside the =: write NAME=value without it"},
		{"A= 1\n", "f:1: a space beside the =: write NAME=value without it"},
		{"=1\n", "f:1: the name of a variable is missing in front of the ="},
		{"A.B=1\n", `f:1: "A.B" is not a variable's name: use letters, digits and _, and no digit first`},
		{"A=1\nB=2\nA=1\n", "f:3: A is already set in line 1: remove one of them"},
		{"A=a b\n", "f:1: A: without quotes only letters, digits and _./:,@%+=- are allowed: write '…' around the value"},
		{"A=a#b\n", "f:1: A: without quotes only"},
		{"A=1 # x\n", "f:1: A: without quotes only"},
		{"A=$B\n", "f:1: A: without quotes only"},
		{"A=a\\\nb\n", "f:1: A: without quotes only"},
		{"A=\u00a0\n", "f:1: A: without quotes only"},
		{"A='a\nb'\n", "f:1: A: the closing quote is missing: a value ends on its own line"},
		{"A=\"a\\\nb\"\n", "f:1: A: the closing quote is missing: a value ends on its own line"},
		{"A=\"a\n", "f:1: A: the closing quote is missing"},
		{"A='a'b\n", "f:1: A: text after the closing quote: write one quoted value, and comments on lines of their own"},
		{"A='a' # b\n", "f:1: A: text after the closing quote"},
		{`A="a"'b'`, "f:1: A: text after the closing quote"},
		{`A='a\'`, "f:1: A: a quote or backslash before the closing quote is read differently by godotenv: put something behind it"},
		{`A="a\\"`, "f:1: A: a quote or backslash before the closing quote"},
		{`A="\"a\""`, "f:1: A: a quote or backslash before the closing quote"},
		{`A="$B"`, `f:1: A: godotenv expands $ within double quotes: write \$, or use single quotes`},
		{`A="a\nb"`, "f:1: A: within double quotes a backslash stands only before \\, \", $ and `: write \\\\ for one backslash"},
		{"A=" + strings.Repeat("a", MaxString-1), "f:1: A: 131072 bytes long with its name, at most 131071 are allowed"},
		{strings.Repeat("\n", MaxFile+1), "f: 262145 bytes long, at most 262144 are allowed"},
	} {
		if got, err := Parse("f", []byte(tt.data)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("Parse(%.60q) = %q, %v; want error %q", tt.data, got, err, tt.want)
		}
	}
}

// Whatever is put together from characters that one reader or the other
// treats specially is refused or read alike.
func TestFormatProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 20000 {
		s := strings.Join(spectest.Words(r), "")
		data, err := Format([]Var{{"X", "a"}, {"A", s}, {"Y", "b"}})
		if err != nil {
			last := s[len(s)-1]
			if last != '\\' && (last != '"' || !strings.Contains(s, "'")) {
				t.Errorf("Format(%q): %v", s, err)
			}
			continue
		}
		accepted++
		want := map[string]string{"X": "a", "A": s, "Y": "b"}
		sameForAll(t, string(data), want)
		if got, err := Parse("f", data); err != nil || !maps.Equal(got, want) {
			t.Errorf("Parse(%q) = %q, %v; want %q", data, got, err, want)
		}
	}
	if accepted < 15000 {
		t.Errorf("only %d of 20000 values were accepted", accepted)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "A=1\n", "# c\nA='a b'\nB=\"\\\"x\\$y\\\\z`\"\n", "A=\"$B\"", "export A=1", "A=a\\\nb", "A='\\'", "A=\"\\\\\"",
		";A=1", "A: 1", "A=1 # c", "A=\u00a0", "\ufeffA=1", "A=1\r\n", "# x\\\nA=1\n", "A='a'b", "A=\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := Parse("f", data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("error without the file's name: %v", err)
			}
			return
		}
		sameForAll(t, string(data), vars)
	})
}
