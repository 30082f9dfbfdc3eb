package release

import (
	"regexp"

	"l4d2-host/internal/layers"
)

// manifest is where steamcmd notes what it has installed, in the tree of the
// game: app 222860 is the Left 4 Dead 2 dedicated server.
const manifest = "steamapps/appmanifest_222860.acf"

// maxManifest, in bytes, is a hundred times what it is.
const maxManifest = 128 << 10

var buildLine = regexp.MustCompile(`(?m)^\s*"buildid"\s+"([0-9]{1,20})"\s*$`)

// Build returns Steam's build id of the tree that is open as dir, as steamcmd has
// noted it: "" if it has not. The game's user can write there what it likes.
func Build(dir int) string {
	l := layers.Layer{Name: "the game", Dir: dir}
	text, err := l.Read(manifest, maxManifest)
	if err != nil {
		return ""
	}
	if m := buildLine.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}
