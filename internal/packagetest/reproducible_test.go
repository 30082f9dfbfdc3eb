package packagetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReproducible builds the packages of dist again, in another directory, from
// files with other times and modes: they must come out the same, byte for byte.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the packages: not run under -short")
	}
	const root = "../.."
	built, err := filepath.Glob(root + "/dist/l4d2-host*.[dr][ep][bm]")
	if err != nil || len(built) != 2 {
		t.Fatalf("in dist are %q, want a deb and an rpm: run make deb rpm", built)
	}
	deb, rpm := built[0], built[1]
	if filepath.Ext(rpm) != ".rpm" {
		deb, rpm = rpm, deb
	}
	version := strings.TrimSuffix(output(t, "dpkg-deb", "--field", deb, "Version"), "-1")
	epoch := output(t, "rpm", "-qp", "--nosignature", "--queryformat", "%{BUILDTIME}", rpm)

	dir := t.TempDir()
	build := exec.Command("sh", "-ec", `umask 077
tar -c -C "$1" --exclude=./.git --exclude=./build --exclude=./dist . | tar -x -m --no-same-permissions -C "$2"
make -C "$2" VERSION="$3" deb rpm`, "sh", root, dir, version)
	build.Env = append(os.Environ(), "SOURCE_DATE_EPOCH="+epoch, "MAKEFLAGS=", "TZ=Pacific/Kiritimati", "LANG=C.UTF-8")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, first := range built {
		one, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(dir, "dist", filepath.Base(first)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s comes out different (unless the tree has changed since it was built)", filepath.Base(first))
		}
	}
}

// output returns what a program prints, without white space at its ends.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return strings.TrimSpace(string(out))
}
