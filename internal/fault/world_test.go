package fault

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/staging"
)

const gameUID, gameGID = 61_234, 61_235

// The instances: one with a mod, one of nothing but the game, which has no
// directory for server.cfg, one pinned to a release that lies over another, and
// one that no run is to touch.
const (
	modded = instance.Name("a")
	bare   = instance.Name("bare")
	pinned = instance.Name("pinned")
	other  = instance.Name("other")
)

// world is a root directory with instances, and what is wrong in it.
type world struct {
	dir, bin string
	layout   instance.Layout
	name     instance.Name // of the instance at work
	program  string        // the one at work
	before   state         // what the fault found
	problems []string
}

// state is what must survive.
type state struct {
	upper tree
	rest  tree // of the root, but for runtime/NAME and instances/NAME
	own   tree // instances/NAME
	mount int  // ID of the mount at merged, 0 for none

	// For l4d2ctl.
	spec      string // of the instance
	runtime   tree
	operators tree // the operator's files beside the generated ones

	// For updates.
	build  string // that is current
	staged string // that is downloaded, where it is mounted
	layer  string // the version of the layer
}

func newWorld(dir string) *world {
	w := &world{dir: dir, bin: filepath.Join(filepath.Dir(dir), "bin"), name: modded}
	w.enter("")
	w.rebuild()
	w.learn()
	return w
}

// enter makes a root the one that is worked in.
func (w *world) enter(root string) {
	if root == "" {
		root = "root"
	}
	layout, err := instance.NewLayout(filepath.Join(w.dir, root))
	must(err)
	w.layout = layout
}

// rebuild makes the root anew, whatever is there.
func (w *world) rebuild() {
	w.unmountAll()
	must(os.RemoveAll(w.layout.Root()))
	l := w.layout
	must(os.MkdirAll(l.RuntimeDir(), 0o755))
	must(os.MkdirAll(l.Instances(), 0o750))
	write(filepath.Join(l.Installation(), "srcds_linux"), "#!", 0o755)
	write(filepath.Join(l.Installation(), "left4dead2.txt"), "installation", 0o644)
	write(filepath.Join(l.Overlay("mod"), "left4dead2/cfg/server.cfg"), "// of the mod\n", 0o644)
	write(filepath.Join(l.Overlay("mod"), "left4dead2/mod.txt"), "mod", 0o644)
	write(filepath.Join(l.ReleaseTree(oldRelease), "srcds_linux"), "#!", 0o755)
	write(filepath.Join(l.ReleaseTree(oldRelease), "left4dead2.txt"), "of the old release", 0o644)
	write(filepath.Join(l.ReleaseTree(newRelease), "left4dead2.txt"), "installation", 0o644)
	for _, chained := range [][]instance.Name{{oldRelease}, {newRelease, oldRelease}} {
		text, err := chain.Release{Chain: chained}.Format()
		must(err)
		write(l.ReleaseFile(chained[0]), string(text), 0o644)
	}
	for _, dir := range []string{l.Installation(), l.Overlays(), l.ReleaseTree(oldRelease), l.ReleaseTree(newRelease)} {
		own(dir, gameUID, gameGID)
	}
	w.configure(modded, oldConfig)
	w.configure(bare, newConfig)
	w.configure(pinned, newConfig)
	w.configure(other, newConfig)
	write(filepath.Join(l.Runtime(other), "upper/precious"), "other's", 0o644)
}

func own(dir string, uid, gid int) {
	must(filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}))
}

const (
	oldRelease = instance.Name("2026-01-01")
	newRelease = instance.Name("2026-01-02")

	oldConfig = "hostname old\n"
	newConfig = "hostname \"the new one\"\nsv_tags new\n"
)

// ports of the instances; each worker has a network of its own.
var ports = map[instance.Name]uint16{modded: 27915, bare: 27916, other: 27917, pinned: 27920, updated: 27921}

// configure writes what l4d2ctl init would write.
func (w *world) configure(n instance.Name, config string) {
	env := instance.Env{Port: ports[n], Lowers: []string{instance.InstallationLayer}}
	switch n {
	case modded:
		env.Lowers = []string{instance.OverlaysDir + "/mod", instance.InstallationLayer}
	case updated:
		env.Lowers = []string{instance.OverlaysDir + "/" + string(mapLayer), instance.InstallationLayer}
	case pinned:
		env.Lowers = []string{instance.ReleasesDir + "/" + string(newRelease)}
	}
	text, err := env.Format()
	must(err)
	write(w.layout.Env(n), string(text), 0o640)
	write(w.layout.ServerConfig(n), config, 0o640)
}

// blank takes away what the instance has become.
func (w *world) blank() {
	w.unmountAll()
	must(os.RemoveAll(w.layout.Runtime(w.name)))
}

func (w *world) unmountAll() {
	points := []string{staging.Merged(w.layout)}
	for _, n := range []instance.Name{modded, bare, pinned, other, updated} {
		points = append(points, w.layout.Merged(n))
	}
	for _, point := range points {
		for unix.Unmount(point, unix.MNT_DETACH) == nil {
		}
	}
}

// mounts returns the mounts at merged, the topmost last.
func (w *world) mounts() []mountinfo.Mount {
	all, err := mountinfo.Self()
	must(err)
	var here []mountinfo.Mount
	for _, m := range all {
		if m.Point == w.layout.Merged(w.name) {
			here = append(here, m)
		}
	}
	return here
}

func (w *world) state() state {
	s := state{
		upper: look(w.layout.Upper(w.name), false),
		own:   look(w.layout.Instance(w.name), true),
		rest:  w.rest(),

		spec:      contents(w.layout.Spec(w.name)),
		runtime:   look(w.layout.Runtime(w.name), false),
		operators: operators(w.staging()),
	}
	maps.Copy(s.operators, operators(w.layout.Instance(w.name)))
	for _, m := range w.mounts() {
		s.mount = m.ID
	}
	if strings.HasSuffix(w.layout.Root(), gameRoot) {
		s.build, s.layer = w.current(), w.version()
		s.staged = contents(filepath.Join(staging.Merged(w.layout), "left4dead2/a.txt"))
	}
	return s
}

// rest is all that is not the instance's; the directories that hold it and the
// others change with it.
func (w *world) rest() tree {
	rest := tree{}
	for _, dir := range []string{w.layout.Installation(), w.layout.Overlays(), w.layout.ReleaseTree(oldRelease), w.layout.ReleaseTree(newRelease), w.layout.Instance(other), w.layout.Runtime(other)} {
		for path, what := range look(dir, true) {
			rest[filepath.Join(dir, path)] = what
		}
	}
	return rest
}

// same checks that two trees are the same.
func (w *world) same(what string, was, is tree) {
	if d := was.differences(is); len(d) > 0 {
		w.problem("%s changed:\n  %s", what, strings.Join(d, "\n  "))
	}
}

// unlocked checks that a lock is free.
func (w *world) unlocked(path string) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	lock, err := lockfile.TryLock(path)
	if err != nil {
		w.problem("%v", err)
		return
	}
	lock.Unlock()
}
