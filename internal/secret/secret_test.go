package secret

import (
	"slices"
	"strings"
	"testing"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct{ words, want []string }{
		{[]string{"+map", "c1m1", "+rcon_password", "a b", "+x"}, []string{"+map", "c1m1", "+rcon_password", Mask, "+x"}},
		{[]string{"+sv_setsteamaccount", "ABCDEF"}, []string{"+sv_setsteamaccount", Mask}},
		{[]string{"-authkey", "-x", "+RCON_Password", ""}, []string{"-authkey", Mask, "+RCON_Password", Mask}},
		{[]string{"+rcon_password hunter2 +map x"}, []string{"+rcon_password " + Mask}},
		{[]string{"+hostname", "no secrets here"}, []string{"+hostname", "no secrets " + Mask}},
		{[]string{"+rcon_password", "password", "+map", "x"}, []string{"+rcon_password", Mask, "+map", "x"}},
		{[]string{"+rcon_password"}, []string{"+rcon_password"}},
	} {
		if got := Words(tt.words); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.words, got, tt.want)
		}
	}
}

func TestText(t *testing.T) {
	const value = "hunter2 it's"
	for _, spec := range []string{
		"config:\n  - rcon_password \"hunter2 it's\"\n",
		"config: ['hostname x', 'rcon_password \"hunter2 it''s\"']\n",
		"# rcon_password hunter2 it's\narguments: [+rcon_password, \"hunter2 it's\"]\n",
		"arguments:\n  - +rcon_password\n  - hunter2 it's\n  - +map x\n",
		"arguments:\n  - +rcon_password\n  - \"hunter2 it's\"\n",
		"config:\n  - >-\n    rcon_password\n    hunter2\n    it's\n",
		"config:\n  - \"rcon\\u005fpassword \\\"hunter2 it's\\\"\"\n",
		"arguments:\n  - +rcon_password\n  - \"hunter\\u0032 it's\"\n",
	} {
		got, sure := Text(spec, []string{value}, nil)
		if sure && (strings.Contains(got, "hunter") || strings.Contains(got, "it's")) {
			t.Errorf("%q is shown as %q", spec, got)
		}
	}
	got, sure := Text("port: 27015\nconfig:\n  - rcon_password \"27015\"\n  - hostname \"a\"\n", nil, []string{"270"})
	if !sure || got != "port: 27015\nconfig:\n  - rcon_password "+Mask+"\n  - hostname \"a\"\n" {
		t.Errorf("%v %q", sure, got)
	}
	if got, sure := Text("sv_password \"\"\nhostname x\n", nil, nil); !sure || got != "sv_password \"\"\nhostname x\n" {
		t.Errorf("%v %q", sure, got)
	}
}

func TestValues(t *testing.T) {
	got := Values([]string{"+map", "x", "+rcon_password", "one", "+sv_password"}, []string{`rcon_password "two three"`, "hostname four", `sv_password ""`})
	if want := []string{"one", "two three"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
