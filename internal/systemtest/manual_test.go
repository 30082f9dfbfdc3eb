package systemtest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?s)```\n(.*?)```")

// The first day of l4d2-host(7), as it is written there: without the update, for
// the stand-in is installed already, and without following the journal.
func TestFirstDay(t *testing.T) {
	page, err := os.ReadFile("../../packaging/man/l4d2-host.7.md")
	if err != nil {
		t.Fatal(err)
	}
	_, day, _ := strings.Cut(string(page), "\n## THE FIRST DAY\n")
	day, _, found := strings.Cut(day, "\n## ")
	blocks := block.FindAllStringSubmatch(day, -1)
	if !found || len(blocks) < 8 {
		t.Fatalf("the first day has %d blocks", len(blocks))
	}
	onEach(t, func(h *host) {
		t := h.t
		h.t.Cleanup(func() {
			h.sh("l4d2ctl delete --yes versus; l4d2ctl delete --yes coop; l4d2ctl layer remove --yes my-maps; rm -rf /root/*.yaml /root/*.vpk")
		})
		h.sh(`printf '\064\022\252\125a map' >/root/dark_carnival.vpk`) // begins as each VPK does
		for _, b := range blocks {
			text := b[1]
			switch {
			case strings.HasPrefix(text, "l4d2ctl update"):
				continue
			case strings.HasPrefix(text, "port:"):
				h.must(h.WriteFile("/root/versus.yaml", []byte(text), 0o600))
				other := strings.Replace(text, "27015", "27016", 1)
				if other == text {
					t.Fatalf("not on port 27015:\n%s", text)
				}
				h.must(h.WriteFile("/root/coop.yaml", []byte(other), 0o600))
				continue
			}
			text = strings.Replace(text, "journalctl -u l4d2@versus -f", "journalctl -u l4d2@versus", 1)
			h.sh("set -e; cd /root; export HOME=/root EDITOR=true\n%s", text)
			if strings.Contains(text, "enable --now") {
				h.answers(27015)
				if out := h.sh("tail -c 5 %s/left4dead2/addons/dark_carnival.vpk", merged("versus")); out != "a map" {
					t.Errorf("the server sees %q of the layer", out)
				}
			}
			if strings.Contains(text, "start l4d2.target") {
				h.answers(27015)
				if out := h.sh("systemctl is-active l4d2@coop || true"); out != "inactive" {
					t.Errorf("coop, which is not enabled, is %s after the target's start", out)
				}
			}
		}
		if list := h.list(); len(list["coop"].Name) > 0 || list["versus"].State != "active" || !list["versus"].Enabled {
			t.Errorf("at the end of the day: %+v", list)
		}
	})
}
