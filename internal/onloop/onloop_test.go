package onloop

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

// A mount leaves its thread in the root directory, so that a relative path holds
// no longer.
var images, _ = filepath.Abs("testdata")

// newHost returns an instance without layers whose root is the file system in
// the image.
func newHost(t *testing.T, image, fstype string) *activation.Activation {
	t.Helper()
	privatens.LockThread()
	layout, err := instance.NewLayout(filepath.Join(mount(t, image, fstype), "root"))
	must(t, err)
	for _, dir := range []string{layout.RuntimeDir(), layout.Overlays(), layout.Instance("a"), layout.Installation()} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	env, err := instance.Env{Port: 27916, Lowers: []string{instance.InstallationLayer}}.Format()
	must(t, err)
	for path, text := range map[string]string{
		layout.Env("a"):                        string(env),
		layout.ServerConfig("a"):               "hostname a\n",
		layout.Installation() + "/srcds_linux": "#!",
		layout.Installation() + "/lower":       "text",
	} {
		must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	t.Cleanup(func() { unix.Unmount(layout.Merged("a"), unix.MNT_DETACH) })
	return &activation.Activation{
		Layout: layout, Name: "a", Owner: activation.Owner{UID: 61_234, GID: 61_235},
		Log: journal.New(io.Discard, false),
	}
}

// mount mounts the file system in the image, for as long as the test runs.
func mount(t *testing.T, image, fstype string) (disk string) {
	t.Helper()
	disk = t.TempDir()
	must(t, unix.Mount(attach(t, image), disk, fstype, 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(disk, unix.MNT_DETACH)) })
	return disk
}

// attach puts a loop device on the image. The device goes when it is unmounted.
func attach(t *testing.T, image string) (device string) {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(control)
	backing, err := unix.Open(image, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(backing)
	for range 20 { // another process may take the free one first
		number, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		must(t, err)
		device = fmt.Sprintf("/dev/loop%d", number)
		loop, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
		must(t, err)
		err = unix.IoctlLoopConfigure(loop, &unix.LoopConfig{
			Fd: uint32(backing), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			t.Cleanup(func() { unix.Close(loop) })
			return device
		}
		unix.Close(loop)
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
	}
	t.Fatal("no free loop device")
	return ""
}

// ext4 makes an image with mke2fs.
func ext4(t *testing.T, args ...string) (image string) {
	t.Helper()
	privatens.Need(t)
	image = filepath.Join(t.TempDir(), "ext4.img")
	args = append([]string{"-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1"}, append(args, image, "16M")...)
	if out, err := exec.Command("mke2fs", args...).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return image
}

// unpack unpacks an empty btrfs or xfs, as the tools to make one are not
// everywhere. They were made by
//
//	truncate -s 16M img && mkfs.btrfs -M -n 4096 -m single -d single img
//	truncate -s 64M img && mkfs.xfs --unsupported img
//
// (smaller than what is supported of xfs) and packed twice with gzip -9n, as the
// zeros of 16 MiB are 16 KiB when packed.
func unpack(t *testing.T, fstype string) (image string) {
	t.Helper()
	privatens.Need(t)
	in, err := os.Open(filepath.Join(images, fstype+".img.gz.gz"))
	must(t, err)
	defer in.Close()
	outer, err := gzip.NewReader(in)
	must(t, err)
	inner, err := gzip.NewReader(outer)
	must(t, err)
	image = filepath.Join(t.TempDir(), fstype+".img")
	out, err := os.Create(image)
	must(t, err)
	defer out.Close()
	_, err = io.Copy(out, inner)
	must(t, err)
	return image
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantLife(t *testing.T, a *activation.Activation) {
	t.Helper()
	must(t, a.Mount())
	must(t, os.Remove(a.Layout.Merged("a")+"/lower"))
	must(t, os.Mkdir(a.Layout.Merged("a")+"/new", 0o755))
	must(t, a.Unmount())
	must(t, a.Mount())
	if _, err := os.Lstat(a.Layout.Merged("a") + "/lower"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was removed is back: %v", err)
	}
	must(t, a.Unmount())
}

func wantRefusal(t *testing.T, a *activation.Activation, text string) {
	t.Helper()
	err := a.Mount()
	if err == nil || !strings.Contains(err.Error(), text) || advice.For(err) == "" {
		t.Errorf("error %v with the advice %q, want %q", err, advice.For(err), text)
	}
	if names, err := os.ReadDir(a.Layout.Merged("a")); len(names) != 0 {
		t.Errorf("merged is not empty: %v, %v", names, err)
	}
}

func TestPlain(t *testing.T) {
	t.Run("ext4", func(t *testing.T) { wantLife(t, newHost(t, ext4(t), "ext4")) })
	for _, fstype := range []string{"btrfs", "xfs"} {
		t.Run(fstype, func(t *testing.T) { wantLife(t, newHost(t, unpack(t, fstype), fstype)) })
	}
}

// The kernel mounts there with no more than a line in its log; then a removed
// file shows up in listings as a device node.
func TestNoFileTypes(t *testing.T) {
	a := newHost(t, ext4(t, "-O", "^filetype"), "ext4")
	wantRefusal(t, a, "keeps no file types in directories")
}

// Two subvolumes of one btrfs have one superblock, so the kernel mounts; the
// first copy to upper then fails.
func TestSubvolumes(t *testing.T) {
	for _, name := range []string{"upper", "work"} {
		a := newHost(t, unpack(t, "btrfs"), "btrfs")
		must(t, os.Mkdir(a.Layout.Runtime("a"), 0o750))
		subvolume(t, a.Layout.Runtime("a"), name)
		wantRefusal(t, a, "on different file systems or subvolumes")
		must(t, os.Remove(filepath.Join(a.Layout.Runtime("a"), name)))
		wantLife(t, a)
	}
	// One for the whole instance is welcome.
	a := newHost(t, unpack(t, "btrfs"), "btrfs")
	subvolume(t, a.Layout.RuntimeDir(), "a")
	must(t, os.Chmod(a.Layout.Runtime("a"), 0o750))
	wantLife(t, a)
}

// subvolume makes a btrfs subvolume with BTRFS_IOC_SUBVOL_CREATE of
// linux/btrfs.h: _IOW(0x94, 14, struct btrfs_ioctl_vol_args).
func subvolume(t *testing.T, parent, name string) {
	t.Helper()
	dir, err := os.Open(parent)
	must(t, err)
	defer dir.Close()
	var args struct {
		fd   int64
		name [4088]byte
	}
	copy(args.name[:], name)
	const create = 0x5000940e
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), create, uintptr(unsafe.Pointer(&args))); errno != 0 {
		t.Fatal(errno)
	}
}
