// Package packaging holds what makes a package of the programs; its tests look
// at the package that was built.
package packaging

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// contents is what "dpkg-deb --contents" has to list, directories left out.
var contents = map[string]string{
	"./usr/bin/l4d2ctl":                                  "-rwxr-xr-x root/root",
	"./usr/libexec/l4d2-host/l4d2-overlay":               "-rwxr-xr-x root/root",
	"./usr/lib/systemd/system/l4d2@.service":             "-rw-r--r-- root/root",
	"./usr/lib/systemd/system/l4d2.target":               "-rw-r--r-- root/root",
	"./usr/lib/sysusers.d/l4d2-host.conf":                "-rw-r--r-- root/root",
	"./usr/lib/tmpfiles.d/l4d2-host.conf":                "-rw-r--r-- root/root",
	"./usr/share/l4d2-host/restart-backoff.conf":         "-rw-r--r-- root/root",
	"./usr/share/bash-completion/completions/l4d2ctl":    "-rw-r--r-- root/root",
	"./usr/share/fish/vendor_completions.d/l4d2ctl.fish": "-rw-r--r-- root/root",
	"./usr/share/zsh/vendor-completions/_l4d2ctl":        "-rw-r--r-- root/root",
	"./usr/share/man/man1/l4d2ctl.1.gz":                  "-rw-r--r-- root/root",
	"./usr/share/man/man5/l4d2-instance.env.5.gz":        "-rw-r--r-- root/root",
	"./usr/share/man/man5/l4d2-instance.yaml.5.gz":       "-rw-r--r-- root/root",
	"./usr/share/man/man7/l4d2-host.7.gz":                "-rw-r--r-- root/root",
	"./usr/share/man/man8/l4d2-overlay.8.gz":             "-rw-r--r-- root/root",
	"./usr/share/man/man8/l4d2@.service.8.gz":            "-rw-r--r-- root/root",
	"./usr/share/doc/l4d2-host/copyright":                "-rw-r--r-- root/root",
	"./usr/share/doc/l4d2-host/README.md":                "-rw-r--r-- root/root",
	"./usr/share/doc/l4d2-host/changelog.gz":             "-rw-r--r-- root/root",
}

func TestContents(t *testing.T) {
	debs, _ := filepath.Glob("../dist/l4d2-host_*.deb")
	if len(debs) != 1 {
		t.Fatalf("%d packages in dist, want one: run make deb", len(debs))
	}
	out, err := exec.Command("dpkg-deb", "--contents", debs[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 6 || strings.HasPrefix(f[0], "d") {
			continue
		}
		path, got := f[5], f[0]+" "+f[1]
		seen[path] = true
		if want := contents[path]; got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for path := range contents {
		if !seen[path] {
			t.Errorf("the package lacks %s", path)
		}
	}
}

func TestScriptsParse(t *testing.T) {
	scripts, _ := filepath.Glob("deb/*")
	if len(scripts) != 3 {
		t.Fatalf("scripts %q, want three", scripts)
	}
	for _, script := range scripts {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
}
