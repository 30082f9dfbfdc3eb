package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/overlay"
)

// The oldest that will do: of the kernel for statx(2)'s mount attributes, of
// systemd for ProtectProc=; see the package's dependencies.
const (
	oldestKernel  = "5.10"
	oldestSystemd = 247
)

func (d *Doctor) checkKernel() {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		d.fail(Error, "kernel", err)
		return
	}
	release := unix.ByteSliceToString(u.Release[:])
	if olderThan(release, oldestKernel) {
		d.add(Error, "kernel", "boot a kernel from "+oldestKernel+" on", "Linux %s is too old", release)
		return
	}
	loaded, available := overlayModule(release)
	switch {
	case !available:
		d.add(Error, "kernel", "boot a kernel with the module overlay (CONFIG_OVERLAY_FS)", "Linux %s has no overlay file system", release)
	case !loaded:
		d.ok("kernel", "Linux %s; the module overlay is loaded at the first start", release)
	case !d.Superuser:
		d.asRoot("kernel", "Linux %s has the overlay file system; how it would be mounted, only root can find out", release)
	default:
		d.checkMethod(release)
	}
}

func (d *Doctor) checkMethod(release string) {
	method, err := overlay.Chosen()
	if err != nil {
		d.add(Error, "kernel", "see journalctl -k; in a container, let it mount (CAP_SYS_ADMIN)", "Linux %s: %v", release, err)
		return
	}
	d.ok("kernel", "Linux %s; overlays are mounted with %s", release, map[overlay.Method]string{
		overlay.FSContext: "fsopen and descriptors (lowerdir+)", overlay.Classic: "mount and descriptor numbers",
	}[method])
}

// overlayModule says whether the kernel has overlays now, and whether it has or
// could load them.
func overlayModule(release string) (loaded, available bool) {
	known, _ := os.ReadFile("/proc/filesystems")
	if strings.Contains(string(known), "\toverlay\n") {
		return true, true
	}
	found, _ := filepath.Glob("/lib/modules/" + release + "/kernel/fs/overlayfs/overlay.ko*")
	return false, len(found) > 0
}

// olderThan compares the first two numbers of a version.
func olderThan(release, than string) bool {
	var major, minor, wantMajor, wantMinor int
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return false // no version that we know how to read
	}
	fmt.Sscanf(than, "%d.%d", &wantMajor, &wantMinor)
	return major < wantMajor || major == wantMajor && minor < wantMinor
}

func (d *Doctor) checkSystemd(ctx context.Context) {
	if d.Systemd == nil {
		d.add(Unknown, "systemd", "", "systemd is not running on this machine: nothing is known of units")
		return
	}
	version, err := d.Systemd.Version(ctx)
	if err != nil {
		d.fail(Error, "systemd", err)
		return
	}
	digits := strings.TrimLeft(version, "v")
	if i := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		digits = digits[:i]
	}
	number, _ := strconv.Atoi(digits)
	switch {
	case number == 0:
		d.add(Warning, "systemd", "", "version %q is none that can be read", version)
	case number < oldestSystemd:
		d.add(Error, "systemd", fmt.Sprintf("it takes systemd %d", oldestSystemd), "systemd %s would run the game with less of a sandbox", version)
	case number < 254:
		d.ok("systemd", "systemd %s; the time between restarts does not grow (that takes 254)", version)
	default:
		d.ok("systemd", "systemd %s", version)
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		d.add(Warning, "cgroups", "boot with systemd.unified_cgroup_hierarchy=1",
			"the control groups are not of version 2 alone: MemoryMax= and CPUWeight= of a drop-in may have no effect")
	}
}

// loadMounts reads what process 1 has mounted: the helper mounts there.
func (d *Doctor) loadMounts() {
	var err error
	if d.mounts, err = mountinfo.PID(1); err == nil {
		return
	}
	if d.mounts, err = mountinfo.Self(); err != nil {
		d.fail(Error, "mounts", err)
	}
}
