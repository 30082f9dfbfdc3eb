package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// makeCurrent makes the first of names a release of a build, over those behind it,
// and the current one.
func (h *host) makeCurrent(build string, names ...instance.Name) {
	h.t.Helper()
	must(h.t, os.MkdirAll(h.layout.ReleaseTree(names[0]), 0o755))
	text, err := chain.Release{Chain: names, Build: build, Date: time.Unix(int64(len(names)), 0)}.Format()
	must(h.t, err)
	must(h.t, os.WriteFile(h.layout.ReleaseFile(names[0]), text, 0o644))
	h.use(names[0])
}

func (h *host) use(n instance.Name) {
	h.t.Helper()
	must(h.t, os.RemoveAll(h.layout.Installation()))
	must(h.t, os.Symlink(chain.Tree(n), h.layout.Installation()))
}

// A server that was started on the plain installation: adopted, updated, taken
// back, pinned; status says each time what it runs on and what a restart brings.
func TestStatusOfReleases(t *testing.T) {
	h := newHost(t, "a")
	h.running("a", gameServer{mapName: "m"}, "")
	started := filepath.Join(h.layout.Root(), "started on")
	must(t, os.Rename(h.layout.Installation(), started))
	h.makeCurrent("", "r1")
	must(t, os.Remove(h.layout.ReleaseTree("r1")))
	must(t, os.Rename(started, h.layout.ReleaseTree("r1")))

	h.run(ExitDone, "status", "a")
	h.says(&h.out, "  layers     1 releases/r1\n", "would change nothing\n")
	h.makeCurrent("", "r2", "r1")
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "  layers     1 releases/r1\n", "would change release: r2 instead of r1\n")
	h.use("r1")
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "would change nothing\n")

	h.use("r2")
	h.writeStart("a")
	must(t, os.WriteFile(filepath.Join(h.layout.ReleaseTree("r1"), "linked"), nil, 0o644)) // as flatten changes it
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "  layers     1 releases/r2\n             2 releases/r1\n", "would change nothing\n")
	h.use("r1")
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "  layers     1 releases/r2\n", "would change release: r1 instead of r2\n")
	must(t, os.Remove(h.layout.ReleaseFile("r1")))
	h.run(ExitDone, "status", "a")
	h.says(&h.out, "perhaps more: ", "release r1, which is not there")
}
