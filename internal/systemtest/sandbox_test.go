package systemtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"l4d2-host/internal/standin"
)

// The game sees and writes its own merged tree, and nothing else.
func TestSandbox(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("box", 27130, "+standin_dump dump.json")
		h.init("neighbour", 27131)
		h.sh("l4d2ctl start box neighbour")
		h.answers(27130)
		h.answers(27131)
		look := func(path string) string { return h.console(27130, "look "+path) }
		poke := func(path string) string { return h.console(27130, "poke "+path) }

		// Its tree is what it finds at /var/lib/l4d2, and there is no way around it.
		if out := look("/var/lib/l4d2"); !strings.Contains(out, "srcds_linux") || strings.Contains(out, "instances") {
			t.Errorf("the game sees at /var/lib/l4d2:\n%s", out)
		}
		if out := poke("left4dead2/addons/new.txt"); strings.Contains(out, "errno") || strings.Contains(out, "denied") {
			t.Errorf("can't write its own tree: %s", out)
		}
		for _, path := range []string{
			"/var/lib/l4d2/instances/neighbour/server.cfg", "/var/lib/l4d2/instances/box/server.cfg", "/var/lib/l4d2/instances",
			"/var/lib/l4d2/runtime/neighbour/merged", "/var/lib/l4d2/runtime/box/upper", "/var/lib/l4d2/runtime/box/work",
			"/var/lib/l4d2/installation", "/var/lib/l4d2/overlays",
			fmt.Sprintf("/proc/%d/root", h.mainPID("neighbour")), "/root",
		} {
			if out := look(path); !strings.Contains(out, "ENOENT") && !strings.Contains(out, "EACCES") {
				t.Errorf("the game sees %s:\n%s", path, out)
			}
		}
		if out := look("/usr/libexec/l4d2-host/l4d2-overlay"); !strings.Contains(out, "ENOENT") && !strings.Contains(out, "EACCES") {
			t.Errorf("the game sees the helper:\n%s", out)
		}
		for _, path := range []string{"/etc/passwd", "/usr/bin/new", "/var/lib/new", "/var/lib/l4d2/runtime/new", "/run/new", "/dev/new", "/home/new", "/sys/kernel/new"} {
			if out := poke(path); !strings.Contains(out, "EROFS") && !strings.Contains(out, "EACCES") && !strings.Contains(out, "EPERM") && !strings.Contains(out, "ENOENT") {
				t.Errorf("the game writes %s:\n%s", path, out)
			}
		}
		var dump standin.Dump
		h.must(json.Unmarshal([]byte(h.sh("cat %s/dump.json", merged("box"))), &dump))
		if dump.UID == 0 || fmt.Sprint(dump.UID) != h.sh("id -u l4d2") || dump.Directory != "/var/lib/l4d2" {
			t.Errorf("uid %d, directory %s", dump.UID, dump.Directory)
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if caps := dump.Status[set]; strings.Trim(caps, "0") != "" {
				t.Errorf("%s is %s", set, caps)
			}
		}
		if dump.Status["NoNewPrivs"] != "1" || dump.Status["Seccomp"] != "2" {
			t.Errorf("NoNewPrivs %s, Seccomp %s", dump.Status["NoNewPrivs"], dump.Status["Seccomp"])
		}
		// What its namespace has of the neighbour's mount, out of sight, goes with it.
		h.sh("l4d2ctl stop neighbour")
		if n := h.sh("grep -c l4d2:neighbour /proc/%d/mountinfo || true", h.mainPID("box")); n != "0" {
			t.Errorf("%s copies of the neighbour's mount outlive its stop", n)
		}
	})
}
