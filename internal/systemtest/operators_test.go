package systemtest

import (
	"regexp"
	"strings"
	"testing"

	"l4d2-host/internal/machine"
)

// operators are systems that others than root operate, and from afar.
var operators = map[machine.Distribution][]string{
	machine.Debian12: {"polkitd", "openssh-server"},
	machine.Debian13: {"polkitd", "openssh-server", "ansible-core", "python3-apt"},
}

// as is a command line of another user.
func as(user, command string) string { return "runuser -u " + user + " -- " + command }

// user makes a user, and removes it when the test ends.
func (h *host) user(name, options string) {
	h.t.Helper()
	h.sh("useradd --create-home --shell /bin/sh %s %s", options, name)
	h.t.Cleanup(func() { h.sh("userdel --remove %s 2>/dev/null", name) })
}

// denied is what systemctl, systemd-run and l4d2ctl say when polkit says no.
var denied = regexp.MustCompile(`(?i)access denied|interactive authentication required|authentication is required`)

// refused runs a command that has to fail because this user may not do it.
func (h *host) refused(command string) {
	h.t.Helper()
	if out := h.fails(command); !denied.MatchString(out) {
		h.t.Errorf("%s: failed for another reason: %s", command, out)
	}
}

// The group l4d2-admin starts, stops and restarts the servers, and does nothing
// else.
func TestAdminGroup(t *testing.T) {
	onEachWith(t, operators, func(h *host) {
		if got := h.sh("getent group l4d2-admin"); !regexp.MustCompile(`^l4d2-admin:x:\d+:$`).MatchString(got) {
			t.Errorf("the group is %q, want it to be there and empty", got)
		}
		h.user("moderator", "--groups l4d2-admin")
		h.user("player", "")
		h.init("admin", 28101)
		is := func(what, want string) {
			t.Helper()
			if got := h.show("admin", "ActiveState"); got != want {
				t.Errorf("%s: the unit is %s, want %s", what, got, want)
			}
		}
		for _, tool := range []string{"systemctl --no-ask-password", "l4d2ctl"} {
			unit := "admin"
			if tool != "l4d2ctl" {
				unit = "l4d2@admin"
			}
			command := func(user, verb string) string { return as(user, tool+" "+verb+" "+unit) }
			h.refused(command("player", "start"))
			is("player's start", "inactive")
			h.sh("%s", command("moderator", "start"))
			is("moderator's start", "active")
			pid := h.mainPID("admin")
			h.refused(command("player", "stop"))
			h.refused(command("player", "restart"))
			if h.mainPID("admin") != pid {
				t.Error("player restarted the server")
			}
			h.sh("%s", command("moderator", "restart"))
			is("moderator's restart", "active")
			if h.mainPID("admin") == pid {
				t.Error("moderator did not restart the server")
			}
			h.sh("%s", command("moderator", "stop"))
			is("moderator's stop", "inactive")
			h.wantGone("admin")
		}
	})
}

// notTheirs are commands that the group may not run, all on one instance, the
// first ones with a unit that looks like one.
var notTheirs = []string{
	`start 'l4d2@ADMIN'`,
	`start 'l4d2@admin\x2f..'`,
	`start 'l4d2@\x2e\x2e-admin'`,
	`start ../l4d2@admin.service`,
	`start xl4d2@admin`,
	`start l4d2@admin.socket`,
	`start l4d2.target`,
	`stop l4d2.target`,
	`stop l4d2.slice`,
	`stop ssh.service`,
	`restart systemd-journald.service`,
	`stop var-lib-l4d2-runtime-admin-merged.mount`,
	`kill l4d2@admin`,
	`reset-failed l4d2@admin`,
	`reset-failed`,
	`reload l4d2@admin`,
	`try-restart l4d2@admin`,
	`reload-or-restart l4d2@admin`,
	`set-property --runtime l4d2@admin MemoryMax=100M`,
	`freeze l4d2@admin`,
	`clean --what=all l4d2@admin`,
	`enable l4d2@admin`,
	`disable l4d2@admin`,
	`mask l4d2@admin`,
	`daemon-reload`,
	`set-environment A=b`,
}

func TestAdminGroupDoesNothingElse(t *testing.T) {
	onEachWith(t, operators, func(h *host) {
		h.user("jack", "--groups l4d2-admin")
		h.init("theirs", 28102)
		h.sh("l4d2ctl start theirs")
		pid := h.mainPID("theirs")
		for _, command := range notTheirs {
			h.refused(as("jack", "systemctl --no-ask-password "+strings.ReplaceAll(command, "admin", "theirs")))
		}
		// A unit of their own making, as root, under the name of an instance or
		// beside one. Polkit is asked as for any start by some versions of systemd.
		for _, unit := range []string{"l4d2@mine.service", "l4d2@theirs.service"} {
			h.fails(as("jack", "systemd-run --no-ask-password --unit="+unit+" touch /root/owned"))
			h.fails(as("jack", "busctl --allow-interactive-authorization=no call org.freedesktop.systemd1 /org/freedesktop/systemd1"+
				" org.freedesktop.systemd1.Manager StartTransientUnit 'ssa(sv)a(sa(sv))' "+unit+" replace 0"+
				" 1 evil.service 1 ExecStart 'a(sasb)' 1 /usr/bin/touch 2 touch /root/owned false"))
		}
		h.fails("systemctl status evil.service")
		h.sh("test ! -e /root/owned")
		h.fails(as("jack", "systemctl --no-ask-password --job-mode=isolate start l4d2@theirs"))
		if h.mainPID("theirs") != pid {
			t.Error("the server was restarted")
		}
		if got := h.sh("systemctl is-active ssh.service l4d2@theirs l4d2.target | sort -u"); got != "active" {
			t.Errorf("states: %s", got)
		}
	})
}
