package activation

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
)

// maxServerConfig bounds the file that is read into memory.
const maxServerConfig = 1 << 20

// configDirs is where the game looks for server.cfg, below its root.
var configDirs = []string{"left4dead2", "cfg"}

// complete puts the instance's server.cfg into the mounted tree: over one that
// a layer brings, or the last start left. The game's user owns these
// directories and may have planted anything there.
func (a *Activation) complete(m *overlay.Mounted, config []byte) error {
	dir := m.Root
	path := a.Layout.Merged(a.Name)
	for _, name := range configDirs {
		next, err := beneath.MakeDir(dir, name)
		if dir != m.Root {
			unix.Close(dir)
		}
		if err != nil {
			return serverConfigError(path, err)
		}
		dir = next
		path += "/" + name
	}
	defer unix.Close(dir)
	err := beneath.WriteFile(dir, instance.ServerConfigFile, beneath.File{
		Data: config, Mode: 0o640, UID: 0, GID: a.Owner.GID,
	})
	if err != nil {
		return serverConfigError(path, err)
	}
	a.Log.Info("copied server.cfg to %s", path+"/"+instance.ServerConfigFile)
	return nil
}

func serverConfigError(path string, err error) error {
	var hint string
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR):
		hint = "it came with a layer or was put there by the game: remove it from the layer or the upper directory"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		hint = "in the layers and the upper directory, look with lsattr -d for such files and directories (chattr -ia takes the flag away), and with getfattr -d -m trusted.overlay for attributes that came with a backup"
	case errors.Is(err, unix.EIO):
		hint = "see journalctl -k for an error of the disk; if there is none, look in the layers and the upper directory with getfattr -d -m trusted.overlay for attributes that came with a backup"
	case errors.Is(err, unix.EBUSY):
		hint = "something is mounted on it in the upper directory: unmount that"
	case errors.Is(err, beneath.ErrExchanged):
		hint = "end what the game's user still runs in the upper directory, then start the instance again"
	}
	err = fmt.Errorf("copy server.cfg: in %s: %w", path, err)
	if hint == "" {
		return err
	}
	return advice.With(err, hint)
}
