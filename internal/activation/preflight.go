package activation

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
)

// writtenDirs are directories of the game's root that every game writes to.
// The root itself takes its owner from the upper directory.
var writtenDirs = []string{".", "left4dead2", "left4dead2/cfg", "left4dead2/addons", "left4dead2/logs"}

// ErrUnwritable says that the game runs but cannot keep what it writes.
var ErrUnwritable = errors.New("the game's user cannot write there")

// warnUnwritable warns of the first directory that the game's user cannot write
// to. It is no reason to refuse the start: the game runs, and fails at what it
// wants to keep.
func (a *Activation) warnUnwritable(s stack) {
	if err := a.checkWritable(s); err != nil {
		a.Log.Warn("%v: %s", err, advice.For(err))
	}
}

// checkWritable returns an error about the first such directory. Only the few
// that matter to all are looked at, as they are in the finished tree, where the
// topmost layer's owner counts; but in the layers, as a look at a directory
// through the overlay is one at all that are merged into it.
func (a *Activation) checkWritable(s stack) error {
	for _, name := range writtenDirs {
		st, found := s.merged(name)
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

// merged returns what name is in the tree that s makes: what the topmost has
// that has anything there. The root is the upper directory's, which is made
// right if there is none yet.
func (s stack) merged(name string) (st unix.Stat_t, found bool) {
	if name == "." && s.Upper < 0 {
		return st, false
	}
	has := func(fd int) bool { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil }
	if s.Upper >= 0 && has(s.Upper) {
		return st, true
	}
	for _, lower := range s.Lowers {
		if has(lower.FD) {
			return st, true
		}
	}
	return st, false
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
// disk: in the topmost layer that has it and in upper, which has a copy, with
// the layer's owner, as soon as server.cfg was put there.
func (a *Activation) unwritable(name string, s stack) []string {
	var paths []string
	add := func(fd int, dir string) (found bool) {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false
		}
		if !a.Owner.CanWrite(st) {
			paths = append(paths, filepath.Join(dir, name))
		}
		return true
	}
	for i := 0; name != "." && i < len(s.Lowers) && !add(s.Lowers[i].FD, s.paths[i]); i++ {
	}
	add(s.Upper, a.Layout.Upper(a.Name))
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
