package systemtest

import "fmt"

// applied: the servers follow, each once nobody plays on it.
func (u *updated) applied() {
	u.t.Helper()
	u.initWith("ap-b", yaml("ap-b", 28330))
	u.sh("l4d2ctl start ap-b")
	u.answers(28330)
	u.console(28200, "players 1")
	before := u.news("up-a")
	u.valve()
	now := fmt.Sprintf("build %d", u.builds)
	u.fails("l4d2ctl update --apply --within 3s", now+", is current", "ap-b: restarted", "up-a: left", "left as they are: 1")
	if a, b := u.news("up-a"), u.news("ap-b"); a != before || b != now {
		u.t.Errorf("up-a, which is played on, has %s, before %s; ap-b has %s", a, before, b)
	}
	u.console(28200, "players 0")
	pid := u.mainPID("ap-b")
	wantIn(u.t, "l4d2ctl update --apply", u.sh("l4d2ctl update --apply"), "up to date", "up-a: restarted")
	if got := u.news("up-a"); got != now || u.mainPID("ap-b") != pid {
		u.t.Errorf("up-a has %s; ap-b was process %d and is %d", got, pid, u.mainPID("ap-b"))
	}
	wantIn(u.t, "l4d2ctl update --apply", u.sh("l4d2ctl update --apply"), "nothing to restart")
	u.followed("up-a", "ap-b")
	u.sh("l4d2ctl delete --yes ap-b")
	u.idle()
}

// followed: the terminal is closed in mid-download, and the servers follow all the
// same; but not an update that is cancelled.
func (u *updated) followed(names ...string) {
	u.t.Helper()
	begin := func() {
		u.valve("UPDATE_FAILS=hang")
		// A terminal's end is ignored by what was started so, tests under nohup too.
		u.sh("setsid env --default-signal=HUP l4d2ctl update --apply >/root/apply.log 2>&1 &")
		u.hangs()
	}
	begin()
	wantIn(u.t, "the status", u.sh("l4d2ctl restart --when-empty --status 2>&1"), "a rolling restart waits for the end of l4d2-update.service\n")
	u.fails("l4d2ctl update --apply", "another rolling restart is under way")
	u.sh("pkill -HUP -f '^l4d2ctl update --apply'")
	u.eventually("l4d2ctl is gone", func() bool { return u.sh("pgrep -f '^l4d2ctl update --apply' || true") == "" })
	u.sh("pkill -KILL -P $(systemctl show -P MainPID l4d2-update)") // it is tried again
	now := fmt.Sprintf("build %d", u.builds)
	for _, n := range names {
		u.eventually(n+" has followed", func() bool {
			return u.sh("systemctl is-active l4d2@%s || true", n) == "active" && u.sh("cat %s/left4dead2/news.txt || true", merged(n)) == now
		})
	}
	u.eventually("the restarts have ended", func() bool { return u.sh("systemctl is-active l4d2-restart || true") == "inactive" })
	begin()
	u.sh("l4d2ctl update --cancel")
	u.eventually("nothing waits", func() bool { return u.sh("systemctl list-jobs --no-legend") == "" })
	wantIn(u.t, "l4d2ctl update --apply", u.sh("cat /root/apply.log"), "no server is restarted")
	begin()
	u.sh("l4d2ctl restart --when-empty --cancel")
	u.sh("pkill -KILL -P $(systemctl show -P MainPID l4d2-update)")
	u.eventually("the update has ended", func() bool { return u.release() != "" && u.sh("systemctl is-active l4d2-update || true") == "inactive" })
	if got := u.news(names[0]); got != now {
		u.t.Errorf("after a restart that was cancelled %s has %s", names[0], got)
	}
}

// cancelled: by l4d2ctl while another follows, and by a signal that no stop goes
// with.
func (u *updated) cancelled() {
	u.t.Helper()
	u.begin()
	u.fails("(sleep 1; l4d2ctl update --cancel) & l4d2ctl update; code=$?; wait; exit $code",
		"an update is running already", "someone else cancelled the job", "cancelled; the next update goes on")
	u.unmounted()
	if got := u.sh("systemctl is-active l4d2-update || true"); got != "inactive" {
		u.t.Errorf("a cancelled update is %s", got)
	}
	u.begin()
	u.sh("kill -TERM $(systemctl show -P MainPID l4d2-update)")
	u.eventually("the update has failed", func() bool { return u.sh("systemctl is-active l4d2-update || true") == "failed" })
	wantIn(u.t, "journal", u.log(), "the download was stopped before it was finished")
	u.unmounted()
	wantIn(u.t, "l4d2ctl update", u.update(), fmt.Sprintf(", build %d, is current", u.builds))
}
