package layers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tick lets the clock that files are stamped by move on.
func tick() { time.Sleep(30 * time.Millisecond) }

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestNewer(t *testing.T) {
	dir := place(t)
	put(t, dir+"/game/cfg/old.cfg", "of the game")
	put(t, dir+"/game/scripts/a", "of the game")
	put(t, dir+"/game/type", "of the game")
	put(t, dir+"/game/later", "of the game")
	tick()
	for _, name := range []string{"cfg/old.cfg", "cfg/same.cfg", "cfg/new.cfg", "cfg/hidden.cfg", "scripts/a", "scripts/b/c", "own/x"} {
		put(t, dir+"/upper/"+name, "of the server")
	}
	must(t, unix.Setxattr(dir+"/upper/scripts", OpaqueAttribute, []byte("y"), 0))
	must(t, os.Mkdir(dir+"/upper/type", 0o755))
	must(t, os.Symlink("cfg", dir+"/upper/link"))
	must(t, unix.Mkfifo(dir+"/upper/fifo", 0o600))
	tick()
	put(t, dir+"/upper/later", "of the server, made after")
	for _, name := range []string{"cfg/same.cfg", "cfg/new.cfg", "scripts/a", "scripts/b/c", "link/old.cfg", "fifo", "type"} {
		put(t, dir+"/mod/"+name, "of the mod")
	}
	put(t, dir+"/top/other", "x")
	must(t, os.Mkdir(dir+"/top/cfg", 0o755))
	must(t, unix.Mknod(dir+"/top/cfg/same.cfg", unix.S_IFCHR, 0)) // hides the newer one

	upper := layer(t, dir+"/upper")
	lowers := View{layer(t, dir+"/top"), layer(t, dir+"/mod"), layer(t, dir+"/game")}
	var got []string
	err := Newer(context.Background(), upper, lowers, 0, func(s Stale) error {
		if !s.NewerBorn.After(s.UpperBorn) || s.Upper.Layer != upper {
			t.Errorf("%+v", s)
		}
		got = append(got, fmt.Sprintf("%s by %s from %s", s.Path, s.Reset, s.Newer.Layer.Name))
		return nil
	})
	slices.Sort(got)
	want := []string{"cfg/new.cfg by cfg/new.cfg from mod", "scripts/a by scripts from mod", "scripts/b/c by scripts from mod"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	never := func(Stale) error { return errors.New("called") }
	if err := Newer(ctx, upper, lowers, 0, never); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := Newer(context.Background(), upper, lowers, 2, never); !errors.Is(err, ErrLimit) {
		t.Errorf("%v", err)
	}
}

// Whatever the game's user has planted in upper is not opened, not followed, and
// costs no more than the limit says.
func TestNewerInHostileUpper(t *testing.T) {
	upper, _ := trap(t)
	lower := layer(t, place(t))
	for _, name := range []string{"fifo", "tape", "link/secret", "file", "many/0"} {
		put(t, lower.Path+"/"+name, "newer")
	}
	must(t, os.Mkdir(upper.Path+"/many", 0o755))
	for i := range 5000 {
		put(t, fmt.Sprintf("%s/many/\x1b%d", upper.Path, i), "")
	}
	count := 0
	err := Newer(context.Background(), upper, View{lower}, 1000, func(Stale) error { count++; return nil })
	if !errors.Is(err, ErrLimit) && (err == nil || !strings.Contains(err.Error(), "mounted")) || count != 0 {
		t.Errorf("%d, %v", count, err)
	}
}
