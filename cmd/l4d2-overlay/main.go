// l4d2-overlay mounts and unmounts the file tree of one instance. It is the
// privileged step before and after the game in the unit l4d2@.service.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/mountns"
	"l4d2-host/internal/record"
)

var version = "devel" // set by the build

const usage = `usage: l4d2-overlay mount NAME
       l4d2-overlay unmount NAME

Mounts or unmounts the overlay of instance NAME, as l4d2@.service does before
and after the game. To start and stop an instance, use systemctl or l4d2ctl.

The instances lie below /var/lib/l4d2, or $L4D2_ROOT.
Exit status: 0 done, 1 failed, 2 wrong usage.
`

func main() {
	// A stop during the start signals this step too. It ends by itself in
	// milliseconds, and cut short it would make the stop count as a failure.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(run(os.Args[1:], os.Stdout))
}

func run(args []string, stdout io.Writer) int {
	log := journal.Stderr()
	if len(args) == 1 {
		switch args[0] {
		case "--help", "-h", "help":
			fmt.Fprint(stdout, usage)
			return 0
		case "--version":
			fmt.Fprintln(stdout, "l4d2-overlay", version)
			return 0
		}
	}
	if len(args) != 2 || args[0] != "mount" && args[0] != "unmount" {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	if err := act(args[0], args[1], log); err != nil {
		log.Error("l4d2-overlay: %s %s: %v", args[0], args[1], err)
		if hint := advice.For(err); hint != "" {
			log.Error("l4d2-overlay: hint: %s", hint)
		}
		return 1
	}
	return 0
}

func act(verb, arg string, log *journal.Log) error {
	name, err := instance.ParseName(arg)
	if err != nil {
		return err
	}
	layout, err := instance.NewLayout(os.Getenv(instance.RootVariable))
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return advice.With(fmt.Errorf("this must run as root"), "start the instance with: sudo systemctl start l4d2@"+arg)
	}
	a := activation.Activation{Layout: layout, Name: name, Log: log}
	if err := mountns.Join(); err != nil {
		return err
	}
	if verb == "unmount" {
		a.Ended = record.ThisEnd()
		sayCrash(log, a.Ended)
		return a.Unmount()
	}
	if a.Owner, err = activation.LookUpOwner(); err != nil {
		return err
	}
	return a.Mount()
}

// sayCrash says when the game was killed by a signal. The unit counts a
// segmentation fault as a clean end, so systemd itself does not.
func sayCrash(log *journal.Log, e *record.End) {
	switch {
	case e == nil:
	case e.Result == "watchdog":
		log.Warn("the game hung: ended by systemd's watchdog, %s by signal %s", e.Code, e.Status)
	case e.Crashed():
		log.Warn("the game crashed: %s by signal %s", e.Code, e.Status)
	}
}
