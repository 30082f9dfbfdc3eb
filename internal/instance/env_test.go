package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/envfile"
)

func TestEnvFormat(t *testing.T) {
	e := Env{Port: 27015, Args: `+map c1m1_hotel "it's" `, Lowers: []string{"overlays/my-maps", "installation"}}
	got, err := e.Format()
	want := "L4D2_PORT=27015\nL4D2_ARGS=\"+map c1m1_hotel \\\"it's\\\" \"\nL4D2_LOWERDIRS='overlays/my-maps:installation'\n"
	if err != nil || string(got) != want {
		t.Errorf("Format = %q, %v; want %q", got, err, want)
	}
	if back, err := ParseEnv("f", got); err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("ParseEnv = %+v, %v; want %+v", back, err, e)
	}
}

// layers returns "overlays/l0:…:installation" with n layers in all.
func layers(n int) []string {
	var lowers []string
	for i := range n - 1 {
		lowers = append(lowers, fmt.Sprintf("overlays/%0*d", MaxName, i))
	}
	return append(lowers, "installation")
}

func TestEnvPinned(t *testing.T) {
	e := Env{Port: 1, Lowers: []string{"overlays/a", "releases/2026-11-25.2"}}
	text, err := e.Format()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseEnv("f", text); err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("%+v, %v", back, err)
	}
}

func TestEnvMost(t *testing.T) {
	data, err := Env{Port: 1, Lowers: layers(MaxLayers)}.Format()
	if err != nil {
		t.Fatal(err)
	}
	if e, err := ParseEnv("f", data); err != nil || len(e.Lowers) != MaxLayers {
		t.Errorf("ParseEnv: %d layers, %v", len(e.Lowers), err)
	}
	if _, err := (Env{Port: 1, Lowers: layers(MaxLayers + 1)}).Format(); err == nil ||
		err.Error() != "L4D2_LOWERDIRS: 501 layers, the kernel allows at most 500" {
		t.Errorf("501 layers: %v", err)
	}
	if _, err := (Env{Lowers: layers(1)}).Format(); err == nil {
		t.Error("port 0 was formatted")
	}
}

func TestParseEnvRefuses(t *testing.T) {
	const rest = "L4D2_ARGS=\nL4D2_LOWERDIRS=installation\n"
	lowers := func(s string) string { return "L4D2_PORT=1\nL4D2_ARGS=\nL4D2_LOWERDIRS='" + s + "'\n" }
	for _, tt := range []struct{ data, want string }{
		{"", "f: L4D2_ARGS is missing\nL4D2_LOWERDIRS is missing\nL4D2_PORT is missing"},
		{"L4D2_PORT=1\n" + rest + "L4D2_ROOT=/x\n", "f: unknown variable L4D2_ROOT; known are L4D2_PORT, L4D2_ARGS, L4D2_LOWERDIRS"},
		{"L4D2_PORT=\n" + rest, `f: L4D2_PORT: "" is not a port: use a number from 1 to 65535`},
		{"L4D2_PORT=0\n" + rest, `f: L4D2_PORT: "0" is not a port: use a number from 1 to 65535`},
		{"L4D2_PORT=65536\n" + rest, `f: L4D2_PORT: "65536" is not a port`},
		{"L4D2_PORT=-1\n" + rest, `f: L4D2_PORT: "-1" is not a port`},
		{"L4D2_PORT=+1\n" + rest, `f: L4D2_PORT: "+1" is not a port`},
		{"L4D2_PORT=01\n" + rest, `f: L4D2_PORT: "01" is not a port`},
		{"L4D2_PORT='1 -game x'\n" + rest, `f: L4D2_PORT: "1 -game x" is not a port`},
		{"L4D2_PORT=1\nL4D2_ARGS='\"'\nL4D2_LOWERDIRS=installation\n", `f: L4D2_ARGS: the closing " is missing`},
		{"\nL4D2_PORT =1\n", "f:2: a space beside the =: write NAME=value without it"},
		{lowers(""), `f: L4D2_LOWERDIRS: the last layer must be "installation"`},
		{lowers("installation:overlays/a"), `f: L4D2_LOWERDIRS: the last layer must be "installation"`},
		{lowers("installation:installation"), `f: L4D2_LOWERDIRS: layer "installation": must be overlays/NAME`},
		{lowers("/etc:installation"), `f: L4D2_LOWERDIRS: layer "/etc": must be overlays/NAME`},
		{lowers("overlays/..:installation"), `f: L4D2_LOWERDIRS: layer "overlays/..": name "..": the first character`},
		{lowers("overlays/a/b:installation"), `f: L4D2_LOWERDIRS: layer "overlays/a/b": name "a/b": only`},
		{lowers("releases/.."), `f: L4D2_LOWERDIRS: layer "releases/..": name "..": the first character`},
		{lowers("releases/a/tree"), `f: L4D2_LOWERDIRS: layer "releases/a/tree": name "a/tree": only`},
		{lowers("releases/a:installation"), `f: L4D2_LOWERDIRS: layer "releases/a": must be overlays/NAME`},
		{lowers("overlays/a::installation"), `f: L4D2_LOWERDIRS: layer "": must be overlays/NAME`},
		{lowers("overlays/a:overlays/a:installation"), `f: L4D2_LOWERDIRS: layer "overlays/a": named twice`},
	} {
		if got, err := ParseEnv("f", []byte(tt.data)); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("ParseEnv(%q) = %+v, %v; want error %q", tt.data, got, err, tt.want)
		}
	}
	if e, err := ParseEnv("f", []byte("LANG=C\nL4D2_PORT=65535\n"+rest)); err != nil || e.Port != 65535 {
		t.Errorf("a variable for the game: %+v, %v", e, err)
	}
}

func TestReadEnv(t *testing.T) {
	l, err := NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, err = ReadEnv(l, "a")
	if !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "no such instance a: create it with l4d2ctl init: ") {
		t.Errorf("no instance: %v", err)
	}
	path := l.Env("a")
	if err := os.MkdirAll(l.Instance("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(l.Root(), "target")
	for _, tt := range []struct {
		what, want string
		make       func() error
	}{
		{"a good file", "", func() error {
			return os.WriteFile(path, []byte("L4D2_PORT=1\nL4D2_ARGS=\nL4D2_LOWERDIRS=installation\n"), 0o600)
		}},
		{"a bad file", path + ":1: no = in the line", func() error { return os.WriteFile(path, []byte("x"), 0o600) }},
		{"a link", path + ": a symbolic link, not a regular file", func() error {
			return errors.Join(os.Rename(path+".old", target), os.Symlink(target, path))
		}},
		{"a FIFO", path + ": not a regular file", func() error { return unix.Mkfifo(path, 0o600) }},
		{"a directory", path + ": not a regular file", func() error { return os.Mkdir(path, 0o700) }},
		{"a long file", path + ": longer than 262144 bytes", func() error {
			return os.WriteFile(path, make([]byte, envfile.MaxFile+1), 0o600)
		}},
	} {
		if err := tt.make(); err != nil {
			t.Fatal(tt.what, err)
		}
		_, err := ReadEnv(l, "a")
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: %v; want %q", tt.what, err, tt.want)
		}
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
		if tt.what != "a bad file" {
			os.Remove(path + ".old")
		}
	}
}
