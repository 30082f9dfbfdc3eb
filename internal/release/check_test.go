package release

import (
	"os"
	"path/filepath"
	"testing"

	"l4d2-host/internal/instance"
)

// Where the releases have a disk of their own, it has a directory of the file
// system's, which is nobody's business.
func TestLostAndFound(t *testing.T) {
	h := five(t)
	h.roll("2026-11-25.4")
	must(t, os.Mkdir(filepath.Join(h.Layout.Releases(), "lost+found"), 0o700))
	must(t, os.Mkdir(filepath.Join(h.Layout.Releases(), "Strange"), 0o700))
	left, err := h.LeftOvers()
	if len(left) != 1 || err != nil {
		t.Fatalf("%v, %v", left, err)
	}
	h.wantError(left[0], `/Strange": it is no release`, "move it elsewhere")
	h.change(func(ch *Change) error {
		_, err := ch.Prune(h.t.Context(), []instance.Name{"2026-11-25.5"}, 0)
		return err
	})
	h.wantReleases("2026-11-25", "2026-11-25.2", "2026-11-25.3", "2026-11-25.4", "Strange", "lost+found")
}
