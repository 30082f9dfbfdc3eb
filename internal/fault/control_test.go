package fault

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"l4d2-host/internal/instance"
)

const (
	oldSpec = "port: 27915\noverlays: [mod]\nconfig: [hostname old]\n"
	newSpec = "port: 27918\narguments: [+map c1m1_hotel]\nconfig: ['hostname \"the new one\"', sv_tags new]\n"
)

// generated are the files that l4d2ctl makes.
var generated = []string{instance.SpecFile, instance.EnvFile, instance.ServerConfigFile}

// wanted is what l4d2ctl makes of each spec when nothing goes wrong.
var wanted = map[string]map[string]string{}

// learn fills wanted.
func (w *world) learn() {
	for _, spec := range []string{oldSpec, newSpec} {
		unknown(w)
		w.arrange(controlProgram, "init", string(w.name), w.spec(spec))
		wanted[spec] = map[string]string{}
		for _, name := range generated {
			wanted[spec][name] = contents(filepath.Join(w.layout.Instance(w.name), name))
		}
	}
	w.rebuild()
}

func (w *world) spec(text string) string {
	path := filepath.Join(w.dir, "new.yaml")
	write(path, text, 0o600)
	return path
}

// staging and deleted are where l4d2ctl keeps what is not in place.
func (w *world) staging() string {
	return filepath.Join(w.layout.Instances(), "."+string(w.name)+".new")
}
func (w *world) deleted() string {
	return filepath.Join(w.layout.Instances(), "."+string(w.name)+".deleted")
}

// unknown: no such instance.
func unknown(w *world) {
	w.blank()
	for _, dir := range []string{w.layout.Instance(w.name), w.staging(), w.deleted()} {
		must(os.RemoveAll(dir))
	}
	w.spec(newSpec)
}

// known: an instance with files of the operator's, and a new spec for it.
func known(w *world) {
	unknown(w)
	w.arrange(controlProgram, "init", string(w.name), w.spec(oldSpec))
	dir := w.layout.Instance(w.name)
	write(filepath.Join(dir, "notes.txt"), "mine", 0o600)
	write(filepath.Join(dir, ".hidden"), "", 0o600)
	write(filepath.Join(dir, "backup/server.cfg"), "mine, too", 0o600)
	w.spec(newSpec)
}

// halfChanged: what an init leaves that was killed when the new files were in
// place: the old ones, and the operator's.
func halfChanged(w *world) {
	known(w)
	must(os.Rename(w.layout.Instance(w.name), w.staging()))
	for name, text := range wanted[newSpec] {
		w.place(name, text)
	}
	own(w.layout.Instance(w.name), 0, gameGID)
	must(os.Chmod(w.layout.Instance(w.name), 0o750))
	must(os.Rename(filepath.Join(w.staging(), "notes.txt"), filepath.Join(w.layout.Instance(w.name), "notes.txt")))
}

func (w *world) place(name, text string) {
	write(filepath.Join(w.layout.Instance(w.name), name), text, 0o640)
}

// used: an instance that has run.
func used(w *world) {
	known(w)
	w.arrange(helperProgram, "mount", string(w.name))
	write(filepath.Join(w.layout.Merged(w.name), "left4dead2/save.dat"), "what the game wrote", 0o644)
	w.arrange(helperProgram, "unmount", string(w.name))
}

// halfDeleted: what a delete leaves that was killed in the middle.
func halfDeleted(w *world) {
	used(w)
	must(os.Rename(w.layout.Instance(w.name), w.deleted()))
	must(os.RemoveAll(w.layout.Work(w.name)))
}

// which returns the spec that the instance's files come from, "" if there is
// no instance; anything in between is a problem.
func (w *world) which() string {
	dir := w.layout.Instance(w.name)
	if _, err := os.Lstat(dir); os.IsNotExist(err) {
		return ""
	}
	for spec, files := range wanted {
		if contents(filepath.Join(dir, instance.SpecFile)) != spec {
			continue
		}
		for _, name := range generated {
			if got := contents(filepath.Join(dir, name)); got != files[name] {
				w.problem("instances/%s is neither old nor new: %s is %q", w.name, name, got)
			}
			if got, _ := describe(filepath.Join(dir, name), false); !strings.HasPrefix(got, "-rw-r----- 0:61235") {
				w.problem("instances/%s/%s is %s", w.name, name, got)
			}
		}
		if got, _ := describe(dir, false); got != "drwxr-x--- 0:61235" {
			w.problem("instances/%s is %s", w.name, got)
		}
		return spec
	}
	w.problem("instances/%s has a spec that is none of ours", w.name)
	return ""
}

