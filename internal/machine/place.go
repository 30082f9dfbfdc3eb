package machine

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"l4d2-host/internal/debian"

	"golang.org/x/sys/unix"
)

//go:embed warden.sh
var wardenScript string

// searchPath is the PATH of all programs, on the host and inside.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// place is everything on the host that belongs to one machine. The run
// directory is the record of the rest: it is made first and removed last.
//
//	CACHE/run/ID/lock        locked as long as the owner or the warden lives
//	CACHE/run/ID/tree/       the machine's root
//	CACHE/run/ID/console     what systemd and systemd-nspawn printed
//	CGROUP2/l4d2-machine-ID/ boot-*/ for each boot, run-*/ for each Exec
type place struct {
	id     string
	dir    string
	group  string   // the cgroup2 directory
	groups []string // group and its twin in the hierarchy that systemd names
	lock   *os.File

	warden  *exec.Cmd
	leash   io.Closer // closing it sets the warden to work
	remarks *os.File  // what the warden complains of
}

// validName is what can be a host name and a part of file names.
var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

// newPlace makes a run directory and control groups for a machine and sets a
// warden over them. First it removes what dead owners and dead wardens left,
// and tells log if it cannot.
func newPlace(ctx context.Context, name string, log func(format string, args ...any)) (*place, error) {
	if !validName.MatchString(name) {
		return nil, fmt.Errorf("name %q: want up to 40 of a-z, 0-9 and dash", name)
	}
	cache, err := debian.CacheDir()
	if err != nil {
		return nil, err
	}
	runs := filepath.Join(cache, "run")
	if err := os.MkdirAll(runs, 0o700); err != nil {
		return nil, err
	}
	hierarchies, err := hierarchies()
	if err != nil {
		return nil, err
	}
	// One at a time, so that no one sweeps away a directory whose owner has
	// not locked it yet.
	all, err := lock(ctx, filepath.Join(runs, ".lock"))
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if err := sweep(ctx, runs, hierarchies); err != nil {
		log("left-overs: %s", err)
	}
	dir, err := os.MkdirTemp(runs, name+"-")
	if err != nil {
		return nil, err
	}
	p := &place{id: filepath.Base(dir), dir: dir}
	p.groups = groups(hierarchies, p.id)
	p.group = p.groups[0]
	if p.lock, err = lock(ctx, filepath.Join(dir, "lock")); err == nil {
		err = p.setWarden()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.Mkdir(p.group, 0o755); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

func (p *place) tree() string    { return filepath.Join(p.dir, "tree") }
func (p *place) console() string { return filepath.Join(p.dir, "console") }

// setWarden starts the warden. It has the lock too, and no terminal: Ctrl-C
// reaches the owner alone.
func (p *place) setWarden() error {
	var err error
	if p.remarks, err = scratch(p.dir); err != nil {
		return err
	}
	p.warden = wardenCommand(p.dir, p.groups)
	p.warden.Stderr = p.remarks
	p.warden.ExtraFiles = []*os.File{p.lock}
	if p.leash, err = p.warden.StdinPipe(); err != nil {
		return err
	}
	return p.warden.Start()
}

// wardenCommand returns the script, ready to start.
func wardenCommand(dir string, groups []string) *exec.Cmd {
	args := []string{"-c", wardenScript, "warden", dir, filepath.Base(dir)}
	cmd := exec.Command("/bin/sh", append(args, groups...)...)
	cmd.Dir = "/"
	cmd.Env = []string{searchPath}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// remove lets the warden do its work and waits for it.
func (p *place) remove() error {
	p.leash.Close()
	p.lock.Close()
	defer p.remarks.Close()
	late := time.AfterFunc(closeLimit, func() { p.warden.Process.Kill() })
	defer late.Stop()
	if err := p.warden.Wait(); err != nil {
		return fmt.Errorf("clean up %s: %w: %s", p.dir, err, readBack(p.remarks))
	}
	return nil
}

// kill ends everything in the machine's control groups.
func (p *place) kill() error {
	return os.WriteFile(filepath.Join(p.group, "cgroup.kill"), []byte("1"), 0)
}

// consoleTail returns the console's last lines, for the end of an error.
func (p *place) consoleTail() string {
	text, _ := os.ReadFile(p.console())
	return "\nthe console's last lines:\n" + lastLines(string(text), 30)
}

// sweep removes what machines left whose owner and warden are both dead. The
// caller holds the lock of the run directories.
func sweep(ctx context.Context, runs string, hierarchies []string) error {
	entries, err := os.ReadDir(runs)
	if err != nil {
		return err
	}
	var failed []error
	for _, e := range entries {
		dir := filepath.Join(runs, e.Name())
		if !e.IsDir() || inUse(dir) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, closeLimit)
		cmd := wardenCommand(dir, groups(hierarchies, e.Name()))
		stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
		if out, err := cmd.CombinedOutput(); err != nil {
			failed = append(failed, fmt.Errorf("clean up %s: %w: %s", dir, err, out))
		}
		stop()
		cancel()
	}
	return errors.Join(failed...)
}

// inUse tells whether the owner or the warden of a run directory lives.
func inUse(dir string) bool {
	f, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false // its owner died between making the directory and the lock
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// hierarchies returns the mount points of cgroup2 and, where the host has it,
// of the v1 hierarchy named systemd, in which systemd-nspawn makes the same
// groups again.
func hierarchies() ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var unified, named []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, fs, _ := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(mount)
		switch {
		case strings.HasPrefix(fs, "cgroup2 ") && unified == nil:
			unified = []string{fields[4]}
		case strings.HasPrefix(fs, "cgroup ") && strings.Contains(fs, "name=systemd"):
			named = []string{fields[4]}
		}
	}
	if unified == nil {
		return nil, errors.New("no cgroup2 file system is mounted on this host: mount one on /sys/fs/cgroup/unified")
	}
	return append(unified, named...), nil
}

// groups returns the control groups of the machine called id.
func groups(hierarchies []string, id string) []string {
	var groups []string
	for _, h := range hierarchies {
		groups = append(groups, filepath.Join(h, "l4d2-machine-"+id))
	}
	return groups
}

// scratch returns a new file in dir that has no name any more.
func scratch(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "scratch-")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// readBack returns all that was written to f.
func readBack(f *os.File) string {
	text, _ := io.ReadAll(io.NewSectionReader(f, 0, 1<<62))
	return string(text)
}
