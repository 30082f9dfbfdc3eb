package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/release"
	"l4d2-host/internal/staging"
)

// gameRoot is where updates work: a root of their own, in which the installation
// is a release. updated is its one instance, and mapLayer its layer.
const (
	gameRoot = "game"
	updated  = instance.Name("updated")
	mapLayer = instance.Name("maps")
)

// build is what there is of the game at each build: a file that never changes, one
// that always does, and one that no other build has.
func build(number string) map[string]string {
	return map[string]string{
		"srcds_linux":              "#!",
		"left4dead2/a.txt":         number,
		"left4dead2/only" + number: "x",
		release.Manifest:           "\"AppState\"\n{\n\t\"buildid\"\t\t\"" + number + "\"\n}\n",
	}
}

// released: build 2 is current, and lies over build 1.
func released(w *world) {
	w.unmountAll()
	must(os.RemoveAll(w.layout.Root()))
	l := w.layout
	must(os.MkdirAll(l.RuntimeDir(), 0o755))
	must(os.MkdirAll(l.Instances(), 0o750))
	for name, text := range build("1") {
		write(filepath.Join(l.ReleaseTree(oldRelease), name), text, 0o644)
	}
	for name, text := range build("2") {
		if name != "srcds_linux" {
			write(filepath.Join(l.ReleaseTree(newRelease), name), text, 0o644)
		}
	}
	must(unix.Mknod(filepath.Join(l.ReleaseTree(newRelease), "left4dead2/only1"), unix.S_IFCHR, 0))
	w.describe(oldRelease, "1", oldRelease)
	w.describe(newRelease, "2", newRelease, oldRelease)
	w.choose(newRelease)
	write(filepath.Join(l.Overlay(mapLayer), "left4dead2/maps.txt"), "old", 0o644)
	write(filepath.Join(l.Overlay(mapLayer), "left4dead2/old.txt"), "old", 0o644)
	w.configure(updated, newConfig)
	must(os.RemoveAll(w.shared()))
	write(filepath.Join(w.shared(), "done"), "", 0o644) // as fetch leaves it
}

func (w *world) describe(n instance.Name, number string, names ...instance.Name) {
	text, err := chain.Release{Chain: names, Build: number}.Format()
	must(err)
	write(w.layout.ReleaseFile(n), string(text), 0o644)
}

// choose makes a release the current one.
func (w *world) choose(n instance.Name) {
	must(os.RemoveAll(w.layout.Installation()))
	must(os.Symlink(chain.Tree(n), w.layout.Installation()))
}

// shared is the directory that the steps of the unit share.
func (w *world) shared() string { return filepath.Join(w.dir, "run") }

// fetch does what steamcmd does: it makes what is mounted the game of a build.
func (w *world) fetch(number string) {
	dir := staging.Merged(w.layout)
	want := build(number)
	for name := range look(filepath.Join(dir, "left4dead2"), false) {
		if strings.HasPrefix(name, "only") && want["left4dead2/"+name] == "" {
			must(os.Remove(filepath.Join(dir, "left4dead2", name)))
		}
	}
	for name, text := range want {
		if path := filepath.Join(dir, name); contents(path) != text {
			write(path, text, 0o644)
		}
	}
}

// staged: build 3 is downloaded.
func staged(w *world) {
	released(w)
	w.arrange(updateProgram, "stage")
	w.fetch("3")
}

// stagedSame: nothing was to be downloaded.
func stagedSame(w *world) {
	released(w)
	w.arrange(updateProgram, "stage")
	w.fetch("2")
}

// stagedOnce: what a machine that lost its power during an update leaves.
func stagedOnce(w *world) {
	staged(w)
	must(unix.Unmount(staging.Merged(w.layout), 0))
	write(filepath.Join(w.layout.Staging(), "work/work/a/b"), "", 0o600)
}

// stagedOver: the same, and another release was made current since.
func stagedOver(w *world) {
	stagedOnce(w)
	w.choose(oldRelease)
}

// stagings counts the overlays of updates.
func (w *world) stagings() int {
	all, err := mountinfo.Self()
	must(err)
	n := 0
	for _, m := range all {
		if m.Point == staging.Merged(w.layout) {
			n++
		}
	}
	return n
}

// current returns the build of the current release. It, and every other release,
// is the whole of a build.
func (w *world) current() string {
	names, err := release.Names(w.layout)
	must(err)
	builds := map[instance.Name]string{}
	for _, n := range names {
		r, err := chain.Read(w.layout, n)
		if err != nil {
			w.problem("%v", err)
			continue
		}
		builds[n] = r.Build
		w.wantBuild("release "+string(n), r.Build, w.shows(r.Chain))
	}
	now, err := chain.Current(w.layout)
	if err != nil || builds[now] == "" {
		w.problem("current is %q, with build %q, %v", now, builds[now], err)
	}
	return builds[now]
}

