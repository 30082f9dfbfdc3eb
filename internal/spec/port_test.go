package spec

import (
	"strings"
	"testing"
)

func TestWithPort(t *testing.T) {
	for before, after := range map[string]string{
		"port: 27015\n":                                            "port: 5\n",
		"# port: 1\nport:   27015 # of mine\n":                     "# port: 1\nport:   5 # of mine\n",
		"{config: ['é port: 2'], port: 27015}":                     "{config: ['é port: 2'], port: 5}",
		"config:\n  - port 27015\nport:\n  27015\noverlays: [a]\n": "config:\n  - port 27015\nport:\n  5\noverlays: [a]\n",
		"config: [a]\r\nport: 27015\r\n":                           "config: [a]\r\nport: 5\r\n",
	} {
		got, err := WithPort("f", []byte(before), 5)
		if err != nil || string(got) != after {
			t.Errorf("%q became %q, %v; want %q", before, got, err, after)
		}
	}
	if _, err := WithPort("f", []byte("port: x\n"), 5); err == nil {
		t.Error("a broken spec is accepted")
	}
	// A line separator of YAML that is no line feed.
	got, err := WithPort("f", []byte("config: [\"a\u2028b\"]\rport: 27015\n"), 5)
	if err == nil && !strings.HasSuffix(string(got), "port: 5\n") {
		t.Errorf("became %q", got)
	}
}

// Whatever the spec, only its port changes.
func FuzzWithPort(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("{port: 1, config: [1]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		changed, err := WithPort("f", data, 4321)
		if err != nil {
			return
		}
		if s, err := Parse("f", changed); err != nil || s.Port != 4321 {
			t.Errorf("%q became %q: %v", data, changed, err)
		}
	})
}
