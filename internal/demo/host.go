package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ours are the places where the package would put something, and a machine of
// ours its control groups.
var ours = []string{
	"/usr/bin/l4d2ctl", "/usr/libexec/l4d2-host", "/usr/share/doc/l4d2-host", "/var/lib/dpkg/info/l4d2-host.list",
	"/var/lib/l4d2", "/var/lib/l4d2/*", "/var/lib/l4d2/*/*",
	"/usr/lib/*/l4d2*", "/usr/lib/systemd/system/l4d2*", "/usr/lib/systemd/system/*/l4d2*",
	"/etc/systemd/system/l4d2*", "/etc/systemd/system/*/l4d2*", "/run/systemd/*/l4d2*", "/run/systemd/*/*/l4d2*",
}

// traces lists all on this host that is l4d2-host's, and, after the machine that
// lay in dir is gone, all that is that machine's; before, dir is empty. Other
// machines may run beside: theirs is not listed. A host may well have l4d2-host
// installed, so that only what was added in between is a trace of the machine.
func traces(dir string) ([]string, error) {
	var found []string
	places := ours
	marks := []string{"/var/lib/l4d2/"}
	if dir != "" {
		id := filepath.Base(dir)
		places = append(slices.Clone(ours), dir, "/sys/fs/cgroup/*"+id, "/sys/fs/cgroup/*/*"+id, "/run/systemd/nspawn/*/"+id)
		marks = append(marks, id)
		found = append(found, processes(id)...)
	}
	for _, place := range places {
		paths, err := filepath.Glob(place)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			found = append(found, "file "+path)
		}
	}
	for _, file := range []string{"/proc/1/mountinfo", "/proc/self/mountinfo"} {
		mounts, err := grep(file, func(line string) bool {
			point := strings.Fields(line)[4]
			return slices.ContainsFunc(marks, func(mark string) bool { return strings.Contains(point, mark) })
		})
		if err != nil {
			return nil, err
		}
		found = append(found, mounts...)
	}
	for _, file := range []string{"/etc/passwd", "/etc/group"} {
		users, err := grep(file, func(line string) bool { return strings.HasPrefix(line, "l4d2:") })
		if err != nil {
			return nil, err
		}
		found = append(found, users...)
	}
	return found, nil
}

// grep returns the lines of a file that are wanted, each behind its name.
func grep(file string, want func(line string) bool) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if want(line) {
			found = append(found, file+": "+strings.TrimSpace(line))
		}
	}
	return found, nil
}

// processes lists those that are in a control group of the machine called id,
// or that name it in their command line, as its systemd-nspawn does.
func processes(id string) []string {
	var found []string
	pids, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, pid := range pids {
		for _, file := range []string{"cgroup", "cmdline"} {
			text, err := os.ReadFile(filepath.Join(pid, file))
			if err == nil && strings.Contains(string(text), id) {
				found = append(found, fmt.Sprintf("process %s: %s %q", filepath.Base(pid), file, text))
			}
		}
	}
	return found
}

// reapLimit is how long the host's process 1 may take to reap the machine's
// dead. Until then they are listed.
const reapLimit = 10 * time.Second

// untouched returns an error that names what was not on this host before, and is
// there now that the machine that lay in dir is gone.
func untouched(before []string, dir string) error {
	for end := time.Now().Add(reapLimit); ; time.Sleep(20 * time.Millisecond) {
		after, err := traces(dir)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(after, func(trace string) bool { return slices.Contains(before, trace) })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("left on this host:\n%s", strings.Join(left, "\n"))
		}
	}
}
