// Package machine boots throw-away Debian systems, with systemd as their first
// process, for tests and the demonstration. It needs root, mmdebstrap and
// systemd-container, and is never packaged.
//
// A machine is a systemd-nspawn container: it shares the host's kernel, has a
// network of its own with nothing but a loopback device, and is up in about a
// second. It is no place to test resource limits (where the host keeps its
// controllers on cgroup v1 they have no effect) nor the loss of power (what was
// written stays in the host's page cache).
package machine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"l4d2-host/internal/debian"

	"golang.org/x/sys/unix"
)

// The limits on everything that waits for another program. A context can only
// shorten them. They are many times what an idle host needs, because tests run
// beside other tests.
const (
	buildLimit    = 10 * time.Minute
	copyLimit     = 2 * time.Minute
	bootLimit     = 2 * time.Minute
	shutdownLimit = 2 * time.Minute // systemd itself gives a unit 90 s to stop
	runLimit      = 5 * time.Minute
	closeLimit    = time.Minute
)

// ErrOff is what the methods that need a running machine return, wrapped, when
// it is not running.
var ErrOff = errors.New("the machine is off")

// Options say what to boot.
type Options struct {
	Dist Distribution // needed
	Name string       // host name and prefix of the run directory; the distribution's name if empty
	Log  io.Writer    // receives a line for each step that takes time; may be nil

	// Packages come on top of those that every machine has. Each list of them is
	// a root of its own in the cache.
	Packages []string

	// Bind and BindReadOnly are directories or files of the host to show
	// inside, as HOST or HOST:INSIDE.
	Bind, BindReadOnly []string
}

// Machine is one booted, or powered-off, system. Its methods may be called from
// several goroutines, except those that start and stop it.
type Machine struct {
	name  string
	opts  Options
	place *place // run directory, control groups, warden

	mu      sync.Mutex
	payload *payload // nil when off
	closed  bool
}

