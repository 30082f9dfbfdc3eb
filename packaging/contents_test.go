// Package packaging holds what makes packages of the programs; its tests look
// at the packages that were built.
package packaging

import (
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	program   = "-rwxr-xr-x root/root"
	data      = "-rw-r--r-- root/root"
	directory = "drwxr-xr-x root/root"
)

// both is what the deb and the rpm have to hold alike.
var both = map[string]string{
	"/usr/bin/l4d2ctl":                                          program,
	"/usr/libexec/l4d2-host/l4d2-overlay":                       program,
	"/usr/libexec/l4d2-host/l4d2-update":                        program,
	"/usr/libexec/l4d2-host/l4d2-watch":                         program,
	"/etc/l4d2-host/update.conf":                                data,
	"/usr/lib/systemd/system/l4d2-update.service":               data,
	"/usr/lib/systemd/system/l4d2-update.timer":                 data,
	"/usr/lib/systemd/system/l4d2@.service":                     data,
	"/usr/lib/systemd/system/l4d2.slice":                        data,
	"/usr/share/polkit-1/rules.d/l4d2-host.rules":               data,
	"/usr/share/doc/l4d2-host/examples/all-servers-limits.conf": data,
	"/usr/share/doc/l4d2-host/examples/l4d2-notify":             program,
	"/usr/share/doc/l4d2-host/examples/l4d2-notify@.service":    data,
	"/usr/share/doc/l4d2-host/examples/on-failure.conf":         data,
	"/usr/share/doc/l4d2-host/examples/server-limits.conf":      data,
	"/usr/lib/systemd/system/l4d2.target":                       data,
	"/usr/lib/systemd/system-preset/80-l4d2-host.preset":        data,
	"/usr/lib/sysusers.d/l4d2-host.conf":                        data,
	"/usr/lib/tmpfiles.d/l4d2-host.conf":                        data,
	"/usr/share/l4d2-host/restart-backoff.conf":                 data,
	"/usr/share/bash-completion/completions/l4d2ctl":            data,
	"/usr/share/fish/vendor_completions.d/l4d2ctl.fish":         data,
	"/usr/share/man/man1/l4d2ctl.1.gz":                          data,
	"/usr/share/man/man5/l4d2-instance.env.5.gz":                data,
	"/usr/share/man/man5/l4d2-instance.yaml.5.gz":               data,
	"/usr/share/man/man5/l4d2-update.conf.5.gz":                 data,
	"/usr/share/man/man7/l4d2-host.7.gz":                        data,
	"/usr/share/man/man8/l4d2-overlay.8.gz":                     data,
	"/usr/share/man/man8/l4d2-update.service.8.gz":              data,
	"/usr/share/man/man8/l4d2@.service.8.gz":                    data,
	"/usr/share/doc/l4d2-host/README.md":                        data,
	"/usr/share/doc/l4d2-host/examples/modded.yaml":             data,
	"/usr/share/doc/l4d2-host/examples/playbook.yml":            data,
	"/usr/share/doc/l4d2-host/examples/private.yaml":            data,
	"/usr/share/doc/l4d2-host/examples/versus.yaml":             data,
}

// onlyDeb is what the formats want each in its own place.
var onlyDeb = map[string]string{
	"/usr/share/doc/l4d2-host/changelog.Debian.gz": data,
	"/usr/share/doc/l4d2-host/changelog.gz":        data,
	"/usr/share/doc/l4d2-host/copyright":           data,
	"/usr/share/lintian/overrides/l4d2-host":       data,
	"/usr/share/zsh/vendor-completions/_l4d2ctl":   data,
}

