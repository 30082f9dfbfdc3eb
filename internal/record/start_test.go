package record

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

var start = Start{
	At:           time.Unix(1_700_000_000, 123_456_789),
	Env:          instance.Env{Port: 27015, Args: `+map c1m1_hotel "+sv_tags" "a b"`, Lowers: []string{"overlays/mod", "installation"}},
	ServerConfig: []byte("hostname \"a\"\n\nrcon_password x\n"),
	Layers: []Layer{{"overlays/mod", Directory{2049, 77}},
		{"releases/b/tree", Directory{1 << 40, 1<<63 + 5}}, {"releases/a/tree", Directory{2049, 78}}},
}

func TestWriteAndReadStart(t *testing.T) {
	layout, err := instance.NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(layout.Runtime("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadStart(layout, "a"); !errors.Is(err, ErrNone) {
		t.Errorf("before the first start: %v", err)
	}
	dir, err := unix.Open(layout.Runtime("a"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for _, r := range []Start{
		start,
		{At: time.Unix(1, 0), Env: instance.Env{Port: 1, Lowers: []string{"installation"}}, ServerConfig: []byte{}, Layers: []Layer{{"installation", Directory{1, 1}}}},
	} {
		if err := WriteStart(dir, os.Getgid(), r); err != nil {
			t.Fatal(err)
		}
		got, err := ReadStart(layout, "a")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Error(diff)
		}
	}
	if info, err := os.Stat(layout.Started("a")); err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
}

// The record of a server that has run since before there were releases.
func TestDecodeStartOfOldVersion(t *testing.T) {
	env, err := start.Env.Format()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%s\nat 5\nenv %d\nlayer 1 2\nlayer 3 4\n\n%shostname x", startFormat1, len(env), env)
	want := Start{
		At: time.Unix(0, 5), Env: start.Env, ServerConfig: []byte("hostname x"),
		Layers: []Layer{{"overlays/mod", Directory{1, 2}}, {"installation", Directory{3, 4}}},
	}
	got, err := decodeStart([]byte(text))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if r, err := decodeStart([]byte(strings.Replace(text, "layer 3 4\n", "", 1))); err == nil {
		t.Errorf("a layer is missing, and it became %+v", r)
	}
}

func TestDirectoryOf(t *testing.T) {
	var got [2]Directory
	for i := range got {
		f, err := os.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got[i], err = DirectoryOf(int(f.Fd())); err != nil {
			t.Fatal(err)
		}
	}
	if got[0] == got[1] {
		t.Errorf("two directories are both %+v", got[0])
	}
}

func TestDecodeStartRefuses(t *testing.T) {
	good, err := start.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeStart(good); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"", "\n\n", "l4d2-host started 3\nat 1\nenv 0\n\n", startFormat + "\n\n", startFormat + "\nat x\nenv 0\n\n",
		startFormat + "\nat 1\nenv -1\n\n", startFormat + "\nat 1\nenv 5\n\nabc", startFormat + "\nat 1\nenv 0\nlayer 1\n\n",
		startFormat + "\nat 1\nenv 0\n\n", string(good[:60]),
	} {
		if r, err := decodeStart([]byte(text)); err == nil {
			t.Errorf("%q became %+v", text, r)
		}
	}
}

func FuzzDecodeStart(f *testing.F) {
	good, err := start.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeStart(data)
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeStart(again); err != nil || !cmp.Equal(r, back) {
			t.Errorf("%+v became %+v, %v", r, back, err)
		}
	})
}

func TestSameLayers(t *testing.T) {
	layout, err := instance.NewLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(layout.Runtime("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := SameLayers(layout, "a", start.Layers); !errors.Is(err, ErrNone) {
		t.Errorf("before the first start: %v", err)
	}
	dir, err := unix.Open(layout.Runtime("a"), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	if err := WriteStart(dir, os.Getgid(), start); err != nil {
		t.Fatal(err)
	}
	renamed, moved, turned := slices.Clone(start.Layers), slices.Clone(start.Layers), slices.Clone(start.Layers)
	renamed[0].Name, moved[1].Ino = "overlays/other", 1
	slices.Reverse(turned)
	for _, tt := range []struct {
		layers []Layer
		want   bool
	}{
		{start.Layers, true}, {renamed, true}, {moved, false}, {start.Layers[1:], false}, {start.Layers[:1], false},
		{turned, false}, {append([]Layer{start.Layers[0]}, start.Layers...), false},
	} {
		if got, err := SameLayers(layout, "a", tt.layers); err != nil || got != tt.want {
			t.Errorf("%+v: %v, %v", tt.layers, got, err)
		}
	}
}
