package packaging

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// overridden are the tags of packaging/lintian-overrides, where the reasons are.
var overridden = []string{
	"initial-upload-closes-no-bugs",
	"maintainer-script-calls-systemctl",
	"statically-linked-binary",
	"systemd-service-file-refers-to-unusual-wantedby-target",
}

// TestLintian allows no error, no warning and no override that is not needed.
func TestLintian(t *testing.T) {
	cmd := exec.Command("lintian", "--allow-root", "--tag-display-limit=0", "--show-overrides",
		"--fail-on=none", deb(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var used []string
	// CODE: PACKAGE: TAG DETAILS; "N" are the reasons of the overrides
	for _, f := range regexp.MustCompile(`(?m)^([A-Z]): l4d2-host: (\S+)`).FindAllStringSubmatch(string(out), -1) {
		switch {
		case f[1] == "O":
			used = append(used, f[2])
		case f[1] != "N":
			t.Errorf("lintian: %s: %s", f[1], f[2])
		}
	}
	slices.Sort(used)
	if used = slices.Compact(used); !slices.Equal(used, overridden) {
		t.Errorf("overridden are %q, want %q", used, overridden)
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("lintian:\n%s", out)
	}
}

// TestRPMLint allows no error and no warning.
func TestRPMLint(t *testing.T) {
	out := rpmlint(t, "--config=rpmlint.toml")
	if !strings.Contains(out, "1 packages and 0 specfiles checked; 0 errors, 0 warnings") {
		t.Error("rpmlint complains")
	}
	if t.Failed() || testing.Verbose() {
		t.Logf("rpmlint:\n%s", out)
	}
}

// TestEveryFilterIsNeeded finds each complaint that rpmlint.toml silences.
func TestEveryFilterIsNeeded(t *testing.T) {
	config, err := os.ReadFile("rpmlint.toml")
	if err != nil {
		t.Fatal(err)
	}
	out := rpmlint(t)
	filters := regexp.MustCompile(`(?m)^    "(.*)",$`).FindAllStringSubmatch(string(config), -1)
	if len(filters) == 0 {
		t.Error("no filters found")
	}
	for _, f := range filters {
		if !strings.Contains(out, f[1]) {
			t.Errorf("nothing to silence: %s\n%s", f[1], out)
		}
	}
}

// rpmlint returns what it says of the rpm, errors or not. It unpacks with cpio,
// and in the rpms that nfpm writes the names begin with a slash: run as it is by
// root, cpio would unpack them over this system.
func rpmlint(t *testing.T, args ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rpmlint-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	put := func(name string, content []byte, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), content, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{rpm(t), "rpmlint.toml"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		put(filepath.Base(file), content, 0o644)
	}
	put("cpio", []byte("#!/bin/sh\nexec /usr/bin/cpio --no-absolute-filenames \"$@\"\n"), 0o755)

	cmd := exec.Command("rpmlint", append(args, filepath.Base(rpm(t)))...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + dir, "TMPDIR=" + dir}
	if os.Geteuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}
