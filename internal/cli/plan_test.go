package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/systemd"
)

func (h *host) put(path, text string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(h.t, os.WriteFile(path, []byte(text), 0o644))
}

// tick lets the clock that files are stamped by move on.
func tick() { time.Sleep(30 * time.Millisecond) }

func (h *host) plan() (v planned) {
	h.t.Helper()
	h.run(ExitDone, "plan", "a", "--json")
	must(h.t, json.Unmarshal(h.out.Bytes(), &v))
	return v
}

// String is the files and what hides, in short.
func (v planned) String() string {
	var parts []string
	for _, f := range v.Files {
		text := f.Change + " " + f.Path
		if f.Hidden {
			text += " hidden"
		}
		parts = append(parts, text)
	}
	for _, f := range v.Hiding {
		parts = append(parts, fmt.Sprintf("hides %s by %s same %v", f.Path, f.Reset, f.Same))
	}
	for key, why := range v.Unknown {
		parts = append(parts, key+" unknown: "+why)
	}
	return strings.Join(parts, "; ")
}

// modded is a host whose instance a was started with version 1 of a layer, over
// a game, and has written files of its own.
func modded(t *testing.T) *host {
	h := newHost(t, "a")
	h.put(h.layout.Installation()+"/srcds_linux", "")
	for v, text := range map[string]string{"v1": "one", "v2": "two"} {
		h.put(h.layout.Overlays()+"/.mod."+v+"/left4dead2/addons/mod.txt", text)
	}
	h.put(h.layout.Overlays()+"/.mod.v1/left4dead2/old.txt", "old")
	must(t, os.Symlink(".mod.v1", h.layout.Overlay("mod")))
	h.onPort("a", 27015, "overlays: [mod]\n")
	tick()
	h.writeStart("a")
	h.put(h.layout.Upper("a")+"/left4dead2/new.cfg", "its own")
	h.put(h.layout.Upper("a")+"/left4dead2/same.cfg", "same")
	h.put(h.layout.Upper("a")+"/left4dead2/it's own\n.cfg", "its own")
	config, err := os.ReadFile(h.layout.ServerConfig("a"))
	must(t, err)
	h.put(h.layout.Upper("a")+"/left4dead2/cfg/server.cfg", string(config))
	tick()
	return h
}

func TestPlan(t *testing.T) {
	h := modded(t)
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "a  stopped; compared with its last start, ", "the next start would change nothing\n")
	if v := h.plan(); v.String() != "" || v.Running || len(v.Changes) != 0 || !v.Was[0].Same || !v.Will[1].Same {
		t.Errorf("%+v", v)
	}

	// A new version, with files that the server's own hide.
	for name, text := range map[string]string{"new.cfg": "of the mod", "same.cfg": "same", "it's own\n.cfg": "x", "cfg/server.cfg": "of the mod"} {
		h.put(h.layout.Overlays()+"/.mod.v2/left4dead2/"+name, text)
	}
	must(t, os.Remove(h.layout.Overlay("mod")))
	must(t, os.Symlink(".mod.v2", h.layout.Overlay("mod")))
	h.set("a", up)
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "a  compared with its present run, of ", "  layer mod  another directory has its name now\n",
		"files of the layers: 4 added, 1 changed, 1 removed\n", "    changed  3 B   left4dead2/addons/mod.txt  (mod)\n", "    removed  3 B   left4dead2/old.txt  (was in mod)\n",
		`left4dead2/new.cfg  (mod, not seen: its own files are above)`, "its own files that hide newer ones: 2\n", `    "left4dead2/it's own\n.cfg"  of 2`, "its own files that are the same as newer ones: 1\n")
	h.says(&h.err, "hint: once it is stopped, let go of them with: l4d2ctl reset a PATH…\n")
	v := h.plan()
	want := `added left4dead2/cfg/server.cfg hidden; added left4dead2/it's own
.cfg hidden; added left4dead2/new.cfg hidden; added left4dead2/same.cfg hidden; changed left4dead2/addons/mod.txt; removed left4dead2/old.txt; ` +
		`hides left4dead2/it's own
.cfg by left4dead2/it's own
.cfg same false; hides left4dead2/new.cfg by left4dead2/new.cfg same false; hides left4dead2/same.cfg by left4dead2/same.cfg same true`
	got := strings.Split(v.String(), "; ")
	for _, part := range strings.Split(want, "; ") {
		if !strings.Contains(v.String(), part) {
			t.Errorf("%q is missing in %q", part, got)
		}
	}
	if len(got) != 9 || !v.Running || v.Was[0].Same || !v.Was[1].Same || len(v.Changes) != 1 || v.Changes[0].What != "layer mod" {
		t.Errorf("%q\n%+v", got, v)
	}

	must(t, os.WriteFile(h.layout.Spec("a"), []byte("port: 27099\n"), 0o640))
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "edited and not applied; this does it: l4d2ctl init a ")

	// A version that is gone is said, not guessed.
	must(t, os.RemoveAll(h.layout.Overlays()+"/.mod.v1"))
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "  files      not known, or not all: overlays/mod: it is not on the disk any more", "its own files that hide newer ones: 2\n")
	if v := h.plan(); v.Unknown["files"] == "" || len(v.Files) != 0 || len(v.Hiding) != 3 {
		t.Errorf("%+v", v)
	}
}