// onlyRPM has the directories too: rpm removes only those that a package names.
var onlyRPM = map[string]string{
	"/usr/share/doc/l4d2-host/CHANGELOG.md":        data,
	"/usr/share/licenses/l4d2-host/Apache-2.0.txt": data,
	"/usr/share/licenses/l4d2-host/LICENSE":        data,
	"/usr/share/licenses/l4d2-host/copyright":      data,
	"/usr/share/zsh/site-functions/_l4d2ctl":       data,
	"/etc/l4d2-host":                               directory,
	"/usr/libexec/l4d2-host":                       directory,
	"/usr/share/doc/l4d2-host":                     directory,
	"/usr/share/doc/l4d2-host/examples":            directory,
	"/usr/share/l4d2-host":                         directory,
	"/usr/share/licenses/l4d2-host":                directory,
}

// built returns the one file in dist that matches.
func built(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob("../dist/" + pattern)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files in dist match %s, want one: run make deb rpm", len(found), pattern)
	}
	return found[0]
}

func deb(t *testing.T) string { return built(t, "l4d2-host_*.deb") }
func rpm(t *testing.T) string { return built(t, "l4d2-host-*.rpm") }

// output returns what a program prints on standard output.
func output(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, problems.String())
	}
	return string(out)
}

func TestDebContents(t *testing.T) {
	got := map[string]string{}
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb(t))) {
		// mode, owner, size, date, time, path
		f := strings.Fields(line)
		if !strings.HasPrefix(f[0], "d") {
			got[strings.TrimPrefix(f[5], ".")] = f[0] + " " + f[1]
		} else if f[0]+" "+f[1] != directory {
			t.Errorf("%s is %q, want %q", f[5], f[0]+" "+f[1], directory)
		}
	}
	wantContents(t, got, onlyDeb)
}

func TestRPMContents(t *testing.T) {
	got := map[string]string{}
	for line := range strings.Lines(output(t, "rpm", "-qp", "--nosignature", "--queryformat",
		`[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME}\n]`, rpm(t))) {
		path, is, _ := strings.Cut(strings.TrimSpace(line), " ")
		got[path] = is
	}
	wantContents(t, got, onlyRPM)
}

func wantContents(t *testing.T, got, only map[string]string) {
	t.Helper()
	want := maps.Clone(both)
	maps.Copy(want, only)
	for path, is := range got {
		if want[path] != is {
			t.Errorf("%s is %q, want %q", path, is, want[path])
		}
	}
	for path := range want {
		if _, ok := got[path]; !ok {
			t.Errorf("the package lacks %s", path)
		}
	}
}

// TestRelations holds what the packages ask of a system against what is decided.
func TestRelations(t *testing.T) {
	fields := output(t, "dpkg-deb", "--field", deb(t), "Architecture", "Section", "Depends", "Recommends", "Suggests")
	if want := `Architecture: amd64
Section: contrib/net
Depends: systemd (>= 247), default-dbus-system-bus | dbus-system-bus
Recommends: lib32gcc-s1, lib32stdc++6, libc6-i386
Suggests: steamcmd, polkitd
`; fields != want {
		t.Errorf("the deb has\n%s\nwant\n%s", fields, want)
	}
	tags := output(t, "rpm", "-qp", "--nosignature", "--queryformat",
		`%{ARCH} %{BUILDHOST}\n[%{REQUIRENAME} %{REQUIREFLAGS:depflags} %{REQUIREVERSION}\n][%{RECOMMENDNAME}\n][%{SUGGESTNAME}\n]`, rpm(t))
	for _, want := range []string{
		"x86_64 localhost\n", "systemd >= 247\n", "dbus  \n",
		"glibc(x86-32)\n", "libgcc(x86-32)\n", "libstdc++(x86-32)\n", "polkit\n",
	} {
		if !strings.Contains(tags, want) {
			t.Errorf("the rpm lacks %q:\n%s", want, tags)
		}
	}
}

func TestScriptsParse(t *testing.T) {
	scripts, _ := filepath.Glob("scripts/*")
	if len(scripts) != 4 {
		t.Fatalf("scripts %q, want four", scripts)
	}
	for _, script := range scripts {
		output(t, "sh", "-n", script)
	}
}
