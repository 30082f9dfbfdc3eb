package systemtest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// exposed are the units with a sandbox: an instance of each, its file, and what
// systemd-analyze may count at most, of 10.
var exposed = []struct {
	unit, file string
	most       float64
}{
	{"l4d2@any.service", "l4d2@.service", 1.5},
	{"l4d2-update.service", "l4d2-update.service", 1.4},
}

// The sandboxes stay as tight as they are, and each point that is left has its
// reason in the unit.
func TestSecurity(t *testing.T) {
	onEach(t, func(h *host) {
		for _, e := range exposed {
			h.exposure(e.unit, e.most)
			h.reasons(e.unit, e.file)
		}
	})
}

func (h *host) exposure(unit string, most float64) {
	h.t.Helper()
	text := h.sh("systemd-analyze security --no-pager %s", unit)
	m := regexp.MustCompile(`Overall exposure level for ` + regexp.QuoteMeta(unit) + `: ([0-9.]+)`).FindStringSubmatch(text)
	if m == nil {
		h.t.Fatalf("no exposure level in: %s", text)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > most {
		h.t.Errorf("the exposure level of %s is %s, want at most %g:\n%s", unit, m[1], most, text)
	}
	h.t.Logf("the exposure level of %s is %s", unit, m[1])
}

// reasons compares what counts with what the unit's file explains.
func (h *host) reasons(name, file string) {
	h.t.Helper()
	var points []struct {
		Name     string  `json:"name"`
		Exposure *string `json:"exposure"` // null is nothing
	}
	h.must(json.Unmarshal([]byte(h.sh("systemd-analyze security --no-pager --json=short %s", name)), &points))
	unit, err := h.ReadFile("/usr/lib/systemd/system/" + file)
	h.must(err)
	reasons := map[string]bool{}
	for line := range strings.Lines(string(unit)) {
		if list, ok := strings.CutPrefix(line, "#   "); ok {
			for _, name := range strings.Fields(list) {
				reasons[name] = true
			}
		}
	}
	for _, p := range points {
		if p.Exposure != nil && !reasons[p.Name] {
			h.t.Errorf("%s: %s counts %s, and the unit does not say why", name, p.Name, *p.Exposure)
		}
		if p.Exposure == nil && reasons[p.Name] {
			h.t.Errorf("%s: the unit explains %s, which counts nothing", name, p.Name)
		}
	}
}