// Editing a layer in place, and taking the layer out.
func TestPlanOfEdits(t *testing.T) {
	h := modded(t)
	must(t, unix.Mknod(h.layout.Upper("a")+"/left4dead2/old.txt", unix.S_IFCHR, 0)) // deleted by the server
	h.put(h.layout.Overlays()+"/.mod.v1/left4dead2/old.txt", "edited")
	h.put(h.layout.Overlays()+"/.mod.v1/left4dead2/new.cfg", "newer")
	if got, want := h.plan().String(), "rewritten left4dead2/new.cfg hidden; rewritten left4dead2/old.txt hidden; hides left4dead2/new.cfg by left4dead2/new.cfg same false"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	h.run(ExitDone, "plan", "a")
	h.says(&h.err, "hint: let go of them with: l4d2ctl reset a left4dead2/new.cfg\n")
	h.onPort("a", 27016, "")
	v := h.plan()
	if got, want := v.String(), "removed left4dead2/addons/mod.txt; removed left4dead2/new.cfg hidden; removed left4dead2/old.txt hidden"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if len(v.Changes) != 2 || v.Changes[0].What != "port" || v.Changes[1].Detail != "without mod" {
		t.Errorf("%+v", v.Changes)
	}
}

func TestPlanBounds(t *testing.T) {
	h := modded(t)
	for i := range 30 {
		h.put(fmt.Sprintf("%s/.mod.v1/left4dead2/f%02d", h.layout.Overlays(), i), "")
	}
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "30 rewritten", "left4dead2/f19", "… and 10 more: --all\n")
	h.saysNot(&h.out, "left4dead2/f20")
	h.run(ExitDone, "plan", "a", "--all")
	h.says(&h.out, "left4dead2/f29")
	h.saysNot(&h.out, "more: --all")
}

func TestPlanOfOthers(t *testing.T) {
	h := newHost(t, "a")
	h.run(ExitDone, "plan", "a")
	h.says(&h.out, "a  has never been started\n")
	if v := h.plan(); v.Since != nil || len(v.Will) != 1 {
		t.Errorf("%+v", v)
	}
	h.writeStart("a")
	h.set("a", up)
	h.set("a", func(u *systemd.Unit) { u.Begun = time.Now().Add(time.Hour) })
	if v := h.plan(); v.Unknown["files"] == "" || v.Since != nil {
		t.Errorf("%+v", v)
	}
	h.run(ExitFailed, "plan", "nope")
	h.says(&h.err, "nope: no such instance")
	must(t, unix.Rmdir(h.layout.Installation()))
	h.run(ExitFailed, "plan", "a")
	h.says(&h.err, "a: the next start would fail: layer 1 (")
	h.program.Superuser = false
	h.run(ExitFailed, "plan", "a")
	h.says(&h.err, "must be root")
}
