package activation

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
)

// Owner is who the game runs as.
type Owner struct{ UID, GID int }

// LookUpOwner returns the system user that the packages make.
func LookUpOwner() (Owner, error) {
	// What package os/user does too, but for the runtime's poller that its files
	// set up. A file that has no such line in the plain form is left to it.
	if passwd, err := instance.ReadFile("/etc/passwd", maxPasswd); err == nil {
		if o, found := findOwner(string(passwd)); found {
			return o, nil
		}
	}
	u, err := user.Lookup(instance.User)
	if unknown := user.UnknownUserError(instance.User); err != nil && !errors.Is(err, unknown) {
		return Owner{}, fmt.Errorf("look up user %s: %w", instance.User, err)
	}
	if err != nil {
		return Owner{}, advice.With(fmt.Errorf("there is no user %s on this system", instance.User),
			"run systemd-sysusers, or install the package again")
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return Owner{}, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return Owner{uid, gid}, err
}

const maxPasswd = 256 << 10

// findOwner looks for the first line of the user (passwd(5)).
func findOwner(passwd string) (Owner, bool) {
	const start = instance.User + ":"
	if !strings.HasPrefix(passwd, start) {
		i := strings.Index(passwd, "\n"+start)
		if i < 0 {
			return Owner{}, false
		}
		passwd = passwd[i+1:]
	}
	line, _, _ := strings.Cut(passwd, "\n")
	fields := strings.Split(line, ":")
	if len(fields) != 7 {
		return Owner{}, false
	}
	uid, uidErr := strconv.ParseUint(fields[2], 10, 31)
	gid, gidErr := strconv.ParseUint(fields[3], 10, 31)
	return Owner{int(uid), int(gid)}, uidErr == nil && gidErr == nil
}
