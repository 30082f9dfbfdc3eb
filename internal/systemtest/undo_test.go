package systemtest

import (
	"fmt"
	"strings"
	"testing"
)

// listing says all that matters of a tree: not the sizes of directories, which
// grow with what once was in them.
func (h *host) listing(dir string) string {
	h.t.Helper()
	return h.sh(`cd %s && find . -type d -printf '%%P %%y %%m %%U:%%G %%T@\n' -o -printf '%%P %%y %%m %%U:%%G %%s %%T@ %%l\n' | sort`, dir)
}

// A server changes its files; the operator looks, gives some up, all of it,
// and takes it back, and starts a copy of it.
func TestUndo(t *testing.T) {
	onEach(t, func(h *host) {
		h.init("undo", 28401)
		h.sh("l4d2ctl start undo")
		h.answers(28401)
		h.sh(`runuser -u l4d2 -- sh -c 'cd %s/left4dead2 && echo mine >motd.txt && rm missioncycle.txt &&
			rm -r scripts && mkdir scripts && echo new >scripts/new.txt && mkfifo fifo && echo own >addons/mod.txt &&
			ln motd.txt motd2.txt && ln -s motd.txt motd3.txt && touch -d 2001-02-03T04:05:06.789 addons/mod.txt'`, merged("undo"))

		look := func() string {
			t.Helper()
			out := h.sh("l4d2ctl diff undo 2>/dev/null")
			wantIn(t, "diff", out, "left4dead2/motd.txt  (was 8 B, from installation)", "left4dead2/addons/mod.txt  (was 10 B, from overlays/mod)",
				"left4dead2/motd2.txt", "left4dead2/scripts/  (opaque: hides all that layers have there, from installation)", "left4dead2/scripts/new.txt")
			for _, gone := range []string{"left4dead2/missioncycle.txt", "left4dead2/scripts/weapons.txt", "left4dead2/scripts/vscripts/"} {
				if !strings.Contains(out, gone) || strings.Contains(out, "added  "+gone) {
					t.Errorf("diff: %s is not deleted:\n%s", gone, out)
				}
			}
			if strings.Contains(out, "cfg/server.cfg") {
				t.Errorf("diff: the generated server.cfg is no change of the server's:\n%s", out)
			}
			return h.sh("l4d2ctl diff --all --json undo 2>/dev/null")
		}
		look()
		wantIn(t, "diff --text", h.sh("l4d2ctl diff undo --text left4dead2/motd.txt"), "--- installation/left4dead2/motd.txt", "-Welcome", "+mine")
		wantIn(t, "which", h.sh("l4d2ctl which undo left4dead2/addons/mod.txt left4dead2/gameinfo.txt"),
			"left4dead2/addons/mod.txt: file from upper; shadows overlays/mod (10 B)", "left4dead2/gameinfo.txt: file from installation")
		h.fails("l4d2ctl which undo left4dead2/scripts/weapons.txt", "hidden by left4dead2/scripts in upper, which shadows installation")

		// What would be torn or pulled away beneath the server is refused.
		for _, command := range []string{"reset --yes undo", "reset --yes undo left4dead2/motd.txt", "backup undo"} {
			h.fails("l4d2ctl "+command, "it is active", "stop it first: l4d2ctl stop undo")
		}
		wantIn(t, "backup --running", h.sh("l4d2ctl backup --running undo -o /root/undo-live.tar.zst"), "undo: backed up to /root/undo-live.tar.zst",
			"undo: left4dead2/fifo: left out: it is a fifo")
		h.fails("l4d2ctl restore --yes undo /root/undo-live.tar.zst", "it is active")
		h.answers(28401)

		h.sh("l4d2ctl stop undo && rm /var/lib/l4d2/runtime/undo/upper/left4dead2/fifo")
		upper := "/var/lib/l4d2/runtime/undo/upper"
		before, changes := h.listing(upper), look()

		// Whoever holds the instance keeps a start waiting, and is waited for.
		h.sh("exec 9>/var/lib/l4d2/runtime/undo/lock && flock 9 && ! l4d2ctl reset --yes undo >/root/undo-held 2>&1; exec 9>&-")
		wantIn(t, "reset while held", h.sh("cat /root/undo-held"), "another process holds the lock")
		if now := h.listing(upper); now != before {
			t.Errorf("before\n%s\nafter\n%s", before, now)
		}

		h.fails("l4d2ctl reset --yes undo left4dead2/scripts/weapons.txt", "reset that: l4d2ctl reset undo left4dead2/scripts")
		h.sh("l4d2ctl backup undo -o /root/undo.tar.zst")
		h.sh("l4d2ctl reset --yes undo left4dead2/scripts left4dead2/missioncycle.txt")
		h.sh("l4d2ctl start undo")
		h.answers(28401)
		if got := h.sh("cd %s/left4dead2 && cat missioncycle.txt motd.txt && ls scripts", merged("undo")); got != "c1m1_hotel\nmine\nvscripts\nweapons.txt" {
			t.Errorf("after the reset of two paths: %q", got)
		}
		h.sh("l4d2ctl stop undo && l4d2ctl reset --yes undo && l4d2ctl start undo")
		h.answers(28401)
		if got := h.sh("cat %s/left4dead2/motd.txt %s/left4dead2/addons/mod.txt", merged("undo"), merged("undo")); got != "Welcome\nof the mod" {
			t.Errorf("after the reset of all: %q", got)
		}
		h.sh("l4d2ctl stop undo")

		h.sh("l4d2ctl restore --yes --state-only undo /root/undo.tar.zst")
		if now := h.listing(upper); now != before {
			t.Errorf("before\n%s\nrestored\n%s", before, now)
		}
		if now := look(); now != changes {
			t.Errorf("before\n%s\nrestored\n%s", changes, now)
		}
		if got := h.sh("stat -c '%%a %%U:%%G' /var/lib/l4d2/backups /var/lib/l4d2/backups/undo-* | sort -u"); got != "600 root:root\n700 root:root" {
			t.Errorf("the backups are %q", got)
		}
		h.sh("l4d2ctl start undo")
		h.answers(28401)
		if got := h.sh("cd %s/left4dead2 && cat motd.txt motd2.txt motd3.txt && ls scripts && ! ls missioncycle.txt 2>&1", merged("undo")); !strings.HasPrefix(got, "mine\nmine\nmine\nnew.txt\n") {
			t.Errorf("after the restore: %q", got)
		}

		// A copy runs beside it.
		h.fails("l4d2ctl clone undo undo2 --port 28402 --with-state", "it is active")
		h.t.Cleanup(func() { h.sh("for n in undo2 undo3 undo4; do l4d2ctl delete --yes $n; done") })
		h.sh("l4d2ctl clone undo undo2 --port 28402 --with-state --running && l4d2ctl start undo2")
		if info := h.answers(28402); info.Name != "Server undo" {
			t.Errorf("the copy answers %+v", info)
		}
		if got := h.sh("cd %s/left4dead2 && cat motd.txt && ls scripts", merged("undo2")); got != "mine\nnew.txt" {
			t.Errorf("the copy has %q", got)
		}
		// So does a backup, with its spec, as a new instance; and a copy of the spec
		// alone, which begins with what the layers have.
		h.sh("l4d2ctl restore --yes --port 28403 undo3 /root/undo.tar.zst && l4d2ctl clone undo undo4 --port 28404 && l4d2ctl start undo3 undo4")
		for i, want := range []string{"mine\nnew.txt", "Welcome\nvscripts\nweapons.txt"} {
			if info := h.answers(28403 + i); info.Name != "Server undo" {
				t.Errorf("on port %d answers %+v", 28403+i, info)
			}
			if got := h.sh("cd %s/left4dead2 && cat motd.txt && ls scripts", merged(fmt.Sprintf("undo%d", 3+i))); got != want {
				t.Errorf("undo%d has %q, want %q", 3+i, got, want)
			}
		}
		h.sh("l4d2ctl stop undo undo2 undo3 undo4")
		for _, name := range []string{"undo", "undo2", "undo3", "undo4"} {
			h.wantGone(name)
		}
	})
}
