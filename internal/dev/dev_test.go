// Package dev has no code, but the scripts that building and testing take; its
// tests run them in trees of their own.
package dev

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// work is a git repository with the scripts, and a Makefile that packs nothing
// but says what it was called for.
type work struct {
	t   *testing.T
	dir string
}

const makefile = `deb rpm:
	@mkdir -p dist
	@echo "$(VERSION) $(SOURCE_DATE_EPOCH) $$(cat tree)" >dist/l4d2-host_$(VERSION)-1_amd64.deb
	@touch dist/l4d2-host-$(VERSION)-1.x86_64.rpm
`

func newWork(t *testing.T) *work {
	t.Helper()
	w := &work{t, t.TempDir()}
	for _, script := range []string{"version", "previous"} {
		text, err := os.ReadFile(script)
		w.must(err)
		w.must(os.MkdirAll(w.dir+"/internal/dev", 0o755))
		w.must(os.WriteFile(w.dir+"/internal/dev/"+script, text, 0o755))
	}
	w.must(os.WriteFile(w.dir+"/Makefile", []byte(makefile), 0o644))
	w.must(os.WriteFile(w.dir+"/tree", []byte("no commit\n"), 0o644))
	return w
}

func (w *work) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// run runs a command in the repository, without what the user's git is told.
func (w *work) run(argv ...string) string {
	w.t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CEILING_DIRECTORIES=" + filepath.Dir(w.dir),
		"SOURCE_DATE_EPOCH=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org",
		"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("%q: %v: %s", argv, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a commit, with these tags.
func (w *work) commit(text string, tags ...string) {
	w.t.Helper()
	w.must(os.WriteFile(w.dir+"/tree", []byte(text+"\n"), 0o644))
	w.run("git", "add", "tree", "Makefile", "internal")
	w.run("git", "commit", "--quiet", "--message", text)
	for _, tag := range tags {
		w.run("git", "tag", tag)
	}
}

// want holds against what is wanted the version of the tree, and of the packages to upgrade
// from with the tree that they were made of.
func (w *work) want(version, previous, tree string) {
	w.t.Helper()
	if got := w.run("internal/dev/version"); !regexp.MustCompile("^" + version + "$").MatchString(got) {
		w.t.Errorf("version: %q, want %s", got, version)
	}
	w.run("internal/dev/previous")
	debs, err := filepath.Glob(w.dir + "/build/previous/*")
	w.must(err)
	if len(debs) != 2 {
		w.t.Fatalf("previous: %q", debs)
	}
	text, err := os.ReadFile(fmt.Sprintf("%s/build/previous/l4d2-host_%s-1_amd64.deb", w.dir, previous))
	w.must(err)
	epoch := "1767323045" // of the tag's commit
	if previous == "0~previous" {
		epoch = "1" // of the tree
	}
	if got, want := string(text), previous+" "+epoch+" "+tree+"\n"; got != want {
		w.t.Errorf("previous: made of %q, want %q", got, want)
	}
}

func TestVersions(t *testing.T) {
	w := newWork(t)
	w.want(`0\.0\.0`, "0~previous", "no commit") // outside git
	w.run("git", "init", "--quiet")
	w.commit("one")
	w.want(`0\.0\.0~git20260102\.[0-9a-f]{7,}`, "0~previous", "one")
	w.run("git", "tag", "other-1.0")
	w.want(`0\.0\.0~git20260102\.[0-9a-f]{7,}`, "0~previous", "one")
	w.run("git", "tag", "v0.9.0")
	w.want(`0\.9\.0`, "0~previous", "one") // before the first there is none
	w.commit("two")
	w.want(`0\.9\.0\+1\.g[0-9a-f]{7,}`, "0.9.0", "one")
	w.commit("three", "v1.0.0-rc1")
	w.want(`1\.0\.0~rc1`, "0.9.0", "one")
	w.commit("four")
	w.commit("five")
	w.want(`1\.0\.0~rc1\+2\.g[0-9a-f]{7,}`, "1.0.0~rc1", "three")
	w.commit("six", "v1.0.0")
	w.want(`1\.0\.0`, "1.0.0~rc1", "three")
	w.commit("seven")
	w.want(`1\.0\.0\+1\.g[0-9a-f]{7,}`, "1.0.0", "six")
	if got := w.run("internal/dev/version", "v0.9.0"); got != "0.9.0" {
		t.Errorf("of a tag: %q", got)
	}
}

// The versions sort in the order in which they were made, for dpkg.
func TestVersionsSort(t *testing.T) {
	versions := []string{"0~previous", "0.0.0~git20260102.0d00cb1", "0.0.0", "0.9.0", "0.9.0+1.g0d00cb1", "1.0.0~rc1", "1.0.0~rc1+2.g0d00cb1", "1.0.0", "1.0.0+10.g0d00cb1"}
	for i := range len(versions) - 1 {
		if err := exec.Command("dpkg", "--compare-versions", versions[i], "lt", versions[i+1]).Run(); err != nil {
			t.Errorf("%s is not before %s: %v", versions[i], versions[i+1], err)
		}
	}
}