// shows returns the files that a chain of releases shows.
func (w *world) shows(names []instance.Name) map[string]string {
	var trees []string
	for _, n := range names {
		trees = append(trees, chain.Tree(n))
	}
	view, err := layers.Open(w.layout, trees)
	must(err)
	defer view.Close()
	root, err := view.Root()
	must(err)
	files := map[string]string{}
	must(view.Walk(root, func(n layers.Node) error {
		if n.IsDir() {
			return nil
		}
		text, err := n.Top().Layer.Read(n.Path, 1<<10)
		files[n.Path] = string(text)
		return err
	}))
	return files
}

func (w *world) wantBuild(what, number string, files map[string]string) {
	want := build(number)
	for name, text := range want {
		if files[name] != text {
			w.problem("%s is of build %s, and its %s is %q", what, number, name, files[name])
		}
	}
	for name := range files {
		if _, found := want[name]; !found {
			w.problem("%s is of build %s, and has %s", what, number, name)
		}
	}
}

// starts checks that the instance mounts, with this build of the game and this
// version of the layer.
func (w *world) starts(number, version string) {
	if !w.expect(helperProgram, "mount", string(updated)) {
		return
	}
	merged := w.layout.Merged(updated)
	for name, text := range build(number) {
		if got := contents(filepath.Join(merged, name)); got != text {
			w.problem("merged/%s is %q, want %q", name, got, text)
		}
	}
	if got := contents(filepath.Join(merged, "left4dead2/maps.txt")); got != version {
		w.problem("merged/left4dead2/maps.txt is %q, want %q", got, version)
	}
	w.expect(helperProgram, "unmount", string(updated))
}

// elsewhere checks that nothing has changed but what is below one of these paths.
func (w *world) elsewhere(before state, but ...string) {
	others := func(t tree) tree {
		kept := tree{}
		for path, what := range t {
			if !slices.ContainsFunc(but, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }) {
				kept[path] = what
			}
		}
		return kept
	}
	w.same("the rest", others(before.rest), others(w.rest()))
	w.same("the instance", before.own, look(w.layout.Instance(w.name), true))
}

func inspectUpdate(w *world, j job, r run, before state) {
	mounted, now := w.stagings(), w.current()
	committing, begins := strings.HasPrefix(j.Scenario, "commit"), strings.HasPrefix(j.Scenario, "stage")
	switch {
	case mounted > 1:
		w.problem("%d overlays are mounted", mounted)
	case r.Code == 0 && mounted == 1 && !begins:
		w.problem("the update is still mounted")
	case r.Code == 0 && mounted == 0 && begins:
		w.problem("no update is mounted")
	case now != before.build && (!committing || now != "3"):
		w.problem("build %s is current, not %s", now, before.build)
	case r.Code == 0 && committing && before.staged == "3" && now != "3":
		w.problem("the update is not current")
	case r.Code == 1 && now != before.build:
		w.admitted(r)
	}
	w.elsewhere(before, w.layout.Installation())
	w.unlocked(w.layout.ReleasesLock())
	w.unlocked(w.layout.ReleasesChange())
	w.before = before
}

// afterUpdate does what comes next: the unit's last step, or a command, or the
// next update, which succeeds whatever has happened.
func afterUpdate(w *world, j job) {
	switch j.Then {
	case "unstage":
		if w.expect(updateProgram, "unstage") && w.stagings() > 0 {
			w.problem("after unstage, the update is mounted")
		}
	case "rollback":
		busy := w.stagings() > 0
		before := w.current()
		r := w.quietly(controlProgram, "rollback", string(oldRelease))
		switch after := w.current(); {
		case busy && (r.Code == 0 || !strings.Contains(r.Said, "an update of the game is going on") || after != before):
			w.problem("during an update, a rollback from %s to %s ends with status %d: %s", before, after, r.Code, r.Said)
		case !busy && (r.Code != 0 || after != "1"):
			w.problem("afterwards, a rollback ends with status %d, and build %s is current: %s", r.Code, after, r.Said)
		}
	}
	if !w.expect(updateProgram, "stage") {
		return
	}
	if n := w.stagings(); n != 1 {
		w.problem("%d updates are mounted", n)
		return
	}
	w.fetch("4")
	if !w.expect(updateProgram, "commit") || !w.expect(updateProgram, "unstage") {
		return
	}
	if now := w.current(); now != "4" {
		w.problem("after the next update, build %s is current", now)
	}
	w.cleared()
	w.starts("4", "old")
	w.elsewhere(w.before, w.layout.Installation())
}

// cleared checks that nothing is left of an update that was interrupted.
func (w *world) cleared() {
	for _, name := range names(w.layout.Releases()) {
		if strings.HasPrefix(name, ".") && name != ".change" && name != ".lock" {
			w.problem("releases/ holds %s", name)
		}
	}
	if got := names(w.layout.Root()); slices.Contains(got, ".installation.new") {
		w.problem("the root holds %q", got)
	}
	all, err := release.Names(w.layout)
	must(err)
	for _, n := range all {
		if got := names(w.layout.Release(n)); !slices.Equal(got, []string{instance.ReleaseFile, instance.ReleaseTreeDir}) {
			w.problem("release %s holds %q", n, got)
		}
	}
}
