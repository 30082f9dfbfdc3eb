package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// keyring is what the archive must be signed with, from the package
// debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is an apt that knows one suite and nothing of the host's packages; how
// to reach a mirror (proxies and the like) it takes from the host.
type apt struct{ dir, config string }

// fetch fills the directory dir, which it makes.
func fetch(ctx context.Context, v Version, mirrors []string, dir string) error {
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return err
	}
	a, err := newApt(ctx, v.Suite, mirrors, filepath.Join(tmp, "apt"))
	if err != nil {
		return err
	}
	image, err := a.newest(ctx, v.pattern())
	if err != nil {
		return err
	}
	packages, err := a.parts(ctx, image)
	if err != nil {
		return err
	}
	tree := filepath.Join(tmp, "tree")
	version, err := a.unpack(ctx, append(packages, "busybox-static"), image, tree)
	if err != nil {
		return err
	}
	if err := collect(tree, dir); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, packageFile), []byte(image+" "+version+"\n"), 0o644); err != nil {
		return err
	}
	return os.RemoveAll(tmp)
}

// newApt returns an apt with the lists of suite from the first mirror that has
// them. Further mirrors may be archives of what is past its end of life, whose
// signatures are out of date: only the first is asked for recent ones.
func newApt(ctx context.Context, suite string, mirrors []string, dir string) (*apt, error) {
	var errs []error
	for i, mirror := range mirrors {
		a := &apt{dir, filepath.Join(dir, "apt.conf")}
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		if err := a.configure(suite, mirror, i > 0); err != nil {
			return nil, err
		}
		// Otherwise it succeeds when nothing could be fetched.
		_, err := a.run(ctx, "apt-get", "update", "-o", "APT::Update::Error-Mode=any")
		if err == nil {
			return a, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", mirror, err))
	}
	return nil, errors.Join(errs...)
}

func (a *apt) configure(suite, mirror string, outdated bool) error {
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "debs"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil {
			return err
		}
	}
	sources := ""
	// Backports hold kernels, but no busybox.
	for _, s := range slices.Compact([]string{suite, strings.TrimSuffix(suite, "-backports")}) {
		sources += fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, mirror, s)
	}
	// Languages and targets: nothing but the list of packages is of use here.
	// Sandbox: its user may not be able to enter the cache.
	config := fmt.Sprintf(`Dir::State %[1]q;
Dir::State::status %[2]q;
Dir::Cache %[3]q;
Dir::Etc::sourcelist %[4]q;
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Default-Release "";
APT::Sandbox::User "";
APT::Get::List-Cleanup "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "%[5]t";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
`, filepath.Join(a.dir, "state"), filepath.Join(a.dir, "status"), filepath.Join(a.dir, "cache"),
		filepath.Join(a.dir, "sources.list"), !outdated)
	for name, text := range map[string]string{"status": "", "sources.list": sources, "apt.conf": config} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (a *apt) run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.config, "LC_ALL=C.UTF-8")
	cmd.Dir = filepath.Join(a.dir, "debs")
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, args[0], errors.Join(err, context.Cause(ctx)), bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// newest returns the name of the newest package that matches the pattern.
func (a *apt) newest(ctx context.Context, pattern string) (string, error) {
	out, err := a.run(ctx, "apt-cache", "search", "--names-only", pattern)
	if err != nil {
		return "", err
	}
	var names []string
	for line := range strings.Lines(out) {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	if names == nil {
		return "", fmt.Errorf("the suite has no package %s", pattern)
	}
	return slices.MaxFunc(names, compareVersions), nil
}

// compareVersions compares names that hold numbers: runs of digits by value,
// all else by bytes. The names of one package's versions need no more.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na == 0 || nb == 0 {
			if a[0] != b[0] {
				return int(a[0]) - int(b[0])
			}
			a, b = a[1:], b[1:]
			continue
		}
		x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
		if len(x) != len(y) {
			return len(x) - len(y)
		}
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

var isPart = regexp.MustCompile(`^linux-(binary|modules|base)-[0-9]`)

// parts returns the package image and those among its dependencies that hold
// the rest of the kernel: from 7.2 on image is empty, and the kernel is in
// linux-binary-…, the modules in linux-modules-…, their index in linux-base-….
func (a *apt) parts(ctx context.Context, image string) ([]string, error) {
	out, err := a.run(ctx, "apt-cache", "depends", "--important", image)
	if err != nil {
		return nil, err
	}
	parts := []string{image}
	for line := range strings.Lines(out) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "Depends: ")
		if ok && isPart.MatchString(name) {
			parts = append(parts, name)
		}
	}
	return parts, nil
}

// unpack unpacks packages into tree and returns the version of one of them.
func (a *apt) unpack(ctx context.Context, packages []string, of, tree string) (string, error) {
	if _, err := a.run(ctx, "apt-get", append([]string{"download"}, packages...)...); err != nil {
		return "", err
	}
	debs, err := filepath.Glob(filepath.Join(a.dir, "debs", "*.deb"))
	if err != nil {
		return "", err
	}
	version := ""
	for _, deb := range debs {
		if _, err := a.run(ctx, "dpkg-deb", "-x", deb, tree); err != nil {
			return "", err
		}
		out, err := a.run(ctx, "dpkg-deb", "-W", "--showformat=${Package} ${Version}", deb)
		if err != nil {
			return "", err
		}
		if v, ok := strings.CutPrefix(out, of+" "); ok {
			version = v
		}
	}
	return version, nil
}
