package fault

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/record"
)

const serverConfig = "left4dead2/cfg/" + instance.ServerConfigFile

// temporary is where a server.cfg in the making is.
const temporary = "left4dead2/cfg/.server.cfg.l4d2-host"

// passing is what may lie in upper until the next mount.
var passing = []string{temporary, ".left4dead2.l4d2-host", "left4dead2/.cfg.l4d2-host"}

// neverMounted: no runtime directory yet.
func neverMounted(w *world) {
	w.blank()
	w.configure(w.name, newConfig)
}

// mountedBefore: down, with a file that the game wrote, and a changed
// server.cfg since.
func mountedBefore(w *world) {
	leftMounted(w)
	w.arrange(helperProgram, "unmount", string(w.name))
}

// powerCut: what a machine that lost its power in the middle of a mount leaves.
func powerCut(w *world) {
	mountedBefore(w)
	write(filepath.Join(w.layout.Work(w.name), "work/a/b/c/d"), "", 0o600)
	write(filepath.Join(w.layout.Upper(w.name), temporary), "host", 0o600)
	must(os.Remove(w.layout.Merged(w.name)))
	must(os.Mkdir(filepath.Join(w.layout.Runtime(w.name), ".merged.new"), 0o700))
}

// leftMounted: up, but nobody uses it.
func leftMounted(w *world) {
	w.blank()
	w.configure(w.name, oldConfig)
	w.arrange(helperProgram, "mount", string(w.name))
	save := filepath.Join(w.layout.Merged(w.name), "left4dead2/save.dat")
	write(save, "what the game wrote", 0o644)
	must(os.Chown(save, gameUID, gameGID))
	w.configure(w.name, newConfig)
}

func inspectHelper(w *world, j job, r run, before state) {
	mounts := w.mounts()
	mounting := strings.HasPrefix(j.Scenario, "mount")
	switch {
	case len(mounts) > 1:
		w.problem("%d overlays are mounted", len(mounts))
	case r.Code == 0 && mounting:
		w.up()
	case r.Code == 0:
		w.down()
	case r.Code == 1 && mounting && len(mounts) == 1 && mounts[0].ID != before.mount:
		w.problem("it failed, and left its overlay mounted")
	}
	w.same("instances/"+string(w.name), before.own, look(w.layout.Instance(w.name), true))
	w.same("the rest", before.rest, w.rest())
	w.kept(before.upper.without(passing...), look(w.layout.Upper(w.name), false).without(passing...))
	for _, name := range names(w.layout.Runtime(w.name)) {
		if !slices.Contains(slices.Concat(records, unfinished), name) {
			w.problem("there is runtime/%s/%s", w.name, name)
		}
	}
	w.recorded()
	w.unlocked(w.layout.Lock(w.name))
	w.before = before
}

// records are what the helper writes down about a run; nothing depends on them.
var records = []string{instance.StartedFile, instance.EndedFile}

// unfinished is what else may be in the runtime directory until the next mount.
var unfinished = []string{
	"upper", "work", "merged", "lock", ".upper.new", ".work.new", ".merged.new",
	"." + instance.StartedFile + ".l4d2-host", "." + instance.EndedFile + ".l4d2-host",
}

// recorded checks that each record is whole, if it is there.
func (w *world) recorded() {
	if _, err := record.ReadStart(w.layout, w.name); err != nil && !errors.Is(err, record.ErrNone) {
		w.problem("%v", err)
	}
	if _, err := record.ReadEnd(w.layout, w.name); err != nil && !errors.Is(err, record.ErrNone) {
		w.problem("%v", err)
	}
}

// kept checks that upper is as it was, but for server.cfg, which is whole, and
// the directories above it, which may be new.
func (w *world) kept(was, is tree) {
	for _, path := range []string{".", "left4dead2", "left4dead2/cfg", serverConfig} {
		if _, found := was[path]; !found || path == serverConfig {
			was, is = was.without(path), is.without(path)
		}
	}
	w.same("upper", was, is)
	switch text := contents(filepath.Join(w.layout.Upper(w.name), serverConfig)); text {
	case oldConfig, newConfig, missing:
	default:
		w.problem("server.cfg in upper is %q", text)
	}
}

