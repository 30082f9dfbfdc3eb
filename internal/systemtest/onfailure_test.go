package systemtest

import (
	"strings"
	"testing"
)

// The example tells someone when systemd has given up on a server, and is
// silent about a server that is running again.
func TestOnFailure(t *testing.T) {
	onEach(t, func(h *host) {
		h.sh(`cd /usr/share/doc/l4d2-host/examples
install -D -m 0755 l4d2-notify /usr/local/libexec/l4d2-notify
install -D -m 0644 l4d2-notify@.service -t /etc/systemd/system
install -D -m 0644 on-failure.conf -t /etc/systemd/system/l4d2@told.service.d
printf '#!/bin/sh\ncat >>/root/mail\n' >/usr/sbin/sendmail && chmod 755 /usr/sbin/sendmail`)
		h.t.Cleanup(func() {
			h.sh("rm -rf /usr/sbin/sendmail /root/mail /usr/local/libexec/l4d2-notify /etc/systemd/system/l4d2-notify@.service")
		})
		h.init("told", 28130)
		h.dropIn("told", "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=1s\nRestartSteps=0\n")
		h.sh("l4d2ctl start told")
		h.answers(28130)
		pid := h.mainPID("told")
		h.sh("kill -KILL %d", pid)
		h.eventually("a restart", func() bool { now := h.mainPID("told"); return now != 0 && now != pid })
		h.answers(28130)
		h.eventually("a notice of the crash ends", func() bool { return h.sh("systemctl show -P ActiveState l4d2-notify@told") == "inactive" })
		h.sh("test ! -e /root/mail")
		h.sh("kill -KILL %d", h.mainPID("told"))
		h.eventually("systemd gives up", func() bool { return h.show("told", "ActiveState") == "failed" })
		h.eventually("a mail", func() bool { return strings.Contains(h.sh("cat /root/mail 2>/dev/null || true"), " is down\n\n") })
		h.eventually("the notice ends", func() bool { return h.sh("systemctl show -P ActiveState l4d2-notify@told") == "inactive" })
		wantIn(t, "mail", h.sh("cat /root/mail"), "To: root\nSubject: Left 4 Dead 2 server told on ", " is down\n\n", "l4d2ctl start told", "killed by signal KILL")
		if got := h.sh("systemctl show -P Result l4d2-notify@told"); got != "success" {
			t.Errorf("the notice ended with %s", got)
		}
	})
}
