package packagetest

import "strings"

// debSteps are the states that dpkg knows and the ways between them.
var debSteps = []step{
	{"deb/installed in a chroot, then booted", func(h *host) {
		h.sh("%s >/root/before", listing)
		h.inChroot("dpkg -i " + oldDeb)
		h.want("", "systemctl list-units --no-legend l4d2.target 'l4d2@*'") // systemd was not asked
		h.must(h.Reboot(h.ctx))
		h.laidOut()
		h.want("active", "systemctl is-active l4d2.target")
		h.makeServers()
		h.sh("systemctl start l4d2@enabled l4d2@byhand")
		h.answers("enabled")
		h.answers("byhand")
		h.note()
	}},
	{"deb/upgraded", func(h *host) {
		h.keepsRunning(func() { h.sh("dpkg -i %s", newDeb) })
		h.laidOut()
		h.stopsByHelper(h.version(newDeb))
	}},
	{"deb/downgraded", func(h *host) {
		h.keepsRunning(func() { h.sh("dpkg -i %s", oldDeb) })
		h.laidOut()
		h.stopsByHelper(h.version(oldDeb))
		h.keepsRunning(func() { h.sh("dpkg -i %s", newDeb) })
	}},
	{"deb/installed again", func(h *host) {
		h.keepsRunning(func() { h.sh("dpkg -i %s", newDeb) })
		h.stopsByHelper(h.version(newDeb))
	}},
	{"deb/upgraded where the installation is a link to a release", func(h *host) {
		h.sh("systemctl stop l4d2.target && cd /var/lib/l4d2 && mv installation release && ln -s release installation && systemctl start l4d2.target l4d2@byhand")
		h.keepsRunning(func() { h.sh("dpkg -i %s", newDeb) })
		h.want("release", "readlink /var/lib/l4d2/installation")
		h.sh("systemctl stop l4d2.target && cd /var/lib/l4d2 && rm installation && mv release installation && systemctl start l4d2.target l4d2@byhand")
	}},
	{"deb/downgraded and upgraded where the installation is a release", func(h *host) {
		h.sh("l4d2ctl adopt")
		before := h.sh("readlink /var/lib/l4d2/installation && cd /var/lib/l4d2/releases && find . -printf '%%P %%y %%m %%U:%%G %%i\n' | sort")
		for _, deb := range []string{oldDeb, newDeb} {
			h.keepsRunning(func() { h.sh("dpkg -i %s", deb) })
			h.stopsByHelper(h.version(deb))
			h.want(before, "readlink /var/lib/l4d2/installation && cd /var/lib/l4d2/releases && find . -printf '%%P %%y %%m %%U:%%G %%i\n' | sort")
		}
		h.sh("systemctl stop l4d2.target && cd /var/lib/l4d2 && release=$(readlink -f installation) && rm installation && mv $release installation && rm -r releases/* && systemctl start l4d2.target l4d2@byhand")
	}},
	{"deb/upgraded where the administrator decided otherwise", func(h *host) {
		h.sh("systemctl stop l4d2.target")
		h.wantIn("the upgrade", h.sh("dpkg -i %s", newDeb), "l4d2.target is not active")
		h.want("inactive", "systemctl is-active l4d2.target || true")
		h.sh("systemctl disable l4d2.target")
		if out := h.sh("dpkg -i %s", newDeb); strings.Contains(out, "l4d2.target") {
			h.t.Errorf("says something of a target that is disabled:\n%s", out)
		}
		h.want("disabled", "systemctl is-enabled l4d2.target || true")
		h.wantGone("enabled")
		h.sh("systemctl enable --now l4d2.target && systemctl start l4d2@byhand")
		h.answers("enabled")
	}},
	{"deb/upgrade aborted", func(h *host) {
		h.sh(`cd /root && dpkg-deb -R %s tree && touch tree/usr/bin/env && dpkg-deb -Znone -b tree clash.deb && rm -r tree`, newDeb)
		h.keepsRunning(func() { h.fails("dpkg -i /root/clash.deb", "trying to overwrite '/usr/bin/env'") })
		h.wantState("installed")
		h.stopsByHelper(h.version(newDeb))
	}},
	{"deb/half-configured", func(h *host) {
		h.must(h.WriteFile("/usr/local/bin/systemd-tmpfiles", []byte("#!/bin/sh\nexit 1\n"), 0o755))
		h.keepsRunning(func() { h.fails("dpkg -i " + newDeb) })
		h.wantState("half-configured")
		h.stopsByHelper(h.version(newDeb))
		h.sh("rm /usr/local/bin/systemd-tmpfiles")
		h.keepsRunning(func() { h.sh("dpkg --configure l4d2-host") })
		h.wantState("installed")
	}},
	{"deb/removal refused while a server's tree is in use", func(h *host) {
		pid, end := h.hold("byhand")
		h.fails("dpkg -r l4d2-host", "byhand", "pid "+pid, "not removed")
		h.wantState("installed")
		h.sh("test -x %s", helper)
		h.answers("enabled") // that the removal had stopped
		end()
		h.sh("systemctl start l4d2@byhand")
		h.answers("byhand")
	}},
	{"deb/removed", func(h *host) {
		h.sh("dpkg -r l4d2-host")
		h.wantState("config-files")
		h.wantRemoved()
	}},
	{"deb/installed after a removal", func(h *host) {
		h.sh("dpkg -i %s", newDeb)
		h.laidOut()
		h.answers("enabled")
		if pids := h.pids(); len(pids) != 1 {
			h.t.Errorf("running: %v, want the server that is enabled", pids)
		}
		h.sh("systemctl start l4d2@byhand")
	}},
	{"deb/removed while unpacked", func(h *host) {
		h.keepsRunning(func() { h.sh("dpkg --unpack %s", newDeb) })
		h.wantState("unpacked")
		_, end := h.hold("byhand")
		h.fails("dpkg -r l4d2-host", "byhand/merged: target is busy")
		end()
		h.sh("dpkg -r l4d2-host")
		h.wantRemoved()
	}},
	{"deb/removed while half-configured", func(h *host) {
		h.must(h.WriteFile("/usr/local/bin/systemd-tmpfiles", []byte("#!/bin/sh\nexit 1\n"), 0o755))
		h.fails("dpkg -i " + newDeb)
		h.wantState("half-configured")
		h.sh("rm /usr/local/bin/systemd-tmpfiles")
		h.sh("systemctl daemon-reload && systemctl start l4d2@enabled && dpkg -r l4d2-host")
		h.wantRemoved()
	}},
	{"deb/purged after a removal", func(h *host) {
		h.wantIn("the purge", h.sh("dpkg -P l4d2-host"), "stay in /var/lib/l4d2")
		h.wantPurged()
	}},
	{"deb/installed after a purge", func(h *host) {
		h.sh("dpkg -i %s", newDeb)
		h.laidOut()
		if pids := h.pids(); len(pids) != 0 {
			h.t.Errorf("running: %v, but the purge forgot what is enabled", pids)
		}
		h.sh("l4d2ctl start enabled byhand")
	}},
	{"deb/purged with servers running", func(h *host) {
		h.answers("enabled")
		h.sh("systemctl enable --now l4d2-update.timer && test -L /etc/systemd/system/timers.target.wants/l4d2-update.timer")
		h.wantIn("the purge", h.sh("dpkg -P l4d2-host"), "stay in /var/lib/l4d2")
		h.wantPurged()
	}},
	{"deb/purged in a chroot", func(h *host) {
		h.inChroot("dpkg -i " + newDeb)
		h.want("enabled", "systemctl is-enabled l4d2.target")
		h.inChroot("dpkg -P l4d2-host")
		h.wantPurged()
	}},
	{"deb/purged when nothing is left", func(h *host) {
		h.sh("dpkg -i %s && mkdir /root/kept-data && mv /var/lib/l4d2/* /root/kept-data/", newDeb)
		h.sh("dpkg -i %s", newDeb)
		if out := h.sh("dpkg -P l4d2-host"); strings.Contains(out, "stay in") {
			h.t.Errorf("says that something stays:\n%s", out)
		}
		h.want("", "%s | grep -vxFf /root/before || true", listing)
	}},
	{"deb/installation aborted", func(h *host) {
		h.fails("dpkg -i /root/clash.deb", "trying to overwrite '/usr/bin/env'")
		h.want("", "%s | grep -vxFf /root/before || true", listing)
		h.want("", "dpkg-query -W -f '${db:Status-Status}' l4d2-host 2>/dev/null | grep -v not-installed || true")
	}},
	{"deb/never configured, removed", func(h *host) {
		h.sh("dpkg --unpack %s && dpkg -P l4d2-host", newDeb)
		h.want("", "%s | grep -vxFf /root/before || true", listing)
	}},
}

