package packagetest

import "strings"

// hostUsr is where the machine sees /usr of the host, whose rpm it uses: no
// system with rpm for its package manager is in reach, and Debian's roots have
// none.
const hostUsr = "/opt/host/usr"

const hostRPM = `#!/bin/sh
export RPM_CONFIGDIR=` + hostUsr + `/lib/rpm
lib=` + hostUsr + `/lib/x86_64-linux-gnu
exec $lib/ld-linux-x86-64.so.2 --library-path $lib ` + hostUsr + `/bin/rpm --dbpath /var/lib/rpm "$@"
`

// rpm is how a package is installed. The system's packages are dpkg's, so the
// dependencies would not be found; packaging's tests look at those.
const rpm = "rpm --force-debian --nodeps --nosignature"

// rpmSteps go on where the deb left the machine.
var rpmSteps = []step{
	{"rpm/installed and erased in a root", func(h *host) {
		for _, does := range []string{"-i " + oldRPM, "-U " + newRPM, "-e l4d2-host"} {
			h.sh("%s && mount -t proc proc /mnt/proc; code=0; %s --root /mnt %s || code=$?; umount /mnt/proc; %s; exit $code",
				mountRoot, rpm, does, unmountRoot)
			h.want("", "systemctl list-units --no-legend l4d2.target 'l4d2@*'")
			if !strings.HasPrefix(does, "-e") {
				h.laidOut()
			}
		}
		h.wantErased()
	}},
	{"rpm/installed as the deb is", func(h *host) {
		h.sh("dpkg -i %s && %s >/root/deb-files && dpkg -P l4d2-host", newDeb, stats)
		h.sh("%s -i %s", rpm, oldRPM)
		h.sh("%s -U %s && %s >/root/rpm-files", rpm, newRPM, stats)
		h.want("", "diff /root/deb-files /root/rpm-files")
		h.laidOut()
		h.sh("%s -U --oldpackage %s", rpm, oldRPM)
		h.sh("cp -a /root/kept-data/. /var/lib/l4d2/ && systemctl enable --now l4d2@enabled && systemctl start l4d2@byhand")
	}},
	{"rpm/upgraded", func(h *host) {
		h.keepsRunning(func() { h.sh("%s -U %s", rpm, newRPM) })
		h.laidOut()
		h.stopsByHelper(h.version(newDeb))
	}},
	{"rpm/downgraded", func(h *host) {
		h.keepsRunning(func() { h.sh("%s -U --oldpackage %s", rpm, oldRPM) })
		h.laidOut()
		h.stopsByHelper(h.version(oldDeb))
		h.keepsRunning(func() { h.sh("%s -U %s", rpm, newRPM) })
	}},
	{"rpm/installed again", func(h *host) {
		h.keepsRunning(func() { h.sh("%s -U --replacepkgs %s", rpm, newRPM) })
		h.laidOut()
		h.stopsByHelper(h.version(newDeb))
	}},
	{"rpm/upgraded where the administrator decided otherwise", func(h *host) {
		h.sh("systemctl disable --now l4d2.target")
		h.sh("%s -U --replacepkgs %s", rpm, newRPM)
		h.want("disabled", "systemctl is-enabled l4d2.target || true")
		h.wantGone("enabled")
		h.sh("systemctl enable --now l4d2.target && systemctl start l4d2@byhand")
		h.answers("enabled")
	}},
	{"rpm/erasure refused while a server's tree is in use", func(h *host) {
		pid, end := h.hold("byhand")
		h.fails(rpm+" -e l4d2-host", "byhand", "pid "+pid, "not removed")
		h.sh("rpm -q l4d2-host && test -x %s", helper)
		end()
		h.sh("systemctl start l4d2@enabled l4d2@byhand")
	}},
	{"rpm/erased with servers running", func(h *host) {
		h.answers("enabled")
		h.wantIn("the erasure", h.sh("%s -e l4d2-host", rpm), "stay in /var/lib/l4d2")
		h.kept()
		for name := range ports {
			h.wantGone(name)
		}
		h.sh("test -L %s/l4d2@enabled.service", wants) // the administrator's
		h.wantErased()
	}},
	{"rpm/installed after an erasure", func(h *host) {
		h.sh("%s -i %s", rpm, newRPM)
		h.laidOut()
		h.answers("enabled")
		h.sh("%s -e l4d2-host", rpm)
	}},
}

// stats prints what the files that both packages have are like, and what their
// scripts made.
const stats = `find /usr/bin/l4d2ctl /usr/libexec/l4d2-host /usr/lib/systemd/system/l4d2* /usr/lib/systemd/system-preset/*l4d2* \
	/usr/share/polkit-1/rules.d/l4d2* /usr/lib/sysusers.d/l4d2* /usr/lib/tmpfiles.d/l4d2* /usr/share/l4d2-host /usr/share/man/man[1578]/l4d2* \
	/usr/share/doc/l4d2-host/README.md /usr/share/doc/l4d2-host/examples /usr/share/bash-completion/completions/l4d2ctl \
	/var/lib/l4d2 ` + atBoot + ` -printf '%%p %%M %%u:%%g %%l\n' | sort`

// wantErased fails the test unless nothing but the data and what starts at boot
// is left; and directories that on systems of rpm's other packages have.
func (h *host) wantErased() {
	h.t.Helper()
	h.want("", `%s | grep -vxFf /root/before | grep -v -e '^/var/lib/rpm' -e '^/var/lib/l4d2' -e '^%s' |
while read -r path; do case $path in *l4d2*) echo "$path";; *) [ -d "$path" ] || echo "$path";; esac; done`, listing, wants)
	if out := h.sh("rpm -q l4d2-host || true"); !strings.Contains(out, "not installed") {
		h.t.Errorf("rpm -q: %s", out)
	}
}
