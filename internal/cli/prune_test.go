package cli

import (
	"bytes"
	"os"
	"testing"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
)

// questioned does something once the program asks whether to go on.
type questioned struct {
	text *bytes.Buffer
	do   func()
}

func (q *questioned) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("go on?")) {
		q.do()
	}
	return q.text.Write(p)
}

// A question that nobody answers keeps no update from changing the releases, and
// what has come into use meanwhile stays.
func TestPruneAsks(t *testing.T) {
	h := newHost(t, "a")
	for _, n := range []instance.Name{"r3", "r2", "r1"} { // each by itself, and r1 is current
		h.makeCurrent("", n)
	}
	ours, programs := terminal(t)
	h.program.In = programs
	h.program.Err = &questioned{&h.err, func() {
		lock, err := lockfile.TryLock(h.layout.ReleasesChange())
		if err != nil {
			t.Errorf("the releases cannot be changed meanwhile: %v", err)
		}
		must(t, lock.Unlock())
		must(t, os.Remove(h.layout.Installation()))
		must(t, os.Symlink(chain.Tree("r2"), h.layout.Installation()))
		_, err = ours.WriteString("y\n")
		must(t, err)
	}}
	h.run(ExitDone, "prune", "--keep", "0")
	h.says(&h.out, "r3: removed\n")
	h.says(&h.err, "l4d2ctl: 1 are used meanwhile, and stay\n")
	h.run(ExitDone, "releases")
	h.says(&h.out, "r1 ", "r2 ")
}

// As many as no host has, and more than a number can say.
func TestPruneKeeps(t *testing.T) {
	h := newHost(t)
	h.makeCurrent("", "r2")
	h.makeCurrent("", "r1")
	h.run(ExitDone, "prune", "--yes", "--keep", "65535")
	h.says(&h.out, "no release can be removed")
	h.run(ExitUsage, "prune", "--yes", "--keep", "18446744073709551615")
	h.run(ExitDone, "prune", "--yes", "--keep", "0")
	h.says(&h.out, "r2: removed\n")
}
