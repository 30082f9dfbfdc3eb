package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/debian"
)

// Distribution is the code name of a Debian release.
type Distribution string

// The releases that can be booted.
const (
	Debian12 Distribution = "bookworm"
	Debian13 Distribution = "trixie"
)

// Distributions are all of them, oldest first.
var Distributions = []Distribution{Debian12, Debian13}

// packages come on top of apt and what Debian calls essential. udev is left
// out: in a container it never runs, and it doubles the time of a copy.
var packages = []string{"systemd-sysv", "dbus", "iproute2", "procps"}

// variant is what mmdebstrap calls this smallest set that has apt.
const variant = "minbase"

// finish is run by mmdebstrap with the new root as $1. It takes away what is
// useless in a throw-away container and costs time at each copy or boot, and
// makes the journal outlive a shutdown, so that it can be read afterwards.
const finish = `set -eu
cd "$1"
rm -rf usr/share/doc/* usr/share/man/* usr/share/locale/* usr/share/info/* var/cache/apt/*.bin
rm -f etc/apt/apt.conf.d/99mmdebstrap etc/resolv.conf
for unit in console-getty.service getty@.service apt-daily.timer apt-daily-upgrade.timer \
	dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
	ln -sf /dev/null "etc/systemd/system/$unit"
done
mkdir -p etc/systemd/journald.conf.d
printf '[Journal]\nStorage=persistent\n' >etc/systemd/journald.conf.d/persistent.conf
`

// Root returns the directory of the distribution's pristine root, with some
// packages more than usual if need be, which the caller must not change. The
// first call builds it, for some 15 s, with packages from the mirror that the
// host's apt uses; the result is kept in the cache for as long as what it is
// made from stays the same.
func Root(ctx context.Context, dist Distribution, extra ...string) (string, error) {
	return root(ctx, dist, extra, io.Discard)
}

func root(ctx context.Context, dist Distribution, extra []string, log io.Writer) (string, error) {
	if !slices.Contains(Distributions, dist) {
		return "", fmt.Errorf("root %q: no such distribution, there are %v", dist, Distributions)
	}
	cache, err := debian.CacheDir()
	if err != nil {
		return "", fmt.Errorf("root %s: %w", dist, err)
	}
	roots := filepath.Join(cache, "roots")
	dir := filepath.Join(roots, rootKey(dist, extra))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, buildLimit, fmt.Errorf("not built within %s", buildLimit))
	defer cancel()
	if err := os.MkdirAll(roots, 0o755); err != nil {
		return "", fmt.Errorf("root %s: %w", dist, err)
	}
	lock, err := lock(ctx, dir+".lock")
	if err != nil {
		return "", fmt.Errorf("root %s: %w", dist, err)
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // another process has built it meanwhile
	}
	begin := time.Now()
	fmt.Fprintf(log, "root %s: building %s\n", dist, dir)
	// Whatever lies there was left by a build that was killed: only the
	// holder of the lock builds.
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return "", fmt.Errorf("root %s: %w", dist, err)
	}
	if err := build(ctx, dist, extra, partial); err != nil {
		return "", fmt.Errorf("root %s: %w", dist, errors.Join(err, os.RemoveAll(partial)))
	}
	if err := os.Rename(partial, dir); err != nil {
		return "", fmt.Errorf("root %s: %w", dist, err)
	}
	fmt.Fprintf(log, "root %s: built in %s\n", dist, time.Since(begin).Round(100*time.Millisecond))
	return dir, nil
}

// rootKey names a root after everything that it is made from.
func rootKey(dist Distribution, extra []string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", []string{string(dist), runtime.GOARCH, variant, include(extra), finish})
	return string(dist) + "-" + hex.EncodeToString(h.Sum(nil))[:12]
}

// include names the packages of a root.
func include(extra []string) string {
	return strings.Join(slices.Concat(packages, extra), ",")
}

// build runs mmdebstrap, which makes dir. Should this process die, the build
// dies too, and with its namespaces everything it mounted.
func build(ctx context.Context, dist Distribution, extra []string, dir string) error {
	if _, err := exec.LookPath("mmdebstrap"); err != nil {
		return fmt.Errorf("%w: install mmdebstrap and systemd-container", err)
	}
	mirrors, err := debian.Mirrors(ctx)
	if err != nil {
		return err
	}
	args := []string{"--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
		"mmdebstrap", "--quiet", "--mode=root", "--format=directory", "--variant=" + variant,
		"--include=" + include(extra), "--customize-hook=" + finish}
	for _, option := range aptOptions(ctx) {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, string(dist), dir, mirrors[0])
	cmd := exec.CommandContext(ctx, "unshare", args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = 10 * time.Second
	// The signal comes when the thread that forked ends: keep it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mmdebstrap: %w:\n%s", errors.Join(err, context.Cause(ctx)), lastLines(output.String(), 20))
	}
	return nil
}

// aptOptions returns the host's apt settings that say how to reach a mirror
// (proxies, certificates, clocks): mmdebstrap does not read the host's files.
func aptOptions(ctx context.Context) []string {
	out, _ := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", "Acquire").Output()
	var options []string
	for line := range strings.Lines(string(out)) {
		for _, prefix := range []string{"Acquire::http", "Acquire::Check-", "Acquire::Retries"} {
			if strings.HasPrefix(line, prefix) {
				options = append(options, strings.TrimSpace(line))
			}
		}
	}
	return options
}

// lock waits for the exclusive lock on a file that it makes if need be. Closing
// the file gives the lock back.
func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("lock %s, which another process holds: %w", path, context.Cause(ctx))
		}
	}
}

// lastLines returns the last n lines of s.
func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
