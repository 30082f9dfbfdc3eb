package activation

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

// tick lets the clock that files are stamped by move on.
func tick() { time.Sleep(30 * time.Millisecond) }

// restart unmounts and mounts again, and returns what was said of the latter.
func (h *host) restart() string {
	h.t.Helper()
	h.mustUnmount()
	h.said.Reset()
	h.mustMount()
	return h.said.String()
}

const hides = "its own files that hide newer ones of its layers: "

func TestWarnsOfFilesThatHideNewerOnes(t *testing.T) {
	h := newHost(t)
	h.layer("one")
	h.layer("two")
	h.configure("one")
	h.mustMount()
	for i := range 7 {
		h.write(h.upper(fmt.Sprintf("left4dead2/own%d", i)), "old")
	}
	h.write(h.upper("left4dead2/same"), "same")
	h.write(h.upper("left4dead2/\x1b[31m\n<3>forged"), "old")
	h.write(h.upper("left4dead2/"+strings.Repeat("x", 255)), "old")
	tick()
	newer := func(layer string, names ...string) {
		for _, name := range names {
			h.write(filepath.Join(h.Layout.Overlay(instance.Name(layer)), "left4dead2", name), "new")
		}
		h.write(filepath.Join(h.Layout.Overlay(instance.Name(layer)), "left4dead2/same"), "same")
		h.write(filepath.Join(h.Layout.Overlay(instance.Name(layer)), "left4dead2/cfg/server.cfg"), "theirs")
	}
	newer("two", "own0", "own1")
	if said := h.restart(); strings.Contains(said, hides) {
		t.Errorf("the layers are the same as before:\n%s", said)
	}
	h.configure("two", "one")
	said := h.restart()
	if !strings.Contains(said, "<4>"+hides+`2 ("left4dead2/own`) || strings.Count(said, hides) != 1 ||
		!strings.Contains(said, "see l4d2ctl plan a, and give them up with l4d2ctl reset a PATH\n") || strings.Contains(said, "same") || strings.Contains(said, "server.cfg\"") {
		t.Errorf("said:\n%s", said)
	}
	if said := h.restart(); strings.Contains(said, hides) {
		t.Errorf("said again, though nothing has changed:\n%s", said)
	}

	// A few are named, and no name forges a line.
	newer("two", "own2", "own3", "\x1b[31m\n<3>forged", strings.Repeat("x", 255))
	h.configure("two")
	said = h.restart()
	if !strings.Contains(said, hides+"6 (") || !strings.Contains(said, ", …); see") || strings.ContainsAny(said, "\x1b") || strings.Contains(said, "\n<3>") || len(said) > 3000 {
		t.Errorf("said:\n%s", said)
	}
	h.mustUnmount()
}

// The search ends before all is looked at, whatever the game has written.
func TestHidingIsBounded(t *testing.T) {
	h := newHost(t)
	h.layer("one")
	h.configure()
	h.mustMount()
	must(t, os.MkdirAll(h.upper("left4dead2/many"), 0o755))
	for i := range hidingNames + 10 {
		fd, err := unix.Open(h.upper(fmt.Sprintf("left4dead2/many/%d", i)), unix.O_CREAT|unix.O_WRONLY, 0o644)
		must(t, err)
		unix.Close(fd)
	}
	h.write(h.Layout.Overlay("one")+"/left4dead2/many/x", "")
	h.configure("one")
	h.mustUnmount()
	h.said.Reset()
	began := time.Now()
	h.mustMount()
	t.Logf("with %d files of its own the mount took %s", hidingNames, time.Since(began))
	if said := h.said.String(); !strings.Contains(said, "too many to compare all of them") || !strings.Contains(said, "l4d2ctl plan a\n") {
		t.Errorf("said:\n%s", said)
	}
	h.mustUnmount()
}

// A record that cannot be read keeps no server from starting.
func TestHidingWithoutRecord(t *testing.T) {
	for _, damage := range []func(h *host){
		func(h *host) { h.write(h.Layout.Started("a"), "nonsense") },
		func(h *host) { must(t, os.Remove(h.Layout.Started("a"))) },
		func(h *host) {
			must(t, os.Remove(h.Layout.Started("a")))
			must(t, os.Mkdir(h.Layout.Started("a"), 0o755))
		},
	} {
		h := newHost(t)
		h.mustMount()
		h.mustUnmount()
		damage(h)
		h.mustMount()
		h.mustUnmount()
	}
}
