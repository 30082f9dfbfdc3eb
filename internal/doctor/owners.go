package doctor

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// checkOwners looks through every layer that the instances use for directories
// that the game's user cannot write to: copying a file up into one fails. A
// layer is looked at once, however many use it.
func (d *Doctor) checkOwners(ctx context.Context, names []instance.Name) {
	if !d.hasOwner {
		return
	}
	seen := map[string]bool{}
	for _, n := range names {
		env, err := instance.ReadEnv(d.Layout, n)
		if err != nil {
			continue // said with the instance
		}
		lowers, err := chain.Expand(d.Layout, env.Lowers)
		if err != nil {
			continue // said with the instance
		}
		for _, layer := range lowers {
			if seen[layer] || ctx.Err() != nil {
				continue
			}
			seen[layer] = true
			d.checkLayer(ctx, filepath.Join(d.Layout.Root(), layer))
		}
	}
}

func (d *Doctor) checkLayer(ctx context.Context, path string) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return // said with the instance
	}
	if err != nil {
		d.fail(Error, "layers", fmt.Errorf("%s: %w", path, err))
		return
	}
	defer unix.Close(fd)
	first, wrong, unseen := "", 0, 0
	note := func(name string, st unix.Stat_t) {
		if d.owner.CanWrite(st) {
			return
		}
		if wrong++; first == "" {
			first = fmt.Sprintf("%s (owner %d:%d, mode %04o)", strconv.Quote(filepath.Join(path, name)), st.Uid, st.Gid, st.Mode&0o7777)
		}
	}
	var root unix.Stat_t
	if err := unix.Fstat(fd, &root); err == nil {
		note("", root)
	}
	err = beneath.Walk(ctx, fd, func(e beneath.Entry) {
		if e.Err != nil {
			unseen++
		}
		if e.Stat.Mode&unix.S_IFMT == unix.S_IFDIR {
			note(e.Path, e.Stat)
		}
	})
	switch {
	case err != nil:
		d.fail(Error, "layers", fmt.Errorf("%s: %w", path, err))
	case wrong > 0:
		d.add(Warning, "layers", "chown -R "+instance.User+":"+instance.User+" "+path+" && chmod -R u+rwX "+path,
			"%s: the game cannot write in %d of its directories, the first is %s", path, wrong, first)
	case unseen > 0:
		d.add(Unknown, "layers", "", "%s: %d directories could not be looked into", path, unseen)
	default:
		d.ok("layers", "%s: the game's user can write in all its directories", path)
	}
}
