package systemtest

import (
	"testing"

	"l4d2-host/internal/machine"
)

// loopback lets root log in as root and as user by ssh, over the machine's
// loopback device.
func (h *host) loopback(user string) {
	h.t.Helper()
	h.sh(`mkdir -p /root/.ssh /home/%[1]s/.ssh && chmod 700 /root/.ssh /home/%[1]s/.ssh
rm -f /root/.ssh/id_ed25519 && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cat /root/.ssh/id_ed25519.pub >>/root/.ssh/authorized_keys
cp /root/.ssh/id_ed25519.pub /home/%[1]s/.ssh/authorized_keys && chown -R %[1]s /home/%[1]s/.ssh
printf 'StrictHostKeyChecking accept-new\nBatchMode yes\nConnectTimeout 60\n' >/root/.ssh/config
systemctl start ssh.service`, user)
}

// An operator's other machine is this one, by ssh.
func TestOtherHost(t *testing.T) {
	onEachWith(t, operators, func(h *host) {
		h.user("zoey", "--groups l4d2-admin")
		h.loopback("zoey")
		h.must(h.WriteFile("/root/far.yaml", []byte(yaml("far", 28110)), 0o644))
		h.t.Cleanup(func() { h.sh("l4d2ctl delete --yes far") })
		wantIn(t, "init", h.sh("l4d2ctl --host root@localhost init far /root/far.yaml"), "far: created")
		wantIn(t, "start", h.sh("l4d2ctl --host zoey@localhost start far"), "far: started (pid ")
		h.answers(28110)
		pid := h.mainPID("far")
		wantIn(t, "list", h.sh("l4d2ctl list -H root@localhost:22"), "far", "28110", "active")
		wantIn(t, "systemctl", h.sh("systemctl -H zoey@localhost is-active l4d2@far"), "active")
		h.sh("l4d2ctl --host=zoey@localhost restart far")
		if h.mainPID("far") == pid {
			t.Error("not restarted")
		}
		wantIn(t, "stop", h.sh("l4d2ctl -Hroot@localhost stop far"), "far: stopped")
		h.wantGone("far")

		// What fails says why, as it does without --host.
		h.must(h.WriteFile("/root/far.yaml", []byte(yaml("far", 28110, "+standin_exit 3")), 0o644))
		h.sh("l4d2ctl -H root@localhost init far /root/far.yaml")
		h.dropIn("far", "[Service]\nRestart=no\nExecStartPre=/bin/sh -c 'echo no good; exit 7'\n")
		h.fails("l4d2ctl -H root@localhost start far", "l4d2ctl: start: far: start l4d2@far.service: the unit failed", "no good")
		h.sh("rm -r /etc/systemd/system/l4d2@far.service.d && systemctl daemon-reload")
		h.fails("l4d2ctl -H root@localhost start nowhere", "nowhere", "an assertion of the unit is not met")
		h.fails("l4d2ctl -H zoey@localhost delete --yes far", "must be root")
		h.fails("l4d2ctl -H nobody@localhost start far", "connect to systemd on nobody@localhost", "Permission denied")
		h.fails("l4d2ctl -H root@nowhere.invalid start far", "connect to systemd on root@nowhere.invalid")

		// Ctrl-C takes the job back; a terminal sends it to ssh too.
		h.dropIn("far", "[Service]\nExecStartPre=sleep 300\nRestart=no\n")
		h.fails("timeout --preserve-status --signal=INT 30 l4d2ctl -H root@localhost start far; code=$?; echo exit code $code; exit $code",
			"interrupted: the job is cancelled", "exit code 130")
		// What systemd had begun goes on, as without --host.
		h.sh("systemctl stop l4d2@far; rm -r /etc/systemd/system/l4d2@far.service.d; systemctl daemon-reload")
		h.wantGone("far")
	})
}

// The playbook that comes with the package, run twice over ssh: the second time
// nothing is to do.
func TestAnsible(t *testing.T) {
	debian13 := map[machine.Distribution][]string{machine.Debian13: operators[machine.Debian13]}
	onEachWith(t, debian13, func(h *host) {
		h.user("ellis", "")
		h.loopback("ellis")
		h.t.Cleanup(func() {
			h.sh("l4d2ctl delete --yes one; l4d2ctl delete --yes two; rm -rf /etc/l4d2 /root/play /var/cache/l4d2-host.deb")
		})
		playbook, err := h.ReadFile("/usr/share/doc/l4d2-host/examples/playbook.yml")
		h.must(err)
		for name, text := range map[string]string{
			"playbook.yml":   string(playbook),
			"specs/one.yaml": yaml("one", 28120),
			"specs/two.yaml": yaml("two", 28121),
			"inventory.yml": "l4d2:\n  hosts:\n    localhost:\n      l4d2_servers: [one, two]\n" +
				"  vars:\n    ansible_user: root\n    ansible_connection: ssh\n",
		} {
			h.must(h.WriteFile("/root/play/"+name, []byte(text), 0o644))
		}
		h.sh("ln -sf /root/l4d2-host.deb /root/play/l4d2-host.deb")
		play := "cd /root/play && LC_ALL=C.UTF-8 ANSIBLE_PIPELINING=1 ansible-playbook -i inventory.yml playbook.yml"
		// It installs the package itself.
		h.sh("dpkg -r l4d2-host && test ! -e /usr/bin/l4d2ctl")
		wantIn(t, "first run", h.sh("%s", play), "ok=6", "changed=6", "failed=0", "unreachable=0")
		if state := h.sh("dpkg-query -W -f '${db:Status-Status}' l4d2-host"); state != "installed" {
			t.Errorf("after the first run the package is %s", state)
		}
		h.answers(28120)
		h.answers(28121)
		if row := h.list()["two"]; !row.Enabled || row.State != "active" {
			t.Errorf("after the first run: %+v", row)
		}
		pid := h.mainPID("one")
		wantIn(t, "second run", h.sh("%s", play), "ok=6", "changed=0", "failed=0", "unreachable=0")
		if h.mainPID("one") != pid {
			t.Error("the second run restarted a server")
		}
		// A changed spec is a change, and no server is stopped for it.
		h.must(h.WriteFile("/root/play/specs/two.yaml", []byte(yaml("two", 28121)+"  - sv_tags changed\n"), 0o644))
		wantIn(t, "third run", h.sh("%s", play), "ok=6", "changed=2", "failed=0")
		wantIn(t, "server.cfg", h.sh("cat /var/lib/l4d2/instances/two/server.cfg"), "sv_tags changed")
	})
}
