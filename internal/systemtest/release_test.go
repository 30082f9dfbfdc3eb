package systemtest

import (
	"fmt"
	"strings"
	"testing"
)

// adopt makes the installation the first release, and returns its name. When the
// test ends it is a plain directory again.
func (h *host) adopt() string {
	h.t.Helper()
	h.sh("l4d2ctl adopt")
	h.t.Cleanup(func() {
		// The first has moved on if it was folded, but its files are the same.
		h.sh(`cd /var/lib/l4d2 && rm installation && mv releases/first/tree installation && rm -rf releases/* releases/.[!.]*`)
	})
	first := h.current()
	h.sh("cp -a --reflink=auto /var/lib/l4d2/releases/%s /var/lib/l4d2/releases/.first", first)
	h.t.Cleanup(func() { h.sh("mv /var/lib/l4d2/releases/.first /var/lib/l4d2/releases/first") })
	return first
}

func (h *host) current() string {
	h.t.Helper()
	return h.sh("readlink /var/lib/l4d2/installation | cut -d/ -f2")
}

// publish makes a release of these files, by their paths under left4dead2, over
// the current one, and switches to it; an empty text deletes. An update does the
// same.
func (h *host) publish(name string, files map[string]string) {
	h.t.Helper()
	h.must(h.WriteFile("/root/publish", []byte(publishing(name, "$(readlink /var/lib/l4d2/installation | cut -d/ -f2)", files)), 0o644))
	h.sh("sh -e /root/publish && l4d2ctl rollback %s", name)
}

// publishing is the script that makes a release over the one called below.
func publishing(name, below string, files map[string]string) string {
	tree := "/var/lib/l4d2/releases/" + name + "/tree"
	script := "mkdir -p " + tree + "/left4dead2/deep\n"
	for path, text := range files {
		path = tree + "/left4dead2/" + path
		if text == "" {
			script += fmt.Sprintf("mknod %s c 0 0\n", path)
		} else {
			script += fmt.Sprintf("printf '%%s' '%s' >%s\n", text, path)
		}
	}
	return script + fmt.Sprintf(`chown -R l4d2:l4d2 %s
chain=$(sed -n "s/^CHAIN='*\([^']*\)'*$/\1/p" /var/lib/l4d2/releases/%s/release.env)
printf "CHAIN='%s:%%s'\nBUILD=7\nDATE='%sT00:00:00Z'\nSIZE=1\n" $chain >/var/lib/l4d2/releases/%s/release.env
`, tree, below, name, name[:10], name)
}

func inf(version string) map[string]string {
	return map[string]string{"steam.inf": "PatchVersion=" + version + "\nProductName=left4dead2\nappID=550\nServerAppID=222860\n", "motd.txt": version}
}

