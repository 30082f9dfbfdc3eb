package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"l4d2-host/internal/layers"
	"l4d2-host/internal/release"
)

// gameFiles are the files of the game, besides what steamcmd keeps of its own.
var gameFiles = []string{
	"srcds_linux", "bin/g1", "left4dead2/g2", "left4dead2/pak/g3", "left4dead2/pak/g4", "left4dead2/g5", "left4dead2/often/new/g6",
}

// stamp is which version of its i-th file a build has, 0 for none: every build
// has another program, and the other files change less often, or come and go.
func stamp(i, build int) int {
	every := 1 + 15*i
	if i > 3 && build/every%3 == 2 {
		return 0
	}
	return build - build%every
}

func acf(build int) string {
	return fmt.Sprintf("\"AppState\"\n{\n\t\"appid\"\t\t\"222860\"\n\t\"buildid\"\t\t\"%d\"\n}\n", build)
}

// wholeBuild returns which build a game is, or an error if not all of it is of one.
func wholeBuild(view layers.View) (int, error) {
	text, err := release.BuildOf(view)
	if err != nil {
		return 0, err
	}
	build, err := strconv.Atoi(text)
	if err != nil {
		return 0, err
	}
	for i, name := range gameFiles {
		n, err := view.Lookup(name)
		if err != nil {
			return 0, err
		}
		got := 0
		if top := n.Top(); top != nil {
			data, err := top.Layer.Read(name, 1<<20)
			if err != nil {
				return 0, err
			}
			got = version(name, data)
		}
		if want := stamp(i, build); got != want {
			return 0, fmt.Errorf("%s of build %d is at version %d, want %d", name, build, got, want)
		}
	}
	return build, nil
}

// wholeIn is wholeBuild for a directory.
func wholeIn(dir string) (int, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	build, err := wholeBuild(layers.View{{Name: dir, Path: dir, Dir: int(f.Fd())}})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", dir, err)
	}
	return build, nil
}

// fetch makes the game in dir one of a build, or half of it, as steamcmd does: it
// writes what differs, and syncs nothing. Unless it is to validate, it takes a
// file for whole by its size and first lines.
func (w *worker) fetch(dir string, build int, whole, validate bool) error {
	order := w.random.Perm(len(gameFiles))
	if !whole {
		order = order[:len(order)/2]
	}
	for _, i := range order {
		path := filepath.Join(dir, gameFiles[i])
		data, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		want := stamp(i, build)
		switch {
		case want == 0 && err != nil:
			continue
		case want == 0:
			err = os.Remove(path)
		case err == nil && looksLike(gameFiles[i], data, want, validate):
			continue
		default:
			err = put(path, content(gameFiles[i], want))
		}
		if err != nil {
			return err
		}
		fmt.Println("steamcmd:", gameFiles[i])
	}
	if !whole {
		return nil
	}
	return put(filepath.Join(dir, release.Manifest), []byte(acf(build)))
}

func looksLike(name string, data []byte, v int, validate bool) bool {
	want := content(name, v)
	if validate {
		return version(name, data) == v
	}
	head := len(name) + 1 + len(strconv.Itoa(v)) + 1
	return len(data) == len(want) && string(data[:head]) == string(want[:head])
}

func put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o644)
}
