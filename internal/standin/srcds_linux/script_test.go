package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSplitCommands(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"lines", "a 1\r\n\n  b 2  \n", []string{"a 1", "b 2"}},
		{"semicolons", "a 1; b 2;", []string{"a 1", "b 2"}},
		{"comments", "// all\na 1 // rest\nb//", []string{"a 1", "b"}},
		{"quoted", `hostname "x; y // z"; b`, []string{`hostname "x; y // z"`, "b"}},
		{"an open quote ends with its line", "a \"x; y\nb; c", []string{`a "x; y`, "b", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, splitCommands(tt.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseCommand(t *testing.T) {
	tests := map[string]command{
		`hostname "A  B"`:      {"hostname", "A  B"},
		"Hostname\tA  B":       {"hostname", "A  B"},
		"status":               {"status", ""},
		`"sv_cheats" "1"`:      {"sv_cheats", "1"},
		`rcon_password ""`:     {"rcon_password", ""},
		`say it's "quoted" ok`: {"say", `it's "quoted" ok`},
	}
	for text, want := range tests {
		if got := parseCommand(text); got != want {
			t.Errorf("parseCommand(%q) = %+v, want %+v", text, got, want)
		}
	}
}

func TestParseCommandLine(t *testing.T) {
	words := []string{"-game", "left4dead2", "-strictportbind", "-port", "27020", "-unknown",
		"+map", "c1m1_hotel", "versus", "+sv_tags", "a b", "+sv_maxplayers", "-1", "+nothing", "stray"}
	got := parseCommandLine(words)
	wantSwitches := map[string]string{"game": "left4dead2", "strictportbind": "", "port": "27020", "unknown": ""}
	if diff := cmp.Diff(wantSwitches, got.switches); diff != "" {
		t.Error(diff)
	}
	wantCommands := []command{{"map", "c1m1_hotel versus"}, {"sv_tags", "a b"}, {"sv_maxplayers", "-1"}, {"nothing", "stray"}}
	if diff := cmp.Diff(wantCommands, got.commands, cmp.AllowUnexported(command{})); diff != "" {
		t.Error(diff)
	}
}
