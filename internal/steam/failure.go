package steam

import (
	"fmt"
	"strings"
)

// Kind is what can be done about a failed run.
type Kind int

// The kinds of failure.
const (
	// Transient: the network, Valve's servers, a steamcmd that was killed.
	// The next run resumes.
	Transient Kind = iota
	// PlatformRefused: "Invalid platform", which anonymous users get for the Linux
	// version since November 2024 (ValveSoftware/steam-for-linux#11522,
	// GameServerManagers/LinuxGSM#4706).
	PlatformRefused
	// Login: Steam does not let this account in, or wants to be asked for a
	// password or code.
	Login
	// Subscription: the account has no right to the game.
	Subscription
	// DiskFull: no room for the update.
	DiskFull
	// Branch: BETA= names one that wants a password, or none.
	Branch
	// Libraries: this machine can't run 32-bit programs.
	Libraries
)

// Failure is a run of steamcmd that did not bring the directory up to date.
type Failure struct {
	Kind Kind
	Text string // steamcmd's own words, or what happened to it
}

func (f *Failure) Error() string { return fmt.Sprintf("steamcmd: %q", f.Text) }

// The bits of the state in "App '…' state is 0x… after update job": those of
// StateFlags in an appmanifest, as others have found them (SteamKit's and
// SteamDB's lists).
const (
	stateUpdateRequired = 0x2
	stateInstalled      = 0x4
	stateUpdatePaused   = 0x200
	stateUpdateStarted  = 0x400
)

// kindOfState tells a full disk, which pauses an update before it has started
// (0x202: LinuxGSM#572, #1684; WindowsGSM#59), from a download that broke off
// (0x402, 0x602, 0x606, 0x6), which goes on when steamcmd is run again.
func kindOfState(state uint64) Kind {
	if state&stateUpdatePaused != 0 && state&stateUpdateStarted == 0 {
		return DiskFull
	}
	return Transient
}

// kindOf judges the reason in "Failed to install app '…' (…)".
func kindOf(reason string) Kind {
	switch strings.ToLower(reason) {
	case "invalid platform":
		return PlatformRefused
	case "no subscription":
		return Subscription
	case "not enough disk space", "disk full":
		return DiskFull
	case "invalid password", "password required": // of a beta branch
		return Branch
	}
	// "Missing configuration" and "Timeout" go when tried again. "Disk write
	// failure" and "Missing file permissions" may not: whoever calls looks at
	// the disk and gives up after some attempts.
	return Transient
}

// transientLogin says that a login failed for want of a connection.
func transientLogin(reason string) bool {
	switch strings.ToLower(strings.TrimSpace(reason)) {
	case "no connection", "timeout", "service unavailable", "try another cm", "connect failed", "connection failed", "busy":
		return true
	}
	return false
}

// sentences are parts of lines that say why a run failed or will.
var sentences = []struct {
	text string
	kind Kind
}{
	{"Cached credentials not found", Login},
	{"Steam Guard code:", Login},
	{"Two-factor code:", Login},
	{"enter your Steam Guard", Login},
	{"free disk space to update", DiskFull}, // "SteamCMD needs 250MB of …"
	{"No space left on device", DiskFull},
	{"ERROR! Timed out waiting for AppInfo update", Transient},
	{"Steam needs to be online to update", Transient},
	{"Failed to request AppInfo update", Transient},
	{"ERROR! Not logged on", Transient},
	// steamcmd.sh where no 32-bit programs run
	{"linux32/steamcmd: No such file or directory", Libraries},
	{"linux32/steamcmd: cannot execute", Libraries},
	{"linux32/steamcmd: not found", Libraries},
}

// hint is what an operator can do about a failure of kind k.
func (k Kind) hint(login string) string {
	switch k {
	case PlatformRefused, Subscription:
		if login == Anonymous {
			return "Valve does not give the game to anonymous users at present: log in by name once, and set LOGIN= in " + SettingsFile + " (l4d2-update.service(8))"
		}
		return "the account " + login + " must own Left 4 Dead 2"
	case Login:
		return "log in once by hand, so that steamcmd keeps a token of its own (l4d2-update.service(8) has the command); after too many attempts wait half an hour"
	case DiskFull:
		return "make room on the file system of /var/lib/l4d2 and run the update again: it goes on where it stopped"
	case Branch:
		return "correct BETA= in " + SettingsFile + ": only branches without a password can be had"
	case Libraries:
		return "steamcmd is a 32-bit program: Debian has its libraries in lib32gcc-s1, Fedora in glibc.i686 and libstdc++.i686"
	case Transient:
		return "run the update again: it goes on where it stopped"
	}
	return ""
}
