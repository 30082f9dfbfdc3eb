package units_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shipped are the unit files and drop-ins of the package.
func shipped(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*.service", "*.target", "*.slice", "*.timer", "../packaging/restart-backoff.conf"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %q, %v", pattern, found, err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[filepath.Base(path)] = string(text)
		}
	}
	return texts
}

// command is a setting that runs something, with the prefixes of systemd.exec(5).
var command = regexp.MustCompile(`(?m)^Exec[A-Za-z]*=[-@:|]*[+!].*$`)

var user = regexp.MustCompile(`(?m)^(?:User|DynamicUser|PermissionsStartOnly)=.*$`)

// TestPrivilegedSteps lists all that units do as root or outside the sandbox:
// each more is a decision.
func TestPrivilegedSteps(t *testing.T) {
	want := []string{
		"l4d2-update.service: ExecStartPost=+/usr/libexec/l4d2-host/l4d2-update commit",
		"l4d2-update.service: ExecStartPre=+/usr/libexec/l4d2-host/l4d2-update stage",
		"l4d2-update.service: ExecStopPost=+/usr/libexec/l4d2-host/l4d2-update unstage",
		"l4d2@.service: ExecStartPre=+/usr/libexec/l4d2-host/l4d2-overlay mount %i",
		"l4d2@.service: ExecStopPost=+/usr/libexec/l4d2-host/l4d2-overlay unmount %i",
	}
	var got []string
	for name, text := range shipped(t) {
		for _, line := range command.FindAllString(text, -1) {
			got = append(got, name+": "+line)
		}
		users := user.FindAllString(text, -1)
		if filepath.Ext(name) == ".service" && !slices.Equal(users, []string{"User=l4d2"}) {
			t.Errorf("%s: the rest is done with %q, want User=l4d2", name, users)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("privileged are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every manual page that a unit names is there, and each unit names one.
func TestDocumentation(t *testing.T) {
	page := regexp.MustCompile(`man:([a-z0-9@.-]+)\(([1-8])\)`)
	for name, text := range shipped(t) {
		named := 0
		for line := range strings.Lines(text) {
			line, found := strings.CutPrefix(strings.TrimSpace(line), "Documentation=")
			if !found {
				continue
			}
			for _, uri := range strings.Fields(line) {
				m := page.FindStringSubmatch(uri)
				if m == nil || m[0] != uri {
					t.Errorf("%s: %s is no manual page", name, uri)
					continue
				}
				named++
				if _, err := os.Stat("../packaging/man/" + m[1] + "." + m[2] + ".md"); err != nil {
					t.Errorf("%s: %s: %v", name, uri, err)
				}
			}
		}
		if filepath.Ext(name) != ".conf" && named == 0 {
			t.Errorf("%s names no manual page", name)
		}
	}
}