// A release's life under running servers: each keeps what it was started on, and
// takes at its next start what is current then, or what it is pinned to.
func TestReleases(t *testing.T) {
	onEach(t, func(h *host) {
		const a, b = 28110, 28111
		h.init("rel-a", a)
		h.init("rel-b", b)
		h.sh("l4d2ctl start rel-a rel-b")
		version := func(port int, want string) {
			t.Helper()
			if got := h.answers(port).Version; got != want {
				t.Errorf("on %d runs version %s, want %s", port, got, want)
			}
		}
		version(a, "2.2.4.3")
		pid := h.mainPID("rel-a")

		first := h.adopt()
		wantIn(t, "status after the adoption", h.sh("l4d2ctl status rel-a"), "would change nothing")
		wantIn(t, "releases", h.sh("l4d2ctl releases"), first, "rel-a,rel-b  current")
		h.sh("test $(readlink /var/lib/l4d2/installation) = releases/%s/tree", first)
		// As the package does when it is installed, and the boot.
		h.sh("systemd-tmpfiles --create l4d2-host.conf; test $(readlink /var/lib/l4d2/installation) = releases/%s/tree", first)
		if out := h.sh("l4d2ctl check || true"); strings.Contains(out, "\nerror") || !strings.Contains(out, "ok       releases: the 1 releases in /var/lib/l4d2/releases are whole") {
			t.Errorf("check: %s", out)
		}

		h.publish("2099-01-01", inf("2.2.4.4"))
		version(a, "2.2.4.3")
		if got := h.sh("cat %s/left4dead2/motd.txt", merged("rel-a")); got != "Welcome" {
			t.Errorf("the running server sees %q", got)
		}
		wantIn(t, "status after an update", h.sh("l4d2ctl status rel-a"), "would change release: 2099-01-01 instead of "+first, "2 releases/"+first)
		wantIn(t, "which", h.sh("l4d2ctl which rel-a left4dead2/motd.txt"), "left4dead2/motd.txt: file from releases/"+first+"/tree")
		h.sh("l4d2ctl restart rel-b")
		version(b, "2.2.4.4")
		wantIn(t, "status", h.sh("l4d2ctl status rel-b"), "2 releases/2099-01-01", "3 releases/"+first, "would change nothing")
		wantIn(t, "which", h.sh("l4d2ctl which rel-b left4dead2/motd.txt left4dead2/gameinfo.txt"),
			"left4dead2/motd.txt: file from releases/2099-01-01/tree; shadows releases/"+first+"/tree (8 B)", "left4dead2/gameinfo.txt: file from releases/"+first+"/tree")

		// Taken back while it runs.
		wantIn(t, "rollback", h.sh("l4d2ctl rollback"), first+": current, in the place of 2099-01-01",
			"rel-b: runs on 2099-01-01, and takes "+first+" at its next start: l4d2ctl restart rel-b")
		version(b, "2.2.4.4")
		h.sh("systemctl kill --signal=SEGV --kill-whom=main l4d2@rel-b")
		h.eventually("the next start takes what is current", func() bool {
			return h.sh("cat %s/left4dead2/motd.txt 2>/dev/null || true", merged("rel-b")) == "Welcome"
		})
		version(b, "2.2.4.3")

		h.initWith("rel-b", yaml("rel-b", b)+"release: 2099-01-01\n")
		h.sh("l4d2ctl restart rel-b")
		version(b, "2.2.4.4")
		wantIn(t, "releases", h.sh("l4d2ctl releases"), "  rel-b   rel-b\n", "rel-a    current")

		// Pinned, mounted, current, and what these lie over.
		h.publish("2099-02-01", inf("2.2.4.5"))
		h.publish("2099-03-01", inf("2.2.4.6"))
		h.sh("l4d2ctl rollback && l4d2ctl restart rel-a")
		version(a, "2.2.4.5")
		h.sh("l4d2ctl rollback %s", first)
		if out := h.sh("l4d2ctl prune --keep 0 --yes"); !strings.HasSuffix(out, "2099-03-01: removed") || strings.Count(out, ": removed") != 1 {
			t.Errorf("prune: %s", out)
		}
		version(a, "2.2.4.5")
		h.fails("l4d2ctl init rel-b /root/rel-a.yaml", "port")
		h.sh("systemctl stop l4d2@rel-a && l4d2ctl prune --keep 0 --yes && test ! -e /var/lib/l4d2/releases/2099-02-01")
		h.sh("l4d2ctl start rel-a")
		version(a, "2.2.4.3")
		version(b, "2.2.4.4")
		h.initWith("rel-b", yaml("rel-b", b))
		h.sh("l4d2ctl prune --keep 0 --yes") // still mounted
		h.sh("test -e /var/lib/l4d2/releases/2099-01-01 && l4d2ctl restart rel-b && l4d2ctl prune --keep 0 --yes")
		version(b, "2.2.4.3")
		if got := h.sh("ls /var/lib/l4d2/releases"); got != first {
			t.Errorf("left: %s", got)
		}
		if h.mainPID("rel-a") == pid {
			t.Error("rel-a was never started anew")
		}
		h.sh("l4d2ctl stop rel-a rel-b")
		h.wantGone("rel-a")
	})
}

