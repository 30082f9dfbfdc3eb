package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
)

const (
	manyMounts = 10
	manyLayers = 400
)

// benchMountinfo measures what every reader of mountinfo pays for long option
// lines: systemd at each mount on the host, and each Go program as it starts.
func (b *bench) benchMountinfo(out io.Writer, w *world) error {
	var names []instance.Name
	for i := range manyMounts {
		n := instance.Name(fmt.Sprintf("many%d", i))
		names = append(names, n)
		if err := w.addInstance(n, manyLayers); err != nil {
			return err
		}
	}
	t, sizes := times{}, map[string]int{}
	ways := []struct {
		name  string
		mount func(o *opened) error
	}{
		{"none mounted", nil},
		{"by " + overlay.Classic.String(), func(o *opened) error { return o.attach(overlay.Classic) }},
		{"by " + overlay.FSContext.String(), func(o *opened) error { return o.attach(overlay.FSContext) }},
		{"by fsopen, descriptors' numbers as text", (*opened).attachNumbers},
	}
	for range b.runs {
		for _, y := range ways {
			if y.mount == nil {
				if err := readMountinfo(y.name, t, sizes); err != nil {
					return err
				}
				continue
			}
			if err := w.withAll(names, y.mount, func() error { return readMountinfo(y.name, t, sizes) }); err != nil {
				return fmt.Errorf("%s: %w", y.name, err)
			}
		}
	}
	fmt.Fprintf(out, `
### What it costs to read /proc/self/mountinfo

With %d instances of %d layers mounted. systemd reads it again at each mount and
unmount on the host, and dozens of times for each namespace that it makes; each
Go program (from Go 1.25 on) reads it once as it starts.

| Mounted | one read | bytes |
|---|---:|---:|
`, manyMounts, manyLayers)
	for _, y := range ways {
		fmt.Fprintf(out, "| %s | %s | %d |\n", y.name, show(t.median(y.name, "")), sizes[y.name])
	}
	return nil
}

// withAll calls f while all the instances are mounted.
func (w *world) withAll(names []instance.Name, mount func(*opened) error, f func() error) error {
	for _, n := range names {
		if err := w.reset(n); err != nil {
			return err
		}
		env, err := instance.ReadEnv(w.Layout, n)
		if err != nil {
			return err
		}
		o, err := w.open(n, env.Lowers)
		if err != nil {
			return err
		}
		err = mount(o)
		o.close()
		if err != nil {
			return err
		}
		defer unix.Unmount(w.Merged(n), unix.UMOUNT_NOFOLLOW)
	}
	return f()
}

func (o *opened) attach(method overlay.Method) error {
	m, err := o.Mount(o.target, method)
	if err != nil {
		return err
	}
	return m.Attach()
}

// attachNumbers is FSContext with numbers of descriptors, relative to
// /proc/thread-self/fd, instead of the descriptors themselves, for which the
// kernel shows whole paths. It needs Linux 6.8.
func (o *opened) attachNumbers() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
		return err
	}
	defer unix.Chdir("/")
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(ctx)
	for _, lower := range o.Lowers {
		if err := unix.FsconfigSetString(ctx, "lowerdir+", strconv.Itoa(lower.FD)); err != nil {
			return err
		}
	}
	for _, s := range [][2]string{{"source", o.Source}, {"upperdir", strconv.Itoa(o.Upper)}, {"workdir", strconv.Itoa(o.Work)},
		{"index", "off"}, {"metacopy", "off"}, {"redirect_dir", "nofollow"}, {"xino", "off"}, {"nfs_export", "off"}} {
		if err := unix.FsconfigSetString(ctx, s[0], s[1]); err != nil {
			return fmt.Errorf("%s: %w", s[0], err)
		}
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		return err
	}
	root, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	return unix.MoveMount(root, "", o.target.Dir, o.target.Name, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

// readMountinfo reads it all, as its readers do.
func readMountinfo(name string, t times, sizes map[string]int) error {
	begin := time.Now()
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	t.add(name, "", time.Since(begin))
	sizes[name] = len(text)
	return err
}
