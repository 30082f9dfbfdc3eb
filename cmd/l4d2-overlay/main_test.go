package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"l4d2-overlay": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("L4D2_ROOT", env.WorkDir+"/root")
			return nil
		},
	})
}

// What runs as root is small: these must never be linked into it.
func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"net":                          "opens no connection, and its start-up costs",
		"net/http":                     "serves nothing",
		"github.com/alecthomas/kong":   "takes a verb and a name",
		"github.com/godbus/dbus/v5":    "is called by systemd and never calls it",
		"go.yaml.in/yaml/v3":           "reads the generated files only, never what an operator wrote",
		"encoding/json":                "reads and writes none",
		"text/template":                "reflection over anything",
		"github.com/joho/godotenv":     "does without regular expressions, which it compiles at each start",
		"regexp":                       "parses nothing that needs it, and it costs at each start",
		"runtime/cgo":                  "static: loads nothing from a directory that the game's user can write",
		"l4d2-host/internal/spec":      "reads the generated files only",
		"l4d2-host/internal/store":     "changes no instance",
		"l4d2-host/internal/privatens": "for tests",
	}
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 10 {
		t.Fatalf("only %d packages: %q", len(deps), deps)
	}
	for _, dep := range deps {
		if reason, bad := forbidden[dep]; bad {
			t.Errorf("the helper imports %s, and it %s", dep, reason)
		}
	}
}
