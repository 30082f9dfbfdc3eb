package servercfg

import (
	"strings"
	"testing"
)

func TestValue(t *testing.T) {
	long := strings.Repeat("x", maxCommand)
	const unset = "(not set)"
	tests := []struct{ name, text, want string }{
		{"quoted", `rcon_password "a secret"`, "a secret"},
		{"bare", "rcon_password secret\n", "secret"},
		{"bare, several words", "rcon_password a  secret  \r\n", "a  secret"},
		{"tabs, CRLF", "\t rcon_password\t\"secret\"\t\r\nhostname x\r\n", "secret"},
		{"name quoted", `"rcon_password" "secret"`, "secret"},
		{"no blank between", `rcon_password"secret"`, "secret"},
		{"name in capitals", `RCON_Password secret`, "secret"},
		{"empty", `rcon_password ""`, ""},
		{"no value: only shown", "rcon_password\n", unset},
		{"nothing", "", unset},
		{"other variables", "hostname rcon_password\nmy_rcon_password x\nrcon_passwords x\n", unset},
		{"last one wins", "rcon_password a\nrcon_password b\n", "b"},
		{"last one wins, if it sets", "rcon_password a\nrcon_password\n", "a"},
		{"last one wins, empty", "rcon_password a\nrcon_password \"\"\n", ""},
		{"semicolon", "hostname x; rcon_password secret; sv_tags y", "secret"},
		{"semicolon quoted", `rcon_password "a;b"; hostname x`, "a;b"},
		{"semicolon in an open quote", "rcon_password \"a;b\nhostname x", "a;b"},
		{"comment", "// rcon_password no\nrcon_password secret // yes", "secret"},
		{"comment at once", "rcon_password secret//yes\n", "secret"},
		{"comment quoted", `rcon_password "http://x"`, "http://x"},
		{"comment in place of a value", "rcon_password // secret\n", unset},
		{"semicolon in a comment", "// off; rcon_password secret\n", unset},
		{"quote in a comment", "// don\"t; x\nrcon_password secret", "secret"},
		{"one slash", "rcon_password a/b", "a/b"},
		{"quote within", `rcon_password a"b`, `a"b`},
		{"quotes within", `rcon_password "a" "b"`, `a" "b`},
		{"no escapes", `rcon_password "a\"`, `a\`},
		{"lone quote", `rcon_password "`, ""},
		{"not UTF-8", "rcon_password \"\xff\xfe\"", "\xff\xfe"},
		{"after a NUL", "hostname x\n\x00\nrcon_password secret", unset},
		{"byte order mark", "\ufeffrcon_password secret", unset},
		{"too long", "rcon_password " + long, unset},
		{"quoted in an alias", `alias x "rcon_password a; say b"`, unset},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Value(tt.text, RCONPassword)
			if !ok {
				got = unset
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if got, _ := Value("rcon_password x\nHostName \"Versus #1; really // yes\"\n", Hostname); got != "Versus #1; really // yes" {
		t.Errorf("hostname %q", got)
	}
}

// Whatever a mod's file says, a line behind it wins, and a value is part of one
// line.
func FuzzValue(f *testing.F) {
	for _, text := range []string{`rcon_password "a;b" // c`, "a;b;\"c\n", "\"rcon_password\"x\"", "rcon_password \xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		value, ok := Value(text, RCONPassword)
		if strings.ContainsAny(value, "\n\x00") || !strings.Contains(text, value) {
			t.Errorf("value %q", value)
		}
		if ok && !strings.Contains(strings.ToLower(text), RCONPassword) {
			t.Errorf("set to %q", value)
		}
		if strings.Contains(text, "\x00") {
			return
		}
		if got, _ := Value(text+"\nrcon_password \"x;y\" // z", RCONPassword); got != "x;y" {
			t.Errorf("the last line has no effect: %q", got)
		}
	})
}
