package kernel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// MakeDisk makes an image of the given size in MiB at path, with an ext4 file
// system that has the given programs in /bin (the guest's name to a path on
// the host), a shell with the usual commands of kernel k's busybox, and an
// empty /tmp.
func MakeDisk(ctx context.Context, k Kernel, path string, size int, programs map[string]string) error {
	tree, err := os.MkdirTemp(filepath.Dir(path), "tree-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "run", "sys", "tmp", "var/lib"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, link := range []string{"sh", "sleep"} {
		if err := os.Symlink("busybox", filepath.Join(tree, "bin", link)); err != nil {
			return err
		}
	}
	all := map[string]string{"busybox": k.Busybox()}
	maps.Copy(all, programs)
	for name, file := range all {
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(tree, "bin", name), data, 0o755); err != nil {
			return err
		}
	}
	return DiskFrom(ctx, tree, path, size)
}

// DiskFrom makes an image of the given size in MiB at path, with an ext4 file
// system that holds what the directory tree holds.
func DiskFrom(ctx context.Context, tree, path string, size int) error {
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4",
		"-E", "root_owner=0:0,lazy_itable_init=1", "-d", tree, path, strconv.Itoa(size)+"M")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return nil
}
