package doctor

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

// When a disk is nearly full: below the first it is an error, below the second
// a warning. A start writes little, a server's logs and downloads do not.
const (
	fullBytes   = 64 << 20
	lowBytes    = 1 << 30
	fullInodes  = 1000
	lowPercents = 2
)

func (d *Doctor) checkDisks() {
	seen := map[uint64]bool{}
	for _, name := range []string{"runtime", "instances", instance.OverlaysDir, instance.ReleasesDir, instance.InstallationLayer} {
		path := filepath.Join(d.Layout.Root(), name)
		var st unix.Stat_t
		var disk unix.Statfs_t
		if unix.Stat(path, &st) != nil || seen[st.Dev] {
			continue // that it is missing is said already
		}
		seen[st.Dev] = true
		if err := unix.Statfs(path, &disk); err != nil {
			d.fail(Error, "disk", err)
			continue
		}
		level, text := judgeDisk(disk)
		hint := ""
		if level != OK {
			hint = "make room: see df " + path + ", and df -i for the number of files"
		}
		d.add(level, "disk", hint, "%s: %s", path, text)
	}
}

func judgeDisk(disk unix.Statfs_t) (level, text string) {
	free := disk.Bavail * uint64(disk.Bsize)
	text = size(free) + " free"
	level = OK
	if free < lowBytes {
		level = Warning
	}
	// Some, such as btrfs, make inodes as they need them, and count none.
	if disk.Files > 0 {
		text += fmt.Sprintf(", and room for %d files", disk.Ffree)
		if disk.Ffree*100/disk.Files < lowPercents {
			level = Warning
		}
	}
	if free < fullBytes || disk.Files > 0 && disk.Ffree < fullInodes {
		level = Error
	}
	if disk.Flags&unix.ST_RDONLY != 0 {
		return Error, "mounted read-only"
	}
	return level, text
}

func size(bytes uint64) string {
	switch {
	case bytes >= 10<<30:
		return fmt.Sprintf("%d GiB", bytes>>30)
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