// Fifty releases, one over the other, are mounted, folded while five servers run
// on them and write, and removed; killed at any moment, the commands leave what
// the next one makes whole.
func TestManyReleases(t *testing.T) {
	onEach(t, func(h *host) {
		const port, servers, deep = 28120, 5, 50
		first := h.adopt()
		script, top := "", first
		for i := 1; i < deep; i++ {
			files := inf(fmt.Sprintf("2.2.5.%d", i))
			files[fmt.Sprintf("deep/%d.txt", i)] = fmt.Sprint(i)
			if i > 1 {
				files[fmt.Sprintf("deep/%d.txt", i/2)] = "" // gone again
			}
			name := fmt.Sprintf("2099-01-01.%d", i+1)
			script, top = script+publishing(name, top, files), name
		}
		h.must(h.WriteFile("/root/publish", []byte(script), 0o644))
		h.sh("sh -e /root/publish && l4d2ctl rollback %s", top)
		var names []string
		for i := range servers {
			name := fmt.Sprintf("deep-%d", i)
			names = append(names, name)
			h.init(name, port+i)
		}
		all := strings.Join(names, " ")
		h.sh("l4d2ctl start %s", all)
		if got := h.answers(port).Version; got != "2.2.5.49" {
			t.Errorf("the server is of version %s", got)
		}
		want := h.contents(merged("deep-0"))
		if n := strings.Count(want, "/deep/"); n != 25 {
			t.Errorf("%d of the files are there, want 25:\n%s", n, want)
		}

		// Each reads, changes and adds files, until it finds its stop file.
		for _, name := range names {
			h.sh(`systemd-run -q --unit=load-%s --uid=l4d2 --working-directory=%s/left4dead2 sh -ec '
				i=0; while [ ! -e stop ]; do i=$((i+1)); echo $i >addons/load; cat pak01_dir.vpk deep/*.txt >/dev/null; echo $i >>motd.txt
				rm -f scripts/weapons.txt; echo new >scripts/weapons.txt; grep -q ok$i addons/none || true; done; test $i -gt 10'`, name, merged(name))
		}
		flat := h.sh("l4d2ctl flatten 2>/dev/null | cut -d: -f1")
		if now := h.current(); now != flat || flat == top {
			t.Errorf("%s is current, and %s was folded into %s", now, top, flat)
		}
		h.sh("l4d2ctl prune --keep 0 --yes") // all are mounted
		if n := h.sh("ls /var/lib/l4d2/releases | wc -l"); n != fmt.Sprint(deep+1) {
			t.Errorf("%s releases, want %d", n, deep+1)
		}
		for _, name := range names {
			h.eventually("the load has run", func() bool { return h.sh("wc -l <%s/left4dead2/motd.txt", merged(name)) > "2" })
			h.sh("touch %s/left4dead2/stop; while systemctl -q is-active load-%s; do sleep 0.1; done; ! systemctl -q is-failed load-%s", merged(name), name, name)
		}
		h.sh("l4d2ctl stop %s && l4d2ctl reset --yes --no-backup deep-0 && l4d2ctl start deep-0", all)
		h.answers(port)
		if got := h.contents(merged("deep-0")); got != want {
			t.Errorf("on the folded release:\n%s\nbefore\n%s", got, want)
		}
		wantIn(t, "status", h.sh("l4d2ctl status deep-0"), "2 releases/"+flat, "would change nothing")

		h.killed(top, flat)
		h.sh("l4d2ctl rollback %s && l4d2ctl prune --keep 0 --yes", flat)
		h.sh("test ! -e /var/lib/l4d2/releases/%s && test ! -e /var/lib/l4d2/releases/%s", top, first)
		if got := h.sh("cat %s/left4dead2/motd.txt", merged("deep-0")); got != "2.2.5.49" {
			t.Errorf("the running server sees %q", got)
		}
		h.sh("l4d2ctl stop deep-0 && l4d2ctl start deep-0 && l4d2ctl stop deep-0")
	})
}

// contents is what the files below dir hold, but for those that each server writes.
func (h *host) contents(dir string) string {
	h.t.Helper()
	return h.sh("cd %s && find . -type f ! -path '*/cfg/*' ! -path '*/addons/*' ! -path '*/logs/*' -exec sha256sum {} + | sort -k2", dir)
}

// killed ends commands by SIGKILL, later each time, until one gets to its end.
// Whatever is current shows the same files.
func (h *host) killed(top, flat string) {
	h.t.Helper()
	for _, command := range []string{"flatten " + top, "rollback " + top, "flatten", "prune --keep 2 --yes"} {
		ended := false
		for try := 1; !ended && try < 200; try += 1 + try/4 {
			res, err := h.Shell(h.ctx, fmt.Sprintf("timeout --signal=KILL %d.%03d l4d2ctl %s", try*3/1000, try*3%1000, command))
			h.must(err)
			ended = res.Code == 0
			if got := h.sh("cat /var/lib/l4d2/installation/left4dead2/steam.inf | head -1; ls /var/lib/l4d2/installation/srcds_linux 2>/dev/null | wc -l"); !strings.HasPrefix(got, "PatchVersion=2.2.5.49\n") {
				h.t.Fatalf("%s, killed: %s", command, got)
			}
		}
		if !ended {
			h.sh("l4d2ctl %s", command)
		}
	}
	h.sh("l4d2ctl rollback %s", flat)
	if out := h.sh("ls -A /var/lib/l4d2/releases | grep -v '^[0-9]' || true; ls -A /var/lib/l4d2 | grep '^[.]' || true; ls -A /var/lib/l4d2/releases/* | grep next || true"); out != ".change\n.first\n.lock" {
		h.t.Errorf("left: %s", out)
	}
	if out := h.sh("l4d2ctl check || true"); strings.Contains(out, "releases:") && !strings.Contains(out, "ok       releases:") {
		h.t.Errorf("check: %s", out)
	}
}
