package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"l4d2-host/internal/doctor"
	"l4d2-host/internal/instance"
)

// checked runs check and returns what it found, each as "LEVEL INSTANCE CHECK:
// TEXT".
func (h *host) checked(args ...string) string {
	h.t.Helper()
	h.run(ExitFailed, append([]string{"check", "--json"}, args...)...) // a test's root has no game
	var findings []doctor.Finding
	must(h.t, json.Unmarshal(h.out.Bytes(), &findings))
	var lines []string
	for _, f := range findings {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Level, f.Instance, f.Check, f.Text))
		if (f.Level == doctor.Error || f.Level == doctor.Warning) && f.Advice == "" {
			h.t.Errorf("no advice: %+v", f)
		}
	}
	return strings.Join(lines, "\n")
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	h := newHost(t, "a", "b", "c")
	want := func(found string, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(found, text) {
				t.Errorf("lacks %q:\n%s", text, found)
			}
		}
	}
	found := h.checked()
	want(found, "ok a spec: ", "ok b spec: ", "ok a mounts: inactive, and nothing is mounted", "ok  leftovers: ", "error  installation: there is no game", "ok  systemd: systemd 252.1-2")
	if strings.Contains(found, "error a") {
		t.Errorf("found:\n%s", found)
	}

	must(t, os.WriteFile(h.layout.ServerConfig("a"), []byte("hostname edited\n"), 0o640))
	must(t, os.WriteFile(h.layout.Spec("b"), []byte("port: 27015\nbogus: 1\n"), 0o640))
	must(t, os.WriteFile(h.layout.Env("c"), []byte("L4D2_PORT=27015\nL4D2_ARGS=\nL4D2_LOWERDIRS=overlays/gone:installation\n"), 0o640))
	must(t, os.Mkdir(h.layout.Runtime("old"), 0o755))
	h.set("a", up)
	found = h.checked()
	want(found,
		"warning a files: not as the spec would have them (edited by hand, or made by another version): "+h.layout.ServerConfig("a"),
		"error b spec: "+h.layout.Spec("b")+":2: unknown key",
		"warning c files: ",
		"port 27015 is that of several instances: a, c",
		"error a mounts: the unit is active, and nothing is mounted",
		"warning  leftovers: "+h.layout.Runtime("old"))

	h.makeCurrent("", "r1")
	must(t, os.Remove(h.layout.Installation()))
	must(t, os.Symlink("releases/r1/tree/", h.layout.Installation()))
	want(h.checked(), "error  installation: "+h.layout.Installation()+" leads into "+h.layout.Releases()+" by a way of its own")

	// One instance alone.
	if found := h.checked("a"); strings.Contains(found, " b ") || strings.Contains(found, "leftovers") {
		t.Errorf("check a found:\n%s", found)
	}
	h.run(ExitFailed, "check", "nobody")
	h.says(&h.err, "l4d2ctl: check: nobody: no such instance")
	h.run(ExitFailed, "check", "a")
	h.says(&h.out, "warning  a: files: not as the spec", "         → write them again with: l4d2ctl init a ", " ok, ", " errors, ")
	h.says(&h.err, "l4d2ctl: check: something is wrong")
}

func TestCheckChangesNothing(t *testing.T) {
	h := newHost(t, "a", "b")
	must(t, os.RemoveAll(h.layout.Runtime("a"))) // one that never ran
	h.systemd = nil
	before := snapshot(t, h.layout)
	h.checked()
	h.program.Superuser = false
	h.checked()
	if after := snapshot(t, h.layout); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// snapshot is all that can be told of a root, but for the times of access.
func snapshot(t *testing.T, l instance.Layout) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(l.Root(), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintln(&b, path, st.Ino, st.Mode, st.Uid, st.Gid, st.Size, st.Mtim, st.Ctim)
		return nil
	}))
	return b.String()
}
