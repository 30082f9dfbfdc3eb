package main

import (
	"fmt"
	"io"
	"os"
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
		{"by fsopen, with the descriptors themselves", (*opened).attachDescriptors},
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
unmount on the host, and some 90 times for each sandbox that it makes, with each
mount in it twice (257, in a container, where /proc holds mounts too: the tree is
bound recursively, and what lies at each path looked up); each Go program (from Go 1.25 on) reads it once as it starts.

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

// attachDescriptors is FSContext with the descriptors themselves, whose whole
// paths the kernel then shows. It needs Linux 6.13.
func (o *opened) attachDescriptors() error {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(ctx)
	for _, lower := range o.Lowers {
		if err := unix.FsconfigSetFd(ctx, "lowerdir+", lower.FD); err != nil {
			return err
		}
	}
	for key, fd := range map[string]int{"upperdir": o.Upper, "workdir": o.Work} {
		if err := unix.FsconfigSetFd(ctx, key, fd); err != nil {
			return fmt.Errorf("%s: %w", key, err)
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
