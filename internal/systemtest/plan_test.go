package systemtest

import (
	"encoding/json"
	"strings"
	"testing"
)

// planned is what l4d2ctl plan --json says.
type planned struct {
	Running bool
	Changes []struct{ What, Detail string }
	Files   []struct {
		Path, Change string
		Hidden       bool
	}
	Hiding []struct {
		Path, Reset string
		Same        bool
	}
	Unknown map[string]string
}

func (h *host) plan(name string) (v planned) {
	h.t.Helper()
	out := h.sh("l4d2ctl plan --json %s", name)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		h.t.Fatalf("l4d2ctl plan --json: %v: %s", err, out)
	}
	return v
}

// String is all of it in short.
func (v planned) String() string {
	var parts []string
	for _, c := range v.Changes {
		parts = append(parts, c.What)
	}
	for _, f := range v.Files {
		text := f.Change + " " + strings.TrimPrefix(f.Path, "left4dead2/")
		if f.Hidden {
			text += " hidden"
		}
		parts = append(parts, text)
	}
	for _, f := range v.Hiding {
		parts = append(parts, "hides "+strings.TrimPrefix(f.Path, "left4dead2/"))
	}
	for key := range v.Unknown {
		parts = append(parts, "unknown "+key)
	}
	return strings.Join(parts, ", ")
}

// release makes one by hand, over those of chain, of what the directory from has.
func (h *host) release(chain, from string) {
	h.t.Helper()
	name, _, _ := strings.Cut(chain, ":")
	dir := "/var/lib/l4d2/releases/" + name
	h.sh(`install -d -m 750 -g l4d2 %[1]s && cp -a %[2]s %[1]s/tree && chown -R l4d2:l4d2 %[1]s/tree &&
printf "CHAIN='%[3]s'\nBUILD=1\nDATE='2026-11-25T00:00:00Z'\nSIZE=1\n" >%[1]s/release.env && chgrp l4d2 %[1]s/release.env && chmod 640 %[1]s/release.env`, dir, from, chain)
}

// What is about to change is told before, and is so afterwards.
func TestPlan(t *testing.T) {
	onEach(t, func(h *host) {
		version := func(n, text string) {
			t.Helper()
			h.must(h.WriteFile("/root/pl-"+n+"/addons/pl.txt", []byte(text), 0o644))
			h.must(h.WriteFile("/root/pl-"+n+"/cfg/pl.cfg", []byte(text), 0o644))
			h.must(h.WriteFile("/root/pl-"+n+"/cfg/pl-same.cfg", []byte("the same"), 0o644))
			h.must(h.WriteFile("/root/pl-"+n+"/addons/only-"+n+".txt", []byte(text), 0o644))
		}
		version("1", "one")
		h.sh("l4d2ctl layer add --yes pl /root/pl-1")
		h.release("pl-r1", "/var/lib/l4d2/installation")
		h.t.Cleanup(func() {
			h.sh("l4d2ctl delete --yes plan; l4d2ctl layer remove --yes pl; rm -rf /var/lib/l4d2/releases/pl-r1 /var/lib/l4d2/releases/pl-r2")
		})
		spec := strings.Replace(yaml("plan", 28340), "[mod]", "[pl, mod]\nrelease: pl-r1", 1)
		h.initWith("plan", spec)
		wantIn(t, "plan", h.sh("l4d2ctl plan plan"), "has never been started")
		h.sh("l4d2ctl start plan")
		h.answers(28340)
		h.sh(`runuser -u l4d2 -- sh -c 'cd %s/left4dead2 && echo mine >>cfg/pl.cfg && touch cfg/pl-same.cfg && echo mine >>motd.txt'`, merged("plan"))
		if got := h.plan("plan").String(); got != "" {
			t.Errorf("nothing has changed, and the plan is %q", got)
		}

		// A new version of a layer, another release, another spec.
		version("2", "two")
		h.sh("l4d2ctl layer update --yes pl /root/pl-2")
		h.sh("mkdir -p /root/pl-r2/left4dead2 && echo newer >/root/pl-r2/left4dead2/motd.txt && echo n >/root/pl-r2/left4dead2/news.txt")
		h.release("pl-r2:pl-r1", "/root/pl-r2")
		h.initWith("plan", strings.Replace(strings.Replace(spec, "28340", "28341", 1), "pl-r1", "pl-r2", 1))
		v := h.plan("plan")
		want := "port, release, layer pl, removed addons/only-1.txt, added addons/only-2.txt, changed addons/pl.txt, changed cfg/pl.cfg hidden, " +
			"changed motd.txt hidden, added news.txt, hides cfg/pl-same.cfg, hides cfg/pl.cfg, hides motd.txt"
		if got := v.String(); got != want || !v.Running {
			t.Errorf("the plan is\n%s\nwant\n%s", got, want)
		}
		out := h.sh("l4d2ctl plan plan")
		wantIn(t, "plan", out, "compared with its present run", "pl-r2 instead of pl-r1", "its own files that hide newer ones: 2", "the same as newer ones: 1",
			"let go of them with: l4d2ctl reset plan left4dead2/cfg/pl.cfg left4dead2/motd.txt")
		h.fails("setpriv --reuid nobody --regid l4d2 --clear-groups l4d2ctl plan plan", "must be root")

		h.sh("l4d2ctl restart plan && journalctl --sync")
		h.answers(28341)
		if got := h.sh("cd %s/left4dead2 && cat addons/pl.txt news.txt && ls addons", merged("plan")); !strings.HasPrefix(got, "twon\n") || strings.Contains(got, "only-1") {
			t.Errorf("after the restart: %s", got)
		}
		warning := `its own files that hide newer ones of its layers: 2 ("left4dead2/`
		if got := strings.Count(h.journal("plan"), warning); got != 1 {
			t.Errorf("the journal warns %d times: %s", got, h.journal("plan"))
		}
		if got, want := h.plan("plan").String(), "hides cfg/pl-same.cfg, hides cfg/pl.cfg, hides motd.txt"; got != want {
			t.Errorf("after the restart the plan is %q, want %q", got, want)
		}

		// Given up, and no more is said.
		h.sh("l4d2ctl stop plan && l4d2ctl reset --yes --no-backup plan left4dead2/cfg/pl.cfg left4dead2/motd.txt left4dead2/cfg/pl-same.cfg")
		if got := h.plan("plan").String(); got != "" {
			t.Errorf("after the reset the plan is %q", got)
		}
		// A version that is gone from the disk cannot be compared.
		h.sh("l4d2ctl layer update --yes pl /root/pl-1 && l4d2ctl layer update --yes pl /root/pl-2")
		if got := h.plan("plan").String(); got != "layer pl, unknown files" {
			t.Errorf("the plan is %q", got)
		}
		wantIn(t, "plan", h.sh("l4d2ctl plan plan"), "overlays/pl: it is not on the disk any more")
		h.sh("l4d2ctl start plan && journalctl --sync")
		if got := strings.Count(h.journal("plan"), warning); got != 1 {
			t.Errorf("the journal warns %d times: %s", got, h.journal("plan"))
		}
	})
}