// operators returns the files in dir that l4d2ctl has not made.
func operators(dir string) tree { return look(dir, false).without(".").without(generated...) }

func inspectInit(w *world, j job, r run, before state) {
	spec := w.which()
	switch {
	case r.Code == 0:
		w.applied()
	case r.Code == 1 && spec == newSpec && len(before.own) == 0:
		w.admitted(r)
	case r.Code == 1 && spec == newSpec && contents(w.layout.Spec(w.name)) != before.spec:
		w.admitted(r)
	case spec == "" && before.spec != missing:
		w.problem("the instance is gone")
	}
	// The operator's are in place, or will be.
	now := operators(w.layout.Instance(w.name))
	for path, what := range operators(w.staging()) {
		if now[path] != "" && !strings.HasPrefix(what, "d") {
			w.problem("%s is there twice", path)
		}
		now[path] = what
	}
	w.same("the operator's files", before.operators, now)
	w.sameElsewhere(before)
}

// admitted checks that an error tells of a change that was made all the same.
func (w *world) admitted(r run) {
	for _, words := range []string{"the change is made", "the instance is created", "the instance is changed", "write the result", "the layer is changed", "is current, but"} {
		if strings.Contains(r.Said, words) {
			return
		}
	}
	w.problem("the change is made, and the error does not say so")
}

// applied checks that the new spec is in place, and nothing else.
func (w *world) applied() {
	if w.which() != newSpec {
		w.problem("the new spec is not applied")
	}
	w.tidy(w.name, bare, pinned, other)
}

// tidy checks which instances there are, and nothing else is.
func (w *world) tidy(instances ...instance.Name) {
	want := []string{".lock"}
	for _, n := range instances {
		want = append(want, string(n))
	}
	got := names(w.layout.Instances())
	slices.Sort(want)
	if !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return s == ".lock" }), want[1:]) {
		w.problem("instances/ holds %q, want %q", got, want)
	}
}

func (w *world) sameElsewhere(before state) {
	w.same("the rest", before.rest, w.rest())
	w.unlocked(filepath.Join(w.layout.Instances(), ".lock"))
	w.unlocked(w.layout.Lock(w.name))
	w.before = before
}

// afterInit does what comes next: a second init completes the first one.
func afterInit(w *world, j job) {
	name := string(w.name)
	present := w.which() != ""
	switch {
	case j.Then == "mount" && present:
		if w.expect(helperProgram, "mount", name) {
			w.expect(helperProgram, "unmount", name)
		}
	case j.Then == "delete":
		if w.expect(controlProgram, "delete", "-y", name) {
			w.removed()
		}
		w.before.operators = tree{}
	}
	if w.expect(controlProgram, "init", name, filepath.Join(w.dir, "new.yaml")) {
		w.applied()
	}
	w.same("the operator's files", w.before.operators, operators(w.layout.Instance(w.name)))
	w.sameElsewhere(w.before)
}

func inspectDelete(w *world, j job, r run, before state) {
	if r.Code == 0 {
		w.removed()
	} else if w.which() != "" {
		w.same("instances/"+string(w.name), before.own, look(w.layout.Instance(w.name), true))
		w.same("runtime/"+string(w.name), before.runtime, look(w.layout.Runtime(w.name), false))
	}
	w.sameElsewhere(before)
}

// removed checks that nothing is left of the instance.
func (w *world) removed() {
	w.tidy(bare, pinned, other)
	if got := names(w.layout.RuntimeDir()); slices.Contains(got, string(w.name)) {
		w.problem("runtime/ holds %q", got)
	}
}

// afterDelete does what comes next: a second delete completes the first one,
// and only then is the name free again.
func afterDelete(w *world, j job) {
	name := string(w.name)
	whole := w.which() != ""
	_, err := os.Lstat(w.deleted())
	half := err == nil
	switch j.Then {
	case "mount":
		if r := w.quietly(helperProgram, "mount", name); whole != (r.Code == 0) {
			w.problem("afterwards, a mount ends with status %d: %s", r.Code, r.Said)
		}
		if whole {
			w.expect(helperProgram, "unmount", name)
		}
	case "init":
		r := w.quietly(controlProgram, "init", name, filepath.Join(w.dir, "new.yaml"))
		if half && !strings.Contains(r.Said, "its removal was interrupted") || half == (r.Code == 0) {
			w.problem("afterwards, an init ends with status %d: %s", r.Code, r.Said)
		}
	}
	if w.expect(controlProgram, "delete", "-y", name) {
		w.removed()
	}
	if w.expect(controlProgram, "init", name, filepath.Join(w.dir, "new.yaml")) {
		w.applied()
	}
	w.sameElsewhere(w.before)
}