// afterHelper does what comes next: systemd calls unmount after a mount that
// failed, and an operator may call either.
func afterHelper(w *world, j job) {
	name := string(w.name)
	if j.Then == "unmount" && w.expect(helperProgram, "unmount", name) {
		if n := len(w.mounts()); n != 0 {
			w.problem("after unmount, %d overlays are mounted", n)
		}
	}
	if !w.expect(helperProgram, "mount", name) {
		if w.expect(helperProgram, "unmount", name) && w.expect(helperProgram, "mount", name) {
			w.problem("(unmount and mount again helped)")
		}
	}
	w.up()
	if w.expect(helperProgram, "unmount", name) {
		w.down()
	}
	w.kept(w.before.upper.without(passing...), look(w.layout.Upper(w.name), false))
	w.same("the rest", w.before.rest, w.rest())
	w.unlocked(w.layout.Lock(w.name))
	w.unlocked(w.layout.ReleasesLock())
}

// up checks that the instance is mounted and complete.
func (w *world) up() {
	if n := len(w.mounts()); n != 1 {
		w.problem("%d overlays are mounted, want 1", n)
		return
	}
	merged := w.layout.Merged(w.name)
	want := map[string]string{"left4dead2.txt": "installation", serverConfig: newConfig, temporary: missing}
	if w.name == modded {
		want["left4dead2/mod.txt"] = "mod"
	}
	for path, text := range want {
		if got := contents(filepath.Join(merged, path)); got != text {
			w.problem("merged/%s is %q, want %q", path, got, text)
		}
	}
	w.owned(map[string]string{
		"":                       "drwxr-x--- 0:61235",
		"upper":                  "drwxr-x--- 61234:61235",
		"work":                   "drwx------ 0:0",
		"lock":                   "-rw------- 0:0",
		"merged":                 "drwxr-x--- 61234:61235",
		"merged/left4dead2":      "drwxr-xr-x 61234:61235",
		"merged/left4dead2/cfg":  "drwxr-xr-x 61234:61235",
		"merged/" + serverConfig: "-rw-r----- 0:61235",
	})
	var st unix.Statfs_t
	must(unix.Statfs(merged, &st))
	if st.Type != unix.OVERLAYFS_SUPER_MAGIC || st.Flags&unix.ST_RDONLY != 0 {
		w.problem("merged is read-only, or no overlay: %+v", st)
	}
}

// owned checks the modes and owners of paths in the runtime directory.
func (w *world) owned(want map[string]string) {
	for path, what := range want {
		got, err := describe(filepath.Join(w.layout.Runtime(w.name), path), false)
		if err != nil {
			w.problem("%v", err)
		} else if !strings.HasPrefix(got, what) {
			w.problem("runtime/%s/%s is %s, want %s", w.name, path, got, what)
		}
	}
}

// down checks that nothing is mounted, and nothing is in the way of a mount.
func (w *world) down() {
	if n := len(w.mounts()); n != 0 {
		w.problem("%d overlays are mounted, want none", n)
		return
	}
	dir := w.layout.Runtime(w.name)
	w.recorded()
	got := slices.DeleteFunc(names(dir), func(name string) bool { return slices.Contains(records, name) })
	if want := []string{"lock", "merged", "upper", "work"}; !slices.Equal(got, want) {
		w.problem("runtime/%s holds %q, want %q", w.name, got, want)
	}
	for _, empty := range []string{"merged", "work"} {
		if got := names(filepath.Join(dir, empty)); len(got) != 0 {
			w.problem("%s holds %q", empty, got)
		}
	}
	w.owned(map[string]string{"merged": "drwx------ 0:0", "work": "drwx------ 0:0", "upper": "drwxr-x--- 61234:61235"})
	fd, err := unix.Open(w.layout.Upper(w.name), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(err)
	defer unix.Close(fd)
	if err := overlay.InUse(fd); err != nil {
		w.problem("upper after the unmount: %v", err)
	}
}
