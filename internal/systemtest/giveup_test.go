package systemtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// systemd gives up on a server that cannot stay up, whatever the delays between
// its restarts are. All times of the unit, a thirtieth each.
func TestGivesUp(t *testing.T) {
	const faster = 30
	onEach(t, func(h *host) {
		h.init("dies", 28135)
		scaled := func(property string) string {
			text := h.show("dies", property)
			d, err := time.ParseDuration(strings.ReplaceAll(text, "min", "m"))
			if err != nil || d == 0 {
				h.t.Fatalf("%s is %q", property, text)
			}
			return fmt.Sprintf("%dus", (d / faster).Microseconds())
		}
		unit := "[Unit]\nStartLimitIntervalSec=" + scaled("StartLimitIntervalUSec")
		service := "\n[Service]\nExecStartPre=\nExecStopPost=\nType=exec\nExecStart=\nExecStart=/bin/false\nRestartSec=" + scaled("RestartUSec")
		if h.show("dies", "RestartSteps") != "" { // systemd 254
			service += "\nRestartMaxDelaySec=" + scaled("RestartMaxDelayUSec")
		}
		h.dropIn("dies", unit+service+"\n")
		h.sh("systemctl start l4d2@dies || true")
		h.eventually("systemd gives up", func() bool { return h.show("dies", "ActiveState") == "failed" })
		if got, want := h.show("dies", "NRestarts"), h.show("dies", "StartLimitBurst"); got != want {
			h.t.Errorf("%s restarts, the limit is %s starts", got, want)
		}
		wantIn(h.t, "journal", h.sh("journalctl -b -o cat -u l4d2@dies"), "Start request repeated too quickly.")
	})
}
