package fault

import (
	"os"
	"path/filepath"
	"slices"
)

// newMaps: a layer that is a directory of the operator's, and a new version of it.
func newMaps(w *world) {
	released(w)
	must(os.RemoveAll(filepath.Join(w.dir, "maps")))
	write(filepath.Join(w.dir, "maps/left4dead2/maps.txt"), "new", 0o644)
	write(filepath.Join(w.dir, "maps/left4dead2/new.txt"), "new", 0o644)
}

// newestMaps: a layer that was brought up to date before.
func newestMaps(w *world) {
	newMaps(w)
	w.arrange(controlProgram, "layer", "update", "-y", string(mapLayer), filepath.Join(w.dir, "maps"))
	write(filepath.Join(w.dir, "maps/left4dead2/maps.txt"), "newest", 0o644)
}

// version returns which version the layer is of. It is the whole of it.
func (w *world) version() string {
	dir := filepath.Join(w.layout.Overlay(mapLayer), "left4dead2")
	version := contents(filepath.Join(dir, "maps.txt"))
	want := map[string][]string{"old": {"maps.txt", "old.txt"}, "new": {"maps.txt", "new.txt"}, "newest": {"maps.txt", "new.txt"}}[version]
	if got := names(dir); !slices.Equal(got, want) {
		w.problem("version %s of the layer holds %q", version, got)
	}
	return version
}

func inspectLayer(w *world, j job, r run, before state) {
	now := w.version()
	wanted := contents(filepath.Join(w.dir, "maps/left4dead2/maps.txt"))
	switch {
	case r.Code == 0 && now != wanted, now != before.layer && now != wanted:
		w.problem("the layer is at version %s", now)
	case r.Code == 1 && now != before.layer:
		w.admitted(r)
	}
	// A server may run with the version before.
	dir := filepath.Join(w.layout.Overlays(), "."+string(mapLayer)+".v0/left4dead2/old.txt")
	if now != "old" && contents(dir) != "old" {
		w.problem("the operator's version is gone")
	}
	w.elsewhere(before, w.layout.Overlays())
	w.unlocked(filepath.Join(w.layout.Overlays(), ".lock"))
	w.before = before
}

// afterLayer does what comes next: a start, and another update of the layer.
func afterLayer(w *world, j job) {
	if j.Then == "mount" {
		w.starts("2", w.version())
	}
	from := filepath.Join(w.dir, "maps")
	if !w.expect(controlProgram, "layer", "update", "-y", string(mapLayer), from) {
		return
	}
	if now, want := w.version(), contents(filepath.Join(from, "left4dead2/maps.txt")); now != want {
		w.problem("afterwards, the layer is at version %s", now)
	}
	versions := 0
	for _, name := range names(w.layout.Overlays()) {
		if filepath.Ext(name) == ".new" || filepath.Ext(name) == ".link" || filepath.Ext(name) == ".deleted" {
			w.problem("overlays/ holds %s", name)
		}
		if name[0] == '.' && name != ".lock" {
			versions++
		}
	}
	// This one, the one before and the operator's.
	if versions > 3 {
		w.problem("there are %d versions: %q", versions, names(w.layout.Overlays()))
	}
	w.starts("2", w.version())
	w.elsewhere(w.before, w.layout.Overlays())
}
