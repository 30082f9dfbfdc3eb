package systemtest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// finding is one of l4d2ctl check --json.
type finding struct {
	Level, Check, Instance, Text, Advice string
}

// check returns what l4d2ctl check finds about one instance, each as "LEVEL
// INSTANCE CHECK: TEXT".
func (h *host) check(name string) []string {
	h.t.Helper()
	res, err := h.Run(h.ctx, "l4d2ctl", "check", "--json", name)
	h.must(err)
	var findings []finding
	if err := json.Unmarshal([]byte(res.Stdout), &findings); err != nil {
		h.t.Fatalf("l4d2ctl check: %v: %s%s", err, res.Stdout, res.Stderr)
	}
	var lines []string
	wrong := 0
	for _, f := range findings {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", f.Level, f.Instance, f.Check, f.Text))
		if f.Level == "error" {
			wrong = 1
		}
	}
	if res.Code != wrong {
		h.t.Errorf("exit code %d:\n%s", res.Code, strings.Join(lines, "\n"))
	}
	return lines
}

// wantFound requires a finding that begins with head and holds text.
func (h *host) wantFound(what string, found []string, head, text string) {
	h.t.Helper()
	if !slices.ContainsFunc(found, func(line string) bool {
		return strings.HasPrefix(line, head) && strings.Contains(line, text)
	}) {
		h.t.Errorf("%s: no %q with %q in:\n%s", what, head, text, strings.Join(found, "\n"))
	}
}

// tree is all that a check of chk could touch, as far as it can be told; other
// tests are at work beside it.
const tree = `cd /var/lib/l4d2 && find installation overlays/mod instances/chk runtime/chk /usr/share/l4d2-host /usr/libexec/l4d2-host ` +
	`-printf '%p %i %M %U %G %s %T@ %C@\n' | sort; cat /proc/filesystems`

func TestCheck(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("chk", 28500)
		found := h.check("chk")
		for head, text := range map[string]string{
			"ok  kernel": "overlays are mounted with", "ok  systemd": "systemd 2", "ok  user": "l4d2", "ok  directories": "/var/lib/l4d2",
			"ok  helper": helper, "ok  steam": "bin/steamclient.so",
			"ok  unit: /": "l4d2@.service is installed and unchanged", "ok  unit: /usr/lib/systemd/system/l4d2-update.service": "", "ok  unit: /usr/lib/systemd/system/l4d2-update.timer": "", "ok  ports": "", "ok  layers: /var/lib/l4d2/overlays/mod": "",
			"ok chk spec": "", "ok chk mounts": "nothing is mounted", "ok chk tree": "",
		} {
			h.wantFound("a healthy instance", found, head, text)
		}
		// The stand-in has 64 bits where the kernel runs no others.
		if !slices.ContainsFunc(found, func(line string) bool {
			return line == "ok  installation: /var/lib/l4d2/installation/srcds_linux is a 32-bit program" ||
				line == "warning  installation: /var/lib/l4d2/installation/srcds_linux is a 64-bit program, and Valve's is a 32-bit one"
		}) {
			t.Errorf("the installation is not in:\n%s", strings.Join(found, "\n"))
		}
		h.sh("l4d2ctl start chk")
		h.answers(28500)
		found = h.check("chk")
		h.wantFound("running", found, "ok chk mounts", "active, and mounted")
		h.wantFound("running", found, "ok  ports", "")
		h.sh("l4d2ctl stop chk")
		found = h.check("chk")
		h.wantFound("after a run", found, "ok chk tree", "")

		// It changes nothing; nor does one that may see little.
		before := h.sh("%s", tree)
		h.check("chk")
		h.sh("l4d2ctl check chk >/dev/null || true")
		out := h.sh("setpriv --reuid=65534 --regid=65534 --clear-groups l4d2ctl check || true")
		wantIn(t, "as nobody", out, "unknown", "run it as root", "installation: /var/lib/l4d2/installation/srcds_linux is a")
		if after := h.sh("%s", tree); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	})
}

