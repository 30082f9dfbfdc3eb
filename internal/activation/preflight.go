package activation

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

// writtenDirs are directories of the game's root that every game writes to.
// The root itself takes its owner from the upper directory.
var writtenDirs = []string{".", "left4dead2", "left4dead2/cfg", "left4dead2/addons", "left4dead2/logs"}

// ErrUnwritable says that the game runs but cannot keep what it writes.
var ErrUnwritable = errors.New("the game's user cannot write there")

// warnUnwritable warns of the first directory that the game's user cannot write
// to in the tree whose root is given. It is no reason to refuse the start: the
// game runs, and fails at what it wants to keep. Only the few directories that
// matter to all are looked at, in the finished tree: there an owner counts, not
// in a layer that others cover, and the cost does not grow with the layers.
func (a *Activation) warnUnwritable(root int, s stack) {
	err := a.checkWritable(s, func(name string) (st unix.Stat_t, found bool) {
		return st, unix.Fstatat(root, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	})
	if err != nil {
		a.Log.Warn("%v: %s", err, advice.For(err))
	}
}

// checkWritable returns an error about the first such directory; look returns
// what name is in the merged tree.
func (a *Activation) checkWritable(s stack, look func(name string) (unix.Stat_t, bool)) error {
	for _, name := range writtenDirs {
		st, found := look(name)
		if !found || st.Mode&unix.S_IFMT != unix.S_IFDIR || a.Owner.CanWrite(st) {
			continue
		}
		remedy := "chown -R " + instance.User + ":" + instance.User
		if int(st.Uid) == a.Owner.UID {
			remedy = "chmod u+rwx"
		}
		paths := a.unwritable(name, s)
		return advice.With(fmt.Errorf("%s: %w (owner %d:%d, mode %#o)",
			paths[0], ErrUnwritable, st.Uid, st.Gid, st.Mode&0o7777), "run "+remedy+" "+strings.Join(paths, " "))
	}
	return nil
}

// merged returns what name is in the tree that the layers of s and its upper
// directory, if there is one, make. The root is the upper directory's, which is
// made right if there is none yet.
func (a *Activation) merged(s stack) func(name string) (st unix.Stat_t, found bool) {
	return func(name string) (st unix.Stat_t, found bool) {
		if name == "." && s.Upper < 0 {
			return st, false
		}
		n, err := a.whole(s).Lookup(name)
		if err != nil || n.Top() == nil {
			return st, false
		}
		return stat(n.Top().Entry), true
	}
}

// whole is what the layers show with the upper directory.
func (a *Activation) whole(s stack) layers.View {
	if s.Upper < 0 {
		return s.view()
	}
	return append(layers.View{{Name: layers.UpperName, Path: a.Layout.Upper(a.Name), Dir: s.Upper}}, s.view()...)
}

// stat is what CanWrite asks for.
func stat(e layers.Entry) (st unix.Stat_t) {
	st.Uid, st.Gid, st.Mode = e.UID, e.GID, e.Mode
	if e.Type == layers.Directory {
		st.Mode |= unix.S_IFDIR
	}
	return st
}

// CanWrite reports whether o can make files in the directory. Access control
// lists are not looked at: they show as the mode of the group.
func (o Owner) CanWrite(st unix.Stat_t) bool {
	const writeAndEnter = 0o3
	need := uint32(writeAndEnter)
	switch {
	case int(st.Uid) == o.UID:
		need <<= 6
	case int(st.Gid) == o.GID:
		need <<= 3
	}
	return st.Mode&need == need
}

// unwritable returns where the directory that name is in the merged tree lies on
// disk: in the topmost layer that shows it and in upper, which has a copy, with
// the layer's owner, as soon as server.cfg was put there. No link is followed:
// root is told to change the owner there.
func (a *Activation) unwritable(name string, s stack) []string {
	var paths []string
	add := func(f layers.Found) {
		if f.Type == layers.Directory && !a.Owner.CanWrite(stat(f.Entry)) {
			paths = append(paths, filepath.Join(f.Layer.Path, name))
		}
	}
	if n, err := a.whole(s).Lookup(name); err == nil && len(n.Shown) > 0 {
		top := n.Shown[0]
		isUpper := top.Layer.Name == layers.UpperName
		if name != "." && isUpper && len(n.Shown) > 1 {
			add(n.Shown[1])
		}
		if name != "." || isUpper {
			add(top)
		}
	}
	if len(paths) == 0 { // it was put right meanwhile
		paths = append(paths, filepath.Join(a.Layout.Merged(a.Name), name))
	}
	return paths
}

// adviseDisk adds what to do to an error that is the disk's and may come from
// any step.
func (a *Activation) adviseDisk(err error) error {
	if err == nil || advice.For(err) != "" {
		return err
	}
	switch disk := a.Layout.Runtime(a.Name); {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return advice.With(err, "make room on the file system of "+disk+": see df "+disk+", and df -i for the number of files")
	case errors.Is(err, unix.EROFS):
		return advice.With(err, "remount the file system of "+disk+" read-write; if it went read-only by itself, see journalctl -k")
	}
	return err
}
