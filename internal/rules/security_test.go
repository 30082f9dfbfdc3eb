// Package rules has no code; its tests hold the project to what its documents
// and its linter's configuration say.
package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the work tree.
const root = "../.."

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// testFunction is how a document names a test, as package.Test.
var testFunction = regexp.MustCompile(`([a-z0-9]+)\.((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`)

// wantTests fails the test for each test that text names and that is not there.
func wantTests(t *testing.T, where, text string) (named int) {
	t.Helper()
	for _, m := range testFunction.FindAllStringSubmatch(text, -1) {
		named++
		if !exists(t, m[1], m[2]) {
			t.Errorf("%s names %s, and there is no such test", where, m[0])
		}
	}
	return named
}

func exists(t *testing.T, pkg, function string) bool {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(root, "internal", pkg, "*_test.go"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+function+"(") {
			return true
		}
	}
	return false
}

func TestSecurityNamesTests(t *testing.T) {
	if named := wantTests(t, "SECURITY.md", read(t, "SECURITY.md")); named < 30 {
		t.Errorf("SECURITY.md names only %d tests", named)
	}
	if !strings.Contains(read(t, "cmd/l4d2-overlay/main_test.go"), "\nfunc TestImports(") {
		t.Error("SECURITY.md names TestImports in cmd/l4d2-overlay, and it is not there")
	}
}

// code is what a document shows as code, and path what of that is in the tree.
var (
	code = regexp.MustCompile("`([^`\n]+)`")
	path = regexp.MustCompile(`^(?:cmd|internal|packaging|units|\.ci)/[A-Za-z0-9_./@-]*[A-Za-z0-9]`)
)

// What a document names of the tree is there.
func TestDocumentsNamePaths(t *testing.T) {
	for _, document := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"} {
		text := read(t, document)
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			if p := path.FindString(m[1]); p != "" {
				if _, err := os.Stat(filepath.Join(root, p)); err != nil {
					t.Errorf("%s: %v", document, err)
				}
			}
		}
	}
}

// And so are the targets of the Makefile.
func TestDocumentsNameTargets(t *testing.T) {
	makefile := read(t, "Makefile")
	target := regexp.MustCompile(`\bmake ([a-z]+)\b`)
	for _, document := range []string{"README.md", "CONTRIBUTING.md"} {
		for _, line := range strings.Split(read(t, document), "\n") {
			if !strings.HasPrefix(line, "    make") && !strings.Contains(line, "`make") {
				continue
			}
			for _, m := range target.FindAllStringSubmatch(line, -1) {
				if !strings.Contains(makefile, "\n"+m[1]+":") {
					t.Errorf("%s: there is no target %s", document, m[1])
				}
			}
		}
	}
}