// Each of these is found, and gone once it is mended.
func TestCheckFinds(t *testing.T) {
	onEach(t, func(h *host) {
		h.layer("chk-layer", map[string]string{"addons/sub/x.txt": "x"})
		h.initWith("ill", strings.Replace(yaml("ill", 28501), "[mod]", "[chk-layer, mod]", 1))
		h.t.Cleanup(func() { h.sh("l4d2ctl delete --yes ill; rm -r /var/lib/l4d2/overlays/chk-layer") })
		h.dropIn("ill", "[Service]\nRestart=no\n")
		h.wantFound("drop-in", h.check("ill"), "ok ill unit", "/etc/systemd/system/l4d2@ill.service.d/test.conf")
		h.sh("rm -r /etc/systemd/system/l4d2@ill.service.d && systemctl daemon-reload")
		h.sh("l4d2ctl start ill && l4d2ctl stop ill")
		const left, instance, layer = "/var/lib/l4d2/runtime/ill", "/var/lib/l4d2/instances/ill", "/var/lib/l4d2/overlays/chk-layer"
		for name, tt := range map[string]struct{ spoil, mend, head, text string }{
			"stale mount": {helper + " mount ill", helper + " unmount ill", "error ill mounts", "is still mounted, and the unit is inactive"},
			"foreign mount": {"mount -t tmpfs other " + left + "/merged", "umount " + left + "/merged",
				"error ill tree", `"other" (tmpfs) is mounted at`},
			"detached overlay": {
				helper + " mount ill && cd " + left + "/merged && (setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $! >/run/ill.pid) && cd / && umount -l " + left + "/merged",
				"kill $(cat /run/ill.pid) && while [ -e /proc/$(cat /run/ill.pid)/cwd ]; do sleep 0.01; done", "error ill tree", "in use by another overlay",
			},
			"layer not the user's": {"chown root " + layer + "/left4dead2/addons/sub", "chown l4d2 " + layer + "/left4dead2/addons/sub",
				"warning  layers: " + layer, `1 of its directories, the first is "` + layer + `/left4dead2/addons/sub" (owner 0:`},
			"addons not the user's": {"chown root " + layer + "/left4dead2/addons", "chown l4d2 " + layer + "/left4dead2/addons",
				"warning ill tree", layer + "/left4dead2/addons: the game's user cannot write there"},
			"layer missing": {"mv " + layer + " /root/away", "mv /root/away " + layer, "error ill tree", "no such directory"},
			"edited by hand": {"cp -p " + instance + "/server.cfg /root/kept.cfg; echo x >>" + instance + "/server.cfg", "cp -p /root/kept.cfg " + instance + "/server.cfg",
				"warning ill files", instance + "/server.cfg"},
			"readable by all":      {"chmod 644 " + instance + "/server.cfg", "chmod 640 " + instance + "/server.cfg", "warning ill files", instance + "/server.cfg"},
			"runtime is another's": {"chown l4d2 " + left, "chown root " + left, "error ill tree", "others than root can write it"},
			"port taken": {"cp -a /var/lib/l4d2/installation /root/squat && systemd-run -q --unit=squat-ill -p WorkingDirectory=/root/squat /root/squat/srcds_linux -game left4dead2 -ip 0.0.0.0 -port 28501 && until ss -Hlun 'sport = :28501' | grep -q .; do sleep 0.05; done",
				"systemctl stop squat-ill", "error  ports", `unit "squat-ill.service"`},
			"unit edited": {"mkdir -p /usr/local/lib/systemd/system && cp /usr/lib/systemd/system/l4d2.target /usr/local/lib/systemd/system/ && echo '# mine' >>/usr/local/lib/systemd/system/l4d2.target",
				"rm /usr/local/lib/systemd/system/l4d2.target", "warning  unit", "/usr/local/lib/systemd/system/l4d2.target is not as this version"},
			"unit masked": {"mkdir -p /run/systemd/system && ln -s /dev/null /run/systemd/system/l4d2.target", "rm /run/systemd/system/l4d2.target",
				"error  unit", "/run/systemd/system/l4d2.target is masked"},
			"timer masked": {"mkdir -p /run/systemd/system && ln -s /dev/null /run/systemd/system/l4d2-update.timer", "rm /run/systemd/system/l4d2-update.timer",
				"warning  unit", "/run/systemd/system/l4d2-update.timer is masked: no update starts by itself"},
			"slice edited": {"mkdir -p /usr/local/lib/systemd/system && cp /usr/lib/systemd/system/l4d2.slice /usr/local/lib/systemd/system/ && echo '# mine' >>/usr/local/lib/systemd/system/l4d2.slice",
				"rm /usr/local/lib/systemd/system/l4d2.slice", "warning  unit", "/usr/local/lib/systemd/system/l4d2.slice is not as this version"},
			"watcher missing":       {"mv /usr/libexec/l4d2-host/l4d2-watch /root/", "mv /root/l4d2-watch /usr/libexec/l4d2-host/", "error  watcher", "no such file or directory: no server can start"},
			"watcher not to be run": {"chmod 644 /usr/libexec/l4d2-host/l4d2-watch", "chmod 755 /usr/libexec/l4d2-host/l4d2-watch", "error  watcher", "every server starts with it"},
		} {
			h.sh("%s", tt.spoil)
			h.wantFound(name, h.check("ill"), tt.head, tt.text)
			h.sh("%s", tt.mend)
			for _, line := range h.check("ill") {
				if strings.HasPrefix(line, tt.head) && strings.Contains(line, tt.text) {
					t.Errorf("%s: mended, and yet: %s", name, line)
				}
			}
		}
		// A layer that root unpacked: said once, with the command that mends it.
		h.sh("chown -R root:root %s", layer)
		out := h.sh("l4d2ctl check ill || true")
		wantIn(t, "as text", out, "warning  layers: "+layer, "→ chown -R l4d2:l4d2 "+layer)
		h.sh("chown -R l4d2:l4d2 %s", layer)
	})
}

// What show says is started is what is started.
func TestShowIsWhatRuns(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("seen", 28502, `'+sv_tags "a b"'`, "-tickrate 100")
		h.dropIn("seen", "[Service]\nNice=5\n")
		var shown struct {
			Commands [][]string `json:"commands"`
			DropIns  []string   `json:"drop_ins"`
		}
		h.must(json.Unmarshal([]byte(h.sh("l4d2ctl show --passwords --json seen")), &shown))
		h.sh("l4d2ctl start seen")
		h.answers(28502)
		data, err := h.ReadFile(fmt.Sprintf("/proc/%d/cmdline", h.mainPID("seen")))
		h.must(err)
		running := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
		// env replaces itself by what it is told to run.
		if len(shown.Commands) != 1 || len(shown.Commands[0]) < len(running) || !slices.Equal(shown.Commands[0][len(shown.Commands[0])-len(running):], running) {
			t.Errorf("shown   %q\nrunning %q", shown.Commands, running)
		}
		if !slices.Contains(shown.DropIns, "/etc/systemd/system/l4d2@seen.service.d/test.conf") {
			t.Errorf("drop-ins %q", shown.DropIns)
		}
		if out := h.sh("l4d2ctl show seen"); strings.Contains(out, password) {
			t.Errorf("shows the password:\n%s", out)
		}
		h.sh("VISUAL='sed -i s/Server/Edited/' l4d2ctl edit seen && l4d2ctl restart seen")
		if name := h.answers(28502).Name; name != "Edited seen" {
			t.Errorf("after the edit it is %q", name)
		}
	})
}
