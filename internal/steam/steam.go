// Package steam runs Valve's steamcmd to bring a directory up to the present
// state of the game's dedicated server: which program, with what command line,
// what its output means, and when to try again.
//
// steamcmd is closed, undocumented in most of this, and replaces itself by newer
// versions. What is imitated, parsed and avoided here was read in its own help,
// in public reports (named at their places) and in other tools' experience; none
// of it was tried against Valve's servers. So the package trusts as little as it
// can: an update counts as done only when steamcmd says so in the words that are
// known and ends with exit code 0, whatever else it printed.
package steam

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// App is the Left 4 Dead 2 dedicated server on Steam.
const App = "222860"

// Anonymous is the login that needs no account.
const Anonymous = "anonymous"

// debianCommand is where Debian's package steamcmd puts its wrapper.
const debianCommand = "/usr/games/steamcmd"

// Find returns the steamcmd to run: the configured one, or else Debian's, or
// else Valve's own in home.
func Find(configured, home string) (string, error) {
	if configured != "" {
		if err := executable(configured); err != nil {
			return "", advice.With(fmt.Errorf("steamcmd: %s: %w", configured, err),
				"correct STEAMCMD= in "+SettingsFile+", or take it out")
		}
		return configured, nil
	}
	own := filepath.Join(home, "steamcmd.sh")
	for _, path := range []string{debianCommand, own} {
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("steamcmd: %s: %w", path, err)
		}
	}
	return "", advice.With(fmt.Errorf("there is no steamcmd: neither %s nor %s", debianCommand, own),
		"Debian: add contrib and non-free to the apt sources, then dpkg --add-architecture i386 && apt update && apt install steamcmd; "+
			"elsewhere unpack Valve's steamcmd_linux.tar.gz in "+home+" as the user l4d2; see l4d2-update.service(8)")
}

// executable says why path is not a program that this process can run.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Unwrap(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("it is not a file")
	}
	return unix.Access(path, unix.X_OK)
}

// Platform is what the game is downloaded for.
type Platform string

// The platforms that an update may pass through.
const (
	Native  Platform = "" // whatever steamcmd takes this machine for
	Windows Platform = "windows"
	Linux   Platform = "linux"
)

// Command is one run of steamcmd.
type Command struct {
	Path     string
	Home     string // its HOME, where it keeps itself and its token
	Dir      string // what to bring up to date
	Login    string
	Beta     string // branch, "" for the public one
	Platform Platform
	Validate bool
}

// Args returns the command line without the program. The order matters:
// force_install_dir after the login makes steamcmd complain and, in versions
// before 2022, download everything again (ValveSoftware/steam-for-linux#8298).
// No password ever stands here: where one is wanted, the run fails.
func (c Command) Args() []string {
	args := []string{"+@ShutdownOnFailedCommand", "1", "+@NoPromptForPassword", "1"}
	if c.Platform != Native {
		args = append(args, "+@sSteamCmdForcePlatformType", string(c.Platform))
	}
	args = append(args, "+force_install_dir", c.Dir, "+login", c.Login, "+app_update", App)
	if c.Beta != "" {
		args = append(args, "-beta", c.Beta)
	}
	if c.Validate {
		args = append(args, "validate")
	}
	return append(args, "+quit")
}