// listing prints every file that a package could have left. The second line
// leaves out what others make at any time.
const listing = `find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /root -o -path /mnt -o -path ` + hostUsr + ` \) -prune -o -print |
	grep -v -e '^/var/log/' -e '^/var/lib/dpkg/' -e '^/var/cache/' -e '^/var/tmp/' -e '^/etc/\(passwd\|group\|shadow\|gshadow\)-$' -e '^/etc/\.' -e '^/var/lib/systemd/' | sort`

// version returns what the programs of a package say they are.
func (h *host) version(deb string) string {
	h.t.Helper()
	return strings.TrimSuffix(h.sh("dpkg-deb --field %s Version", deb), "-1")
}

func (h *host) wantState(want string) {
	h.t.Helper()
	h.want(want, "dpkg-query -W -f '${db:Status-Status}' l4d2-host")
}

// wantRemoved fails the test unless nothing runs, and the data and what starts at
// boot are as they were.
func (h *host) wantRemoved() {
	h.t.Helper()
	for name := range ports {
		h.wantGone(name)
	}
	h.kept()
	h.want("", "systemctl list-units --no-legend l4d2.target 'l4d2@*'")
	h.sh("test ! -e /usr/bin/l4d2ctl && test ! -e %s && test -L %s && test -L %s/l4d2@enabled.service",
		"/usr/lib/systemd/system/l4d2@.service.d", atBoot, wants)
}

// wantPurged fails the test unless nothing but the data is left.
func (h *host) wantPurged() {
	h.t.Helper()
	for name := range ports {
		h.wantGone(name)
	}
	h.kept()
	h.want("", "%s | grep -vxFf /root/before | grep -v '^/var/lib/l4d2' || true", listing)
	h.want("not-installed", "dpkg-query -W -f '${db:Status-Status}' l4d2-host 2>/dev/null || echo not-installed")
}
