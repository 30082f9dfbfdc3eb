package onloop

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"l4d2-host/internal/privatens"
)

// The tests of what updates the game, with all their files on another file system:
// an update's upper directory becomes a lower one, releases are hard links of each
// other, and names are exchanged.
func TestUpdates(t *testing.T) {
	privatens.Need(t)
	bin := t.TempDir()
	packages := []string{"release", "staging"}
	args := []string{"test", "-c", "-o", bin + "/"}
	for _, name := range packages {
		args = append(args, "l4d2-host/internal/"+name)
	}
	build := exec.Command("go", args...)
	build.Dir = filepath.Dir(images)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, fstype := range []string{"btrfs", "xfs"} {
		for _, name := range packages {
			t.Run(fstype+"/"+name, func(t *testing.T) {
				test := exec.CommandContext(t.Context(), filepath.Join(bin, name+".test"), "-test.timeout=5m")
				test.Env = append(os.Environ(), "TMPDIR="+mount(t, unpack(t, fstype), fstype))
				if out, err := test.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}
