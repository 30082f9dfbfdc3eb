package layer

import (
	"errors"
	"path"
	"slices"
	"strings"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/layers"
)

// Root is the place of what already is a tree over the game's root.
const Root = "."

const game = "left4dead2"

// gameDirs are directories, and files, of left4dead2/ that tell that what they
// lie in is its contents. "bin" and "scripts" elsewhere mean other things.
var gameDirs = []string{"addons", "cfg", "maps", "materials", "models", "sound", "missions", "particles", "resource", "gameinfo.txt", "motd.txt"}

// rules tell, from the names in a directory (in lower case), where in the
// game's root its contents belong. The first that knows counts.
var rules = []func(names []string) (under string, ok bool){
	has(Root, game, "srcds_linux", "srcds_run"),
	has(game, gameDirs...),
	has(game+"/addons", "sourcemod", "metamod", "metamod.vdf", "stripper", "l4dtoolz", "l4dtoolz.vdf"),
	has(game+"/addons/sourcemod", "plugins", "gamedata", "translations", "extensions"),
	ending(game+"/addons", ".vpk"),
	ending(game+"/maps", ".bsp"),
}

func has(under string, any ...string) func([]string) (string, bool) {
	return func(names []string) (string, bool) {
		return under, slices.ContainsFunc(names, func(n string) bool { return slices.Contains(any, n) })
	}
}

func ending(under, ext string) func([]string) (string, bool) {
	return func(names []string) (string, bool) {
		return under, slices.ContainsFunc(names, func(n string) bool { return path.Ext(n) == ext })
	}
}

// maxWrapped is how many directories around the contents are taken off, such as
// the one that a download from a forge has.
const maxWrapped = 3

var errPlace = advice.With(errors.New("cannot tell from its files where in the game they belong"),
	"say it with --under, such as --under left4dead2, or --under . for a tree over the game's root")

// findPlace returns the directory of the tree that holds the contents, and
// where in the game's root they belong.
func findPlace(tree *layers.Layer) (contents, under string, err error) {
	dir := Root
	for range maxWrapped {
		names, err := tree.Names(dir)
		if err != nil {
			return "", "", err
		}
		if len(names) == 0 {
			return "", "", errors.New("there is nothing in it")
		}
		low := make([]string, len(names))
		for i, n := range names {
			low[i] = strings.ToLower(n)
		}
		for _, rule := range rules {
			if under, ok := rule(low); ok {
				return dir, under, nil
			}
		}
		if len(names) > 1 {
			break
		}
		next := path.Join(dir, names[0])
		if e, err := tree.Stat(next); err != nil || e.Type != layers.Directory {
			return "", "", errors.Join(err, errPlace)
		}
		dir = next
	}
	return "", "", errPlace
}

// cleanUnder checks a place that the operator gave.
func cleanUnder(under string) (string, error) {
	p, err := clean(strings.TrimSuffix(under, "/"))
	if err != nil {
		return "", err
	}
	return p, nil
}
