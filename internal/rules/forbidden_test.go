package rules

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// forbidden is one entry of forbidigo's settings in .golangci.yml.
type forbidden struct {
	Pattern string `yaml:"pattern"`
	Message string `yaml:"msg"`
	regexp  *regexp.Regexp
}

func readForbidden(t *testing.T) []forbidden {
	t.Helper()
	var config struct {
		Linters struct {
			Settings struct {
				Forbidigo struct {
					Forbid []forbidden `yaml:"forbid"`
				} `yaml:"forbidigo"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal([]byte(read(t, ".golangci.yml")), &config); err != nil {
		t.Fatal(err)
	}
	all := config.Linters.Settings.Forbidigo.Forbid
	for i := range all {
		all[i].regexp = regexp.MustCompile(all[i].Pattern)
	}
	return all
}

// Each rule says which attack it keeps away, and that is a test.
func TestForbiddenCallsHaveReasons(t *testing.T) {
	all := readForbidden(t)
	if len(all) < 8 {
		t.Errorf("only %d forbidden calls", len(all))
	}
	for _, f := range all {
		if wantTests(t, ".golangci.yml: "+f.Pattern, f.Message) == 0 {
			t.Errorf("%s: the message names no test: %s", f.Pattern, f.Message)
		}
	}
}

// As forbidigo would find them, in everything that is packaged.
func TestForbiddenCalls(t *testing.T) {
	all := readForbidden(t)
	cmd := exec.Command("go", "list", "-deps", "-f", `{{if not .Standard}}{{if .Module.Main}}{{.Dir}}{{end}}{{end}}`, "./cmd/...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dirs := strings.Fields(string(out))
	if len(dirs) < 15 {
		t.Fatalf("only %d packages: %q", len(dirs), dirs)
	}
	for _, dir := range dirs {
		files, _ := filepath.Glob(filepath.Join(dir, "*.go"))
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				checkFile(t, all, file)
			}
		}
	}
}

func checkFile(t *testing.T, all []forbidden, path string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	excused := map[int]bool{}
	for _, group := range file.Comments {
		for _, c := range group.List {
			if reason, ok := strings.CutPrefix(c.Text, "//nolint:forbidigo // "); ok && reason != "" {
				excused[set.Position(c.Pos()).Line] = true
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, f := range all {
			at := set.Position(n.Pos())
			if f.regexp.MatchString(pkg.Name+"."+selector.Sel.Name) && !excused[at.Line] {
				t.Errorf("%s: %s.%s: %s", at, pkg.Name, selector.Sel.Name, f.Message)
			}
		}
		return true
	})
}
