package systemtest

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// maxExposure is what systemd-analyze may count at most, of 10.
const maxExposure = 1.5

// The sandbox stays as tight as it is, and each point that is left has its
// reason in the unit.
func TestSecurity(t *testing.T) {
	onEach(t, func(h *host) {
		text := h.sh("systemd-analyze security --no-pager l4d2@any")
		m := regexp.MustCompile(`Overall exposure level for l4d2@any\.service: ([0-9.]+)`).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("no exposure level in: %s", text)
		}
		if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > maxExposure {
			t.Errorf("the exposure level is %s, want at most %g:\n%s", m[1], maxExposure, text)
		}
		t.Logf("the exposure level is %s", m[1])

		var points []struct {
			Name     string  `json:"name"`
			Exposure *string `json:"exposure"` // null is nothing
		}
		h.must(json.Unmarshal([]byte(h.sh("systemd-analyze security --no-pager --json=short l4d2@any")), &points))
		unit, err := h.ReadFile("/usr/lib/systemd/system/l4d2@.service")
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
				t.Errorf("%s counts %s, and the unit does not say why", p.Name, *p.Exposure)
			}
			if p.Exposure == nil && reasons[p.Name] {
				t.Errorf("the unit explains %s, which counts nothing", p.Name)
			}
		}
	})
}
