package release

import (
	"fmt"
	"regexp"

	"l4d2-host/internal/layers"
)

// Manifest is where steamcmd notes what it has installed, in the tree of the
// game: app 222860 is the Left 4 Dead 2 dedicated server.
const Manifest = "steamapps/appmanifest_222860.acf"

// maxManifest, in bytes, is a hundred times what it is.
const maxManifest = 128 << 10

var buildLine = regexp.MustCompile(`(?m)^\s*"buildid"\s+"([0-9]{1,20})"\s*$`)

// Build returns Steam's build id of the tree that is open as dir, as steamcmd has
// noted it: "" if it has not.
func Build(dir int) string {
	build, err := BuildOf(layers.View{{Name: "the game", Dir: dir}})
	if err != nil {
		return ""
	}
	return build
}

// BuildOf is Build for what a view shows; the error says why it is not known. The
// game's user can write there what it likes.
func BuildOf(view layers.View) (string, error) {
	n, err := view.Lookup(Manifest)
	if err != nil {
		return "", err
	}
	top := n.Top()
	if top == nil {
		return "", fmt.Errorf("there is no %s", Manifest)
	}
	if top.Type != layers.File {
		return "", fmt.Errorf("%s is a %s and no file", Manifest, top.Type)
	}
	text, err := top.Layer.Read(Manifest, maxManifest)
	if err != nil {
		return "", err
	}
	m := buildLine.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s has no build id", Manifest)
	}
	return string(m[1]), nil
}
