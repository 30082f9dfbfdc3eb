// Package kernel runs programs under the kernels that Debian serves, each in a
// virtual machine of its own, for the tests of what depends on the kernel. It
// needs qemu and no KVM, apt, and no root; it is for Debian hosts on amd64 and
// is imported by tests only.
//
// A machine runs one program after the other, as root, on an ext4 file system,
// with busybox as its shell and without systemd or a network: what needs these
// is for package machine, and what needs a kernel of its own as well, such as
// limits of resources, boots a machine's tree here (Payload.System).
package kernel

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"l4d2-host/internal/debian"
	"l4d2-host/internal/lockfile"
)

// Version says which kernel to take: the newest of a series in a suite.
type Version struct {
	Series string // "6.12", or "" for whatever is newest
	Suite  string
}

// Versions are those that the project is tested with, oldest first. Each is
// the newest of its series in the suite named; another one is another line.
var Versions = []Version{
	{"5.10", "bullseye"},
	{"6.1", "bookworm"},
	{"6.12", "trixie"},
	{"6.18", "trixie-backports"},
	{"", "trixie-backports"},
}

// String returns the series, or "newest".
func (v Version) String() string {
	if v.Series == "" {
		return "newest"
	}
	return v.Series
}

// pattern matches the names of the packages with such a kernel: the flavour
// that is made for virtual machines boots fastest.
func (v Version) pattern() string {
	number := `[0-9]+\.[0-9]+`
	if v.Series != "" {
		number = regexp.QuoteMeta(v.Series)
	}
	return `^linux-image-` + number + `[.-][^ ]*-cloud-amd64$`
}

// Kernel is one that is ready to boot.
type Kernel struct {
	Version
	Package string // the Debian package with its version: "linux-image-… 6.12.1-1"
	dir     string
}

func (k Kernel) image() string   { return filepath.Join(k.dir, imageFile) }
func (k Kernel) modules() string { return filepath.Join(k.dir, modulesDir) }

// Busybox is the path of a statically linked busybox of the same suite.
func (k Kernel) Busybox() string { return filepath.Join(k.dir, busyboxFile) }

// What lies in a kernel's directory.
const (
	imageFile   = "vmlinuz"
	modulesDir  = "modules" // the needed ones, named in the order of loading
	busyboxFile = "busybox"
	packageFile = "package"
)

// recipe goes up when what fetch leaves in the directory changes.
const recipe = 1

// fetchLimit is how long it may take to get a kernel; 3 to 20 s are usual.
const fetchLimit = 10 * time.Minute

// Get returns the kernel of version v: from the cache without asking anyone,
// or else from the Debian archive. To have a newer package of the same series,
// remove the directory kernels from the cache.
func Get(ctx context.Context, v Version) (Kernel, error) {
	k, err := get(ctx, v)
	if err != nil {
		return Kernel{}, fmt.Errorf("kernel %s (%s): %w", v, v.Suite, err)
	}
	return k, nil
}

func get(ctx context.Context, v Version) (Kernel, error) {
	cache, err := debian.CacheDir()
	if err != nil {
		return Kernel{}, err
	}
	kernels := filepath.Join(cache, "kernels")
	dir := filepath.Join(kernels, v.key())
	if k, err := open(v, dir); err == nil {
		return k, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, fetchLimit, fmt.Errorf("not fetched within %s", fetchLimit))
	defer cancel()
	if err := os.MkdirAll(kernels, 0o755); err != nil {
		return Kernel{}, err
	}
	lock, err := lock(ctx, dir+".lock")
	if err != nil {
		return Kernel{}, err
	}
	defer lock.Unlock()
	if k, err := open(v, dir); err == nil {
		return k, nil // another process has fetched it meanwhile
	}
	// Whatever lies there was left by a process that was killed: only the
	// holder of the lock fetches.
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return Kernel{}, err
	}
	defer os.RemoveAll(partial)
	mirrors, err := debian.Mirrors(ctx)
	if err != nil {
		return Kernel{}, err
	}
	if err := fetch(ctx, v, mirrors, partial); err != nil {
		return Kernel{}, err
	}
	if err := os.Rename(partial, dir); err != nil {
		return Kernel{}, err
	}
	return open(v, dir)
}

// key names a kernel's directory after everything that decides what is in it.
func (v Version) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d", v.Suite, v.pattern(), wanted, recipe)
	return v.String() + "-" + hex.EncodeToString(h.Sum(nil))[:12]
}

func open(v Version, dir string) (Kernel, error) {
	name, err := os.ReadFile(filepath.Join(dir, packageFile))
	return Kernel{v, strings.TrimSpace(string(name)), dir}, err
}

// lock takes the first lock that gets free.
func lock(ctx context.Context, paths ...string) (*lockfile.Lock, error) {
	for {
		var err error
		for _, path := range paths {
			var l *lockfile.Lock
			if l, err = lockfile.TryLock(path); !errors.Is(err, lockfile.ErrHeld) {
				return l, err
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, context.Cause(ctx))
		}
	}
}
