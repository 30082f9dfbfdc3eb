package fault

import (
	"path/filepath"
	"strings"

	"l4d2-host/internal/instance"
)

// scenario is a command on an instance in some state.
type scenario struct {
	name     string
	instance instance.Name
	program  string
	args     []string
	root     string // the directory that it works in: "" for the one of the instances, or gameRoot
	first    string // in the text of the first call that is the program's own, not its runtime's
	classic  bool   // also with l4d2-overlay's second way to mount
	every    int    // the sample has every so many-th call; 0 is 1
	prepare  func(w *world)
	// inspect looks at what the fault has left, recover at what the next runs
	// make of it.
	inspect func(w *world, j job, r run, before state)
	recover func(w *world, j job)
	thens   []string // what may come next
}

func (s scenario) argv(w *world) []string {
	w.program = s.program
	argv := []string{filepath.Join(w.bin, s.program)}
	for _, arg := range s.args {
		argv = append(argv, strings.ReplaceAll(arg, "DIR", w.dir))
	}
	return argv
}

var scenarios = []scenario{
	mount("mount for the first time", modded, neverMounted),
	mount("mount a game without left4dead2/cfg", bare, neverMounted).sampled(2),
	mount("mount a chain of releases", pinned, neverMounted).sampled(2),
	mount("mount again", modded, mountedBefore).sampled(2),
	mount("mount after a power cut", modded, powerCut).sampled(3),
	mount("mount over a left-over", modded, leftMounted).sampled(3),
	helper("unmount", "unmount", modded, leftMounted),
	initialise("init for the first time", unknown),
	initialise("init with a changed spec", known).sampled(2),
	initialise("init after an interrupted one", halfChanged).sampled(2),
	remove("delete", used).sampled(3),
	remove("delete after an interrupted one", halfDeleted).sampled(3),
	update("stage an update", "stage", released).sampled(3),
	update("stage an interrupted update", "stage", stagedOnce).sampled(3),
	update("stage after another release was chosen", "stage", stagedOver).sampled(8),
	update("commit an update", "commit", staged).sampled(2),
	update("commit nothing new", "commit", stagedSame).sampled(4),
	update("unstage", "unstage", staged),
	updateLayer("layer update", newMaps).sampled(2),
	updateLayer("layer update of a second version", newestMaps).sampled(3),
}

func mount(name string, n instance.Name, prepare func(*world)) scenario {
	s := helper(name, "mount", n, prepare)
	s.classic = true
	return s
}

func helper(name, verb string, n instance.Name, prepare func(*world)) scenario {
	return scenario{
		name: name, instance: n, program: helperProgram, args: []string{verb, string(n)}, first: "chdir(",
		prepare: prepare, inspect: inspectHelper, recover: afterHelper, thens: []string{"unmount", "mount"},
	}
}

func initialise(name string, prepare func(*world)) scenario {
	return scenario{
		name: name, instance: modded, program: controlProgram, args: []string{"init", string(modded), "DIR/new.yaml"}, first: "/etc/group",
		prepare: prepare, inspect: inspectInit, recover: afterInit, thens: []string{"init", "mount", "delete"},
	}
}

func remove(name string, prepare func(*world)) scenario {
	return scenario{
		name: name, instance: modded, program: controlProgram, args: []string{"delete", "-y", string(modded)}, first: "/etc/group",
		prepare: prepare, inspect: inspectDelete, recover: afterDelete, thens: []string{"delete", "mount", "init"},
	}
}

func update(name, verb string, prepare func(*world)) scenario {
	return scenario{
		name: name, instance: updated, root: gameRoot, program: updateProgram, args: []string{verb}, first: "chdir(",
		prepare: prepare, inspect: inspectUpdate, recover: afterUpdate, thens: []string{"unstage", "stage", "rollback"},
	}
}

func updateLayer(name string, prepare func(*world)) scenario {
	return scenario{
		name: name, instance: updated, root: gameRoot, program: controlProgram,
		args: []string{"layer", "update", "-y", string(mapLayer), "DIR/maps"}, first: "/etc/group",
		prepare: prepare, inspect: inspectLayer, recover: afterLayer, thens: []string{"update", "mount"},
	}
}

func (s scenario) sampled(every int) scenario {
	s.every = every
	return s
}
