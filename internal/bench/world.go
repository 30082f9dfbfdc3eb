package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/standin"
)

// world is a root like /var/lib/l4d2 with instances of several sizes.
type world struct {
	instance.Layout
}

// newWorld makes a root in dir with so many layers besides the installation.
func newWorld(dir string, layers int) (*world, error) {
	layout, err := instance.NewLayout(filepath.Join(dir, "root"))
	if err != nil {
		return nil, err
	}
	w := &world{layout}
	if err := standin.Install(w.Installation(), "/bin/true"); err != nil {
		return nil, err
	}
	for i := 1; i <= layers; i++ {
		addons := filepath.Join(w.Overlay(layerName(i)), "left4dead2", "addons")
		if err := os.MkdirAll(addons, 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(addons, string(layerName(i))+".vpk"), []byte("VPK"), 0o644); err != nil {
			return nil, err
		}
	}
	err = errors.Join(os.MkdirAll(w.Instances(), 0o750), os.MkdirAll(w.RuntimeDir(), 0o755))
	return w, errors.Join(err, give(w.Installation()), give(w.Overlays()))
}

// give makes the tree the game's user's, as steamcmd and the operator leave it.
func give(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, gameID, gameID))
	})
}

func layerName(i int) instance.Name { return instance.Name(fmt.Sprintf("l%03d", i)) }

// addInstance makes an instance with so many lower layers, the installation
// included.
func (w *world) addInstance(n instance.Name, lowers int) error {
	e := instance.Env{Port: 27015, Args: "+map c1m1_hotel"}
	for i := 1; i < lowers; i++ {
		e.Lowers = append(e.Lowers, instance.OverlaysDir+"/"+string(layerName(i)))
	}
	e.Lowers = append(e.Lowers, instance.InstallationLayer)
	text, err := e.Format()
	if err != nil {
		return err
	}
	return errors.Join(
		os.MkdirAll(w.Instance(n), 0o750),
		os.WriteFile(w.Env(n), text, 0o640),
		os.WriteFile(w.ServerConfig(n), []byte("hostname \"bench\"\n"), 0o640),
		w.reset(n))
}

// reset gives the instance an upper, work and merged directory as before its
// first start.
func (w *world) reset(n instance.Name) error {
	if err := errors.Join(os.RemoveAll(w.Upper(n)), os.RemoveAll(w.Work(n)),
		os.MkdirAll(w.Upper(n), 0o750), os.MkdirAll(w.Work(n), 0o700), os.MkdirAll(w.Merged(n), 0o700)); err != nil {
		return err
	}
	return os.Chown(w.Upper(n), gameID, gameID)
}

// settle writes the file system to disk, so that an unmount, which does that
// too, is not measured by what came before it.
func (w *world) settle() error {
	fd, err := unix.Open(w.Root(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

// options is the option string of mount(2), mount(8) and fuse-overlayfs for an
// instance with so many layers; to be used in w.Overlays(). The layers must be
// named as briefly as they are: mount(2) takes 4095 bytes.
func (w *world) options(n instance.Name, lowers int) string {
	var names []string
	for i := 1; i < lowers; i++ {
		names = append(names, string(layerName(i)))
	}
	names = append(names, "../"+instance.InstallationLayer)
	return "lowerdir=" + strings.Join(names, ":") + ",upperdir=" + w.Upper(n) + ",workdir=" + w.Work(n)
}

// fixed are the options that l4d2-overlay always gives.
const fixed = ",index=off,metacopy=off,redirect_dir=nofollow,xino=off,nfs_export=off"
