package layers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// UpperName is the name of the layer that Upper opens; the others are named by
// their paths below the root, as package chain expands them: "overlays/NAME",
// "installation" and "releases/NAME/tree".
const UpperName = "upper"

// Open opens these layers, topmost first, as package chain expands them. The
// error is about the first that cannot be opened, and nothing is left open then.
func Open(l instance.Layout, lowers []string) (View, error) {
	overlays, err := unix.Open(l.Overlays(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.Overlays(), Err: err}
	}
	defer unix.Close(overlays)
	var v View
	for i, name := range lowers {
		path := filepath.Join(l.Root(), name)
		fd, _, err := OpenDir(overlays, name, path)
		if err != nil {
			v.Close()
			return nil, Explain(i, name, path, err)
		}
		v = append(v, &Layer{Name: name, Path: path, Dir: fd})
	}
	return v, nil
}

// OpenDir opens one layer, which is called name and is at path; overlays is the
// directory of the layers. A link from one layer's name to
// another is the operator's way to switch versions, and a mount is welcome too;
// a link that leads out of overlays/ is refused (EXDEV). The layer is direct
// when it is neither, and so is known to have overlays as its parent.
func OpenDir(overlays int, name, path string) (fd int, direct bool, err error) {
	plain, ok := strings.CutPrefix(name, instance.OverlaysDir+"/")
	if !ok {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		return fd, false, err
	}
	fd, err = beneath.OpenDir(overlays, plain)
	if err == nil {
		return fd, true, nil
	}
	if !errors.Is(err, unix.ELOOP) && !errors.Is(err, unix.EXDEV) {
		return -1, false, errors.Unwrap(err)
	}
	for {
		fd, err = unix.Openat2(overlays, plain, &unix.OpenHow{
			Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		// EAGAIN: a rename on the host raced with a ".." of the link (openat2(2)).
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, false, err
		}
	}
}

// Explain says what is wrong with layer i (from 0), called name and at path, in
// the operator's words.
func Explain(i int, name, path string, err error) error {
	cause, hint := err.Error(), advice.For(err)
	_, isRelease := chain.Of(name)
	switch {
	case errors.Is(err, unix.ENOENT) && isRelease:
		cause, hint = "no such directory, and the game's present release lies over it", "see what there is with l4d2ctl releases, and switch to another with l4d2ctl rollback RELEASE"
	case errors.Is(err, unix.ENOENT):
		cause, hint = "no such directory", "make the layer, or take it out of the instance's spec and run l4d2ctl init again"
	case errors.Is(err, unix.ENOTDIR):
		cause, hint = "not a directory", "a layer is a directory tree over the game's root: unpack it into one"
	case errors.Is(err, unix.EXDEV):
		cause, hint = "a symbolic link that leaves the overlays directory", "move the layer there, or bind-mount it"
	}
	err = fmt.Errorf("layer %d (%s): %s", i+1, path, cause)
	if hint == "" {
		return err
	}
	return advice.With(err, hint)
}

// Upper opens the instance's own state. The error is fs.ErrNotExist while it
// has none, as before its first start.
func Upper(l instance.Layout, n instance.Name) (*Layer, error) {
	// Root's alone: whoever could change it could exchange what is in it.
	dir, err := unix.Open(l.Runtime(n), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: l.Runtime(n), Err: err}
	}
	defer unix.Close(dir)
	fd, err := beneath.OpenDir(dir, filepath.Base(l.Upper(n)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Runtime(n), err)
	}
	return &Layer{Name: UpperName, Path: l.Upper(n), Dir: fd}, nil
}
