package systemtest

import (
	"strings"
	"testing"
)

const helper = "/usr/libexec/l4d2-host/l4d2-overlay"

// Each of these makes the unit's first step fail, with the reason in the
// journal and in what l4d2ctl prints, and nothing left mounted.
func TestStartRefused(t *testing.T) {
	onEach(t, func(h *host) {
		h.layer("passing", map[string]string{"x.txt": "x"})
		h.init("refuse", 27120)
		h.dropIn("refuse", "[Service]\nRestart=no\n")
		for name, tt := range map[string]struct{ spoil, mend, want string }{
			"layer missing": {
				"mv /var/lib/l4d2/overlays/mod /var/lib/l4d2/overlays/away", "mv /var/lib/l4d2/overlays/away /var/lib/l4d2/overlays/mod",
				"overlays/mod): no such directory",
			},
			"environment broken": {
				"cd /var/lib/l4d2/instances/refuse && cp -p instance.env good && echo 'L4D2_PORT: 1' >>instance.env",
				"cd /var/lib/l4d2/instances/refuse && mv good instance.env", "instance.env:",
			},
			"installation missing": {
				"mv /var/lib/l4d2/installation /var/lib/l4d2/away", "mv /var/lib/l4d2/away /var/lib/l4d2/installation",
				"installation): no such directory",
			},
			"port taken": {
				"cp -a /var/lib/l4d2/installation /root/squat && systemd-run -q --unit=squatter -p WorkingDirectory=/root/squat /root/squat/srcds_linux -game left4dead2 -ip 0.0.0.0 -port 27120 && until ss -Hlun 'sport = :27120' | grep -q .; do sleep 0.05; done",
				"systemctl stop squatter && rm -r /root/squat", "port 27120/udp is in use",
			},
		} {
			h.sh("%s", tt.spoil)
			out := h.fails("l4d2ctl start refuse", tt.want)
			if !strings.Contains(out, "hint") {
				t.Errorf("%s: no hint:\n%s", name, out)
			}
			h.fails("systemctl start l4d2@refuse")
			wantIn(t, name, h.journal("refuse"), tt.want)
			h.wantGone("refuse")
			h.sh("%s", tt.mend)
			h.sh("l4d2ctl start refuse && l4d2ctl stop refuse")
		}
		h.fails("systemctl start l4d2@unknown", "Assertion failed")
		h.fails("l4d2ctl start unknown", "unknown", "init")
	})
}

func TestLeftOverMounts(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("left", 27121)
		h.dropIn("left", "[Service]\nRestart=no\n")
		// Ours and idle: healed.
		h.sh("%s mount left", helper)
		h.sh("l4d2ctl start left")
		h.answers(27121)
		if n := h.mounts("left"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		wantIn(t, "journal", h.journal("left"), "left over from an earlier run")
		h.sh("l4d2ctl stop left")
		h.wantGone("left")

		// Ours and busy: refused until it is free.
		h.sh("%s mount left", helper)
		pid := h.sitIn(merged("left"))
		h.fails("l4d2ctl start left", "still mounted from an earlier run, and in use", "pid "+pid)
		if n := h.mounts("left"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		h.end(pid)
		h.sh("l4d2ctl start left && l4d2ctl stop left")
		h.wantGone("left")

		// Someone else's, idle and busy: left alone.
		h.sh("mount -t tmpfs someone %s", merged("left"))
		h.fails("l4d2ctl start left", `"someone" (tmpfs) is mounted at`)
		pid = h.sitIn(merged("left"))
		h.fails("l4d2ctl start left", `"someone" (tmpfs) is mounted at`, "pid "+pid)
		h.end(pid)
		h.sh("umount %s", merged("left"))
		h.sh("l4d2ctl start left && l4d2ctl stop left")
		h.wantGone("left")
	})
}

// sitIn starts a process with its working directory in dir and returns its pid.
func (h *host) sitIn(dir string) string {
	h.t.Helper()
	return h.sh("cd %s && (setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!)", dir)
}

// end kills a process and waits until it holds nothing any more.
func (h *host) end(pid string) {
	h.t.Helper()
	h.sh("kill %s && while [ -e /proc/%s/cwd ]; do sleep 0.01; done", pid, pid)
}

func TestShellInMergedBlocksStop(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("held", 27122)
		h.dropIn("held", "[Service]\nRestart=no\n")
		h.sh("l4d2ctl start held")
		h.answers(27122)
		h.sh("echo precious >%s/left4dead2/note", merged("held"))
		pid := h.sitIn(merged("held") + "/left4dead2")
		h.fails("l4d2ctl stop held")
		if got := h.show("held", "ActiveState"); got != "failed" {
			t.Errorf("the unit is %s", got)
		}
		wantIn(t, "journal", h.journal("held"), "busy", "pid "+pid, `"sleep"`, "cwd", merged("held")+"/left4dead2")
		h.fails("l4d2ctl start held", "in use", "pid "+pid)
		if n := h.mounts("held"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		h.end(pid)
		h.sh("l4d2ctl start held")
		h.answers(27122)
		if n := h.mounts("held"); n != 1 {
			t.Errorf("%d overlays are mounted", n)
		}
		if got := h.sh("cat %s/left4dead2/note", merged("held")); got != "precious" {
			t.Errorf("the note reads %q", got)
		}
		h.sh("l4d2ctl stop held")
		h.wantGone("held")
	})
}

func TestDelete(t *testing.T) {
	onEach(t, func(h *host) {
		// While running.
		h.init("del", 27123)
		h.init("other", 27124)
		h.sh("systemctl enable --now l4d2@del l4d2@other")
		h.answers(27124)
		pid := h.mainPID("other")
		h.sh("l4d2ctl delete --yes del")
		for _, dir := range []string{"instances", "runtime"} {
			if out := h.sh("ls -A /var/lib/l4d2/%s", dir); strings.Contains(out, "del") {
				t.Errorf("left in %s: %s", dir, out)
			}
		}
		if out := h.sh("ls /etc/systemd/system/l4d2.target.wants"); out != "l4d2@other.service" {
			t.Errorf("enabled: %s", out)
		}
		if h.mainPID("other") != pid {
			t.Error("another instance was touched")
		}
		wantIn(t, "delete of something unknown", h.sh("l4d2ctl delete --yes del"), "del", "no such instance")

		// While someone sits in it: nothing is removed.
		h.sh("echo precious >%s/left4dead2/note", merged("other"))
		sitter := h.sitIn(merged("other"))
		h.fails("l4d2ctl delete --yes other", "pid "+sitter)
		h.sh("test -f /var/lib/l4d2/instances/other/instance.yaml && test -f /var/lib/l4d2/runtime/other/upper/left4dead2/note")
		h.end(sitter)

		// With a bind mount inside: it is not crossed, and nothing is removed.
		h.sh("mkdir -p /root/data && echo mine >/root/data/file")
		for _, inside := range []string{"/var/lib/l4d2/runtime/other/upper/left4dead2/logs", "/var/lib/l4d2/instances/other"} {
			h.sh("mount --bind /root/data %s", inside)
			h.fails("l4d2ctl delete --yes other", inside)
			h.sh("umount %s", inside)
			h.sh("test -f /root/data/file && test -f /var/lib/l4d2/instances/other/instance.yaml && test -f /var/lib/l4d2/runtime/other/upper/left4dead2/note")
		}
		h.sh("l4d2ctl delete --yes other && test -f /root/data/file")
	})
}
