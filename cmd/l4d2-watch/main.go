// l4d2-watch starts the game in the unit l4d2@.service, and beside it a watcher
// that tells systemd when the game can be joined, what is played, and whether
// it hangs.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/launch"
	"l4d2-host/internal/watch"
)

var version = "devel" // set by the build

const usage = `usage: l4d2-watch [NAME=VALUE...] PROGRAM [ARGUMENT...]

Becomes PROGRAM, a game server, with NAME set to VALUE in its environment, as
env does. When systemd waits to be notified (Type=notify) it first starts a
process beside it, "l4d2-watch --watch", that tells systemd when the server on
the port of the argument -port can be joined, its map and players, and when it
hangs for as long as the unit's WatchdogSec= says.

Exit status: that of PROGRAM; 127 it is not there, 126 it can't be started,
125 no watcher can be started, 2 wrong usage.
`

// watching is the first argument of the watcher, which others are not to use:
// --watch PID PORT CONFIG WATCHDOG.
const watching = "--watch"

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

func run(args []string, stdout io.Writer) int {
	log := journal.Stderr()
	if len(args) == 1 {
		switch args[0] {
		case "--help", "-h":
			fmt.Fprint(stdout, usage)
			return 0
		case "--version":
			fmt.Fprintln(stdout, "l4d2-watch", version)
			return 0
		}
	}
	if len(args) == 5 && args[0] == watching {
		return watchOver(args[1:], log)
	}
	command, err := launch.Parse(args)
	if err != nil {
		log.Error("l4d2-watch: %v", err)
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	return start(command, log)
}

// What env(1) exits with, and the watcher's own failure.
const (
	exitNoWatcher  = 125
	exitNotStarted = 126
	exitNotFound   = 127
)

// start starts the watcher, if there is somebody to tell, and becomes the game.
func start(command launch.Command, log *journal.Log) int {
	if socket := os.Getenv("NOTIFY_SOCKET"); socket != "" {
		if err := startWatcher(command); err != nil {
			log.Error("l4d2-watch: start the watcher: %v", err)
			return exitNoWatcher
		}
	}
	err := command.Become()
	log.Error("l4d2-watch: %v", err)
	if hint := advice.For(err); hint != "" {
		log.Error("l4d2-watch: hint: %s", hint)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return exitNotFound
	}
	return exitNotStarted
}

func startWatcher(command launch.Command) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return err
	}
	config := filepath.Join(dir, option(command.Args, "-game", "left4dead2"), "cfg", "server.cfg")
	argv := []string{"l4d2-watch", watching, strconv.Itoa(os.Getpid()), option(command.Args, "-port", "27015"), config, watchdog.String()}
	environment := []string{
		"NOTIFY_SOCKET=" + os.Getenv("NOTIFY_SOCKET"),
		"JOURNAL_STREAM=" + os.Getenv("JOURNAL_STREAM"),
		// It waits nearly all of its time: small matters more than fast.
		"GOMAXPROCS=1", "GOGC=10",
	}
	self, err := os.Executable() // by its name, which then is the process's, too
	if err != nil {
		return err
	}
	return launch.Companion(self, argv, environment)
}

// option returns the value of the game's option name: of the first one, which
// is the one that the engine takes.
func option(args []string, name, missing string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return missing
}

// pidfd is where launch.Companion puts it.
const pidfd = 3

// watchOver is the watcher's life.
func watchOver(args []string, log *journal.Log) int {
	// Signals to the whole unit (systemctl kill) are for the game. The watcher
	// goes when the game has gone.
	signal.Ignore()
	w := watch.Watch{Config: args[2], Log: log}
	var err1, err2, err3 error
	w.PID, err1 = strconv.Atoi(args[0])
	w.Port, err2 = strconv.Atoi(args[1])
	w.Watchdog, err3 = time.ParseDuration(args[3])
	if err := errors.Join(err1, err2, err3); err != nil {
		log.Error("l4d2-watch: %v", err)
		return 2
	}
	w.Notify = func(message string) error {
		_, err := daemon.SdNotify(false, message)
		return err
	}
	if err := w.Run(pidfd); err != nil {
		log.Error("l4d2-watch: %v", err)
		return 1
	}
	return 0
}
