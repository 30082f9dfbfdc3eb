package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
)

func (d *Doctor) checkUser() {
	owner, err := activation.LookUpOwner()
	if err != nil {
		d.fail(Error, "user", err)
		return
	}
	d.owner, d.hasOwner = owner, true
	group, err := user.LookupGroup(instance.User)
	if err != nil {
		d.add(Error, "user", "run systemd-sysusers, or install the package again", "group %s: %v", instance.User, err)
		return
	}
	if owner.UID == 0 {
		d.add(Error, "user", "give it a number of its own", "user %s is root", instance.User)
		return
	}
	if group.Gid != strconv.Itoa(owner.GID) {
		d.add(Warning, "user", "usermod -g "+instance.User+" "+instance.User, "user %s is not in the group of that name first, but in %d", instance.User, owner.GID)
		return
	}
	d.ok("user", "user and group %s are there (%d:%d)", instance.User, owner.UID, owner.GID)
}

// directory is one line of the package's tmpfiles.d(5), below the root.
type directory struct {
	name        string
	mode        fs.FileMode
	user, group string
}

const steamDir = "steam" // steamcmd's home

var directories = []directory{
	{"", 0o755, "root", "root"},
	{instance.InstallationLayer, 0o755, instance.User, instance.User},
	{instance.ReleasesDir, 0o755, "root", "root"},
	{instance.OverlaysDir, 0o755, "root", "root"},
	{"instances", 0o750, "root", instance.User},
	{"runtime", 0o755, "root", "root"},
	{"backups", 0o700, "root", "root"},
	{steamDir, 0o700, instance.User, instance.User},
}

func (d *Doctor) checkDirectories() {
	right := true
	for _, want := range directories {
		path := filepath.Join(d.Layout.Root(), want.name)
		// The installation may be a link to where it is.
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && (want.name == instance.ReleasesDir || want.name == steamDir) {
			continue // a root of an older version, where servers start all the same
		}
		if errors.Is(err, fs.ErrNotExist) {
			d.add(Error, "directories", "systemd-tmpfiles --create l4d2-host.conf makes it", "%s is missing", path)
			right = false
			continue
		}
		if err != nil {
			d.fail(Error, "directories", err)
			right = false
			continue
		}
		right = d.checkDirectory(path, info, want) && right
	}
	if right {
		d.ok("directories", "those in %s are there, with their owners and modes", d.Layout.Root())
	}
}

func (d *Doctor) checkDirectory(path string, info fs.FileInfo, want directory) bool {
	if !info.IsDir() {
		d.add(Error, "directories", "move it away", "%s is not a directory", path)
		return false
	}
	st := info.Sys().(*syscall.Stat_t)
	uid, gid := 0, 0
	if want.user != "root" {
		uid = d.owner.UID
	}
	if want.group != "root" {
		gid = d.owner.GID
	}
	mend := fmt.Sprintf("chown %s:%s %s && chmod %04o %s", want.user, want.group, path, want.mode, path)
	switch {
	case !d.hasOwner && want.user != "root":
		return true // that there is no such user is said already
	case want.user == "root" && (st.Uid != 0 || info.Mode().Perm()&0o022 != 0):
		d.add(Error, "directories", mend, "%s: others than root can write it (owner %d, mode %04o)", path, st.Uid, info.Mode().Perm())
	case want.mode&0o007 == 0 && info.Mode().Perm()&0o007 != 0:
		d.add(Error, "directories", mend, "%s: everybody can look into it (mode %04o), and it holds passwords", path, info.Mode().Perm())
	case int(st.Uid) != uid || d.hasOwner && int(st.Gid) != gid || info.Mode().Perm() != want.mode:
		d.add(Warning, "directories", mend, "%s: owner %d:%d and mode %04o, not %s:%s and %04o",
			path, st.Uid, st.Gid, info.Mode().Perm(), want.user, want.group, want.mode)
	default:
		return true
	}
	return false
}

// checkHelper looks at what the unit runs before and beside the game.
func (d *Doctor) checkHelper() {
	d.checkProgram("helper", d.Helper, "root executes it")
	d.checkProgram("watcher", filepath.Join(filepath.Dir(d.Helper), watcher), "every server starts with it")
}

// watcher is the program in front of the game, beside the helper.
const watcher = "l4d2-watch"

func (d *Doctor) checkProgram(check, path, use string) {
	info, err := os.Lstat(path)
	if err != nil {
		d.add(Error, check, "install the package again", "%v: no server can start", err)
		return
	}
	st := info.Sys().(*syscall.Stat_t)
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		d.add(Error, check, "install the package again", "%s: owner %d, mode %v: %s, so only root may write it", path, st.Uid, info.Mode(), use)
		return
	}
	d.ok(check, "%s is there", path)
}
