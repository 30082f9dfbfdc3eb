package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"l4d2-update": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// Three of its steps run as root: these must never be linked into it.
func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"net/http":                   "downloads nothing itself",
		"crypto/tls":                 "downloads nothing itself",
		"github.com/alecthomas/kong": "takes a verb",
		"github.com/godbus/dbus/v5":  "is called by systemd and never calls it",
		"text/template":              "reflection over anything",
		"runtime/cgo":                "static: loads nothing from a directory that the game's user can write",
		"l4d2-host/internal/standin": "for tests",
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
			t.Errorf("l4d2-update imports %s, and it %s", dep, reason)
		}
	}
}
