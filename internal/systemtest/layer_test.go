package systemtest

import (
	"strings"
	"testing"
)

// A mod's life: added, run, updated under a running server, taken back.
func TestLayers(t *testing.T) {
	onEach(t, func(h *host) {
		for _, v := range []string{"one", "two", "three"} {
			h.must(h.WriteFile("/root/lay-"+v+"/addons/lay.txt", []byte(v), 0o600))
			h.sh("tar -C /root/lay-%s -czf /root/lay-%s.tgz addons", v, v)
		}
		out := h.sh("l4d2ctl layer add lay /root/lay-one.tgz")
		wantIn(t, "add", out, "its contents go under left4dead2/", "lay: added")
		h.sh("l4d2ctl layer hide lay-hidden bin/libstdc++.so.6 bin/libgcc_s.so.1")
		if out := h.sh("find /var/lib/l4d2/overlays/lay/ ! -user l4d2 -o ! -group l4d2"); out != "" {
			t.Errorf("not the game's user's: %s", out)
		}
		h.initWith("lay-er", strings.Replace(yaml("lay-er", 28510), "[mod]", "[lay-hidden, lay, mod]", 1))
		h.sh("l4d2ctl start lay-er")
		h.answers(28510)
		file := merged("lay-er") + "/left4dead2/addons/lay.txt"
		if got := h.sh("cat %s", file); got != "one" {
			t.Errorf("the server sees %q", got)
		}
		if got := h.sh("cd %s/bin && ls", merged("lay-er")); strings.Contains(got, "libstdc++") || !strings.Contains(got, "engine_srv.so") {
			t.Errorf("bin holds %s", got)
		}
		h.fails("l4d2ctl layer hide lay-hidden bin/engine_srv.so", "in use: lay-er is running with it")

		// It keeps its version, however often there is a new one.
		h.sh("l4d2ctl layer update lay /root/lay-two.tgz && l4d2ctl layer update lay /root/lay-three.tgz")
		if got := h.sh("cat %s", file); got != "one" {
			t.Errorf("the running server sees %q", got)
		}
		h.sh("test -d /var/lib/l4d2/overlays/.lay.v1")
		h.fails("l4d2ctl layer remove lay", "in use: named by lay-er")
		h.sh("l4d2ctl restart lay-er")
		h.answers(28510)
		if got := h.sh("cat %s", file); got != "three" {
			t.Errorf("after the restart the server sees %q", got)
		}
		h.sh("l4d2ctl layer update lay /root/lay-one.tgz && test ! -e /var/lib/l4d2/overlays/.lay.v1")

		// Out of the spec, and still mounted.
		h.initWith("lay-er", yaml("lay-er", 28510))
		h.fails("l4d2ctl layer remove lay", "in use: lay-er is running with it")
		h.sh("l4d2ctl delete --yes lay-er && l4d2ctl layer remove --yes lay && l4d2ctl layer remove --yes lay-hidden")
		if out := h.sh("ls -A /var/lib/l4d2/overlays"); strings.Contains(out, "lay") {
			t.Errorf("left: %s", out)
		}
	})
}