// Boot copies the distribution's root, building that first if need be, boots
// the copy and waits until its systemd has nothing left to start. A unit that
// failed meanwhile is no error: it is named in the log. The caller must Close
// the machine; if it dies instead, everything is removed all the same.
func Boot(ctx context.Context, o Options) (*Machine, error) {
	if o.Name == "" {
		o.Name = string(o.Dist)
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	m := &Machine{name: o.Name, opts: o}
	root, err := root(ctx, o.Dist, o.Packages, o.Log)
	if err != nil {
		return nil, err
	}
	if m.place, err = newPlace(ctx, o.Name, m.log); err != nil {
		return nil, m.wrap("boot", err)
	}
	if err := m.copyRoot(ctx, root); err != nil {
		return nil, errors.Join(m.wrap("boot", err), m.Close())
	}
	if err := m.Start(ctx); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Name is the machine's host name.
func (m *Machine) Name() string { return m.name }

// Leader is the process ID, on the host, of the machine's systemd, or 0 when
// the machine is off.
func (m *Machine) Leader() int {
	if p := m.running(); p != nil {
		return p.leader
	}
	return 0
}

// Start boots a machine that is off, on the tree as it was left.
func (m *Machine) Start(ctx context.Context) error {
	if m.running() != nil {
		return m.wrap("start", errors.New("it is running already"))
	}
	if m.isClosed() {
		return m.wrap("start", errors.New("it has been closed"))
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bootLimit, fmt.Errorf("not up within %s", bootLimit))
	defer cancel()
	begin := time.Now()
	p, err := m.place.start(ctx, m.name, m.opts.Bind, m.opts.BindReadOnly)
	if err != nil {
		return m.wrap("start", err)
	}
	m.mu.Lock()
	m.payload = p
	m.mu.Unlock()
	if err := m.settled(ctx); err != nil {
		return errors.Join(m.wrap("start", err), m.Kill())
	}
	m.log("up after %s", time.Since(begin).Round(time.Millisecond))
	return nil
}

// settled waits until systemd has no jobs left, and logs the units that failed.
func (m *Machine) settled(ctx context.Context) error {
	r, err := m.Run(ctx, "systemctl", "is-system-running", "--wait")
	if err != nil {
		return err
	}
	switch state := strings.TrimSpace(r.Stdout); state {
	case "running":
		return nil
	case "degraded":
		failed, err := m.Run(ctx, "systemctl", "--failed", "--plain", "--no-legend", "--no-pager")
		m.log("degraded:\n%s", failed.Stdout)
		return err
	default:
		return fmt.Errorf("systemd is %q: %s%s", state, r.Stderr, m.place.consoleTail())
	}
}

// Reboot makes the machine's systemd stop everything and reboot, and waits
// until it is up again. The tree stays; /run and /tmp are new.
func (m *Machine) Reboot(ctx context.Context) error {
	if err := m.shutdown(ctx, "reboot"); err != nil {
		return err
	}
	return m.Start(ctx)
}

// Poweroff makes the machine's systemd stop everything and waits until it has.
// Journal and the file methods work on; Start boots it again.
func (m *Machine) Poweroff(ctx context.Context) error { return m.shutdown(ctx, "poweroff") }

// shutdown asks systemd for verb, reboot or poweroff, and waits for the end of
// the container.
func (m *Machine) shutdown(ctx context.Context, verb string) error {
	p := m.running()
	if p == nil {
		return m.wrap(verb, ErrOff)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, shutdownLimit, fmt.Errorf("not down within %s", shutdownLimit))
	defer cancel()
	// systemctl may be killed by the very shutdown that it asked for, so its
	// result counts only when it comes before the end of the machine.
	r, err := m.Run(ctx, "systemctl", "--no-block", verb)
	if p.alive() && (err != nil || r.Code != 0) {
		return m.wrap(verb, errors.Join(err, fmt.Errorf("systemctl %s: exit code %d: %s", verb, r.Code, r.Stderr)))
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return m.wrap(verb, fmt.Errorf("%w%s", context.Cause(ctx), m.place.consoleTail()))
	}
	want := 0
	if verb == "reboot" {
		want = rebootCode
	}
	if p.code != want {
		return m.wrap(verb, fmt.Errorf("systemd-nspawn ended with code %d, want %d%s", p.code, want, m.place.consoleTail()))
	}
	return nil
}

// Kill ends every process of the machine at once, as a crash would, without
// stopping any unit. The tree stays. Killing a machine that is off does nothing.
func (m *Machine) Kill() error {
	p := m.running()
	if p == nil {
		return nil
	}
	// All others die with process 1, and systemd-nspawn cleans up after it.
	if err := unix.Kill(p.leader, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return m.wrap("kill", err)
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(closeLimit):
		return m.wrap("kill", fmt.Errorf("still there after %s", closeLimit))
	}
}

// Close ends the machine and removes all that belongs to it. It may be called
// several times.
func (m *Machine) Close() error {
	m.mu.Lock()
	closed := m.closed
	m.closed = true
	m.mu.Unlock()
	if closed {
		return nil
	}
	p := m.running()
	if err := m.place.remove(); err != nil {
		return m.wrap("close", err)
	}
	if p != nil {
		<-p.done // the warden has ended it
	}
	return nil
}

// copyRoot makes the machine's own tree: the pristine root with an identity.
func (m *Machine) copyRoot(ctx context.Context, root string) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, copyLimit, fmt.Errorf("copying the root took over %s", copyLimit))
	defer cancel()
	var fs unix.Statfs_t
	if err := unix.Statfs(m.place.dir, &fs); err != nil {
		return fmt.Errorf("statfs %s: %w", m.place.dir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s lies on an overlayfs, which cannot carry another one's upper directory: "+
			"point %s to a directory on ext4, xfs or btrfs", m.place.dir, debian.CacheVariable)
	}
	tree := m.place.tree()
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", root, tree).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the root: %w: %s", errors.Join(err, context.Cause(ctx)), out)
	}
	id := make([]byte, 16)
	rand.Read(id)
	for file, text := range map[string]string{
		// With a machine ID of its own systemd does not take this for a first
		// boot, which would enable every unit by its preset.
		"etc/machine-id": hex.EncodeToString(id) + "\n",
		"etc/hostname":   m.name + "\n",
		"etc/hosts":      "127.0.0.1 localhost\n127.0.1.1 " + m.name + "\n::1 localhost\n",
	} {
		if err := os.WriteFile(filepath.Join(tree, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	m.log("root copied in %s", time.Since(begin).Round(time.Millisecond))
	return nil
}

// running returns the machine's processes, or nil when it is off.
func (m *Machine) running() *payload {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.payload != nil && !m.payload.alive() {
		m.payload = nil
	}
	return m.payload
}

func (m *Machine) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func (m *Machine) log(format string, args ...any) {
	fmt.Fprintf(m.opts.Log, "machine %s: %s\n", m.name, fmt.Sprintf(format, args...))
}

func (m *Machine) wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("machine %s: %s: %w", m.name, what, err)
}
