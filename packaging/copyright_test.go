package packaging

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"l4d2-host/internal/spec"
)

// TestCopyright: the programs contain other people's modules, and the file
// copyright has to say so of each.
func TestCopyright(t *testing.T) {
	text, err := os.ReadFile("copyright")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if files, ok := strings.CutPrefix(line, "Files:"); ok {
			for _, f := range strings.Fields(files) {
				if module, ok := strings.CutSuffix(f, "/*"); ok {
					named[module] = true
				}
			}
		}
	}
	linked := map[string]bool{"std": true}
	for _, module := range strings.Fields(output(t, "go", "list", "-deps",
		"-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", "../cmd/...")) {
		linked[module] = true
	}
	for module := range linked {
		if !named[module] {
			t.Errorf("packaging/copyright says nothing of %s", module)
		}
	}
	for module := range named {
		if !linked[module] {
			t.Errorf("packaging/copyright names %s, which is not linked", module)
		}
	}
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples %q: %v", files, err)
	}
	ports := map[uint16]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := spec.Parse(file, data)
		if err != nil {
			t.Error(err)
			continue
		}
		if other := ports[s.Port]; other != "" {
			t.Errorf("%s and %s cannot run side by side: port %d", file, other, s.Port)
		}
		ports[s.Port] = file
	}
}
