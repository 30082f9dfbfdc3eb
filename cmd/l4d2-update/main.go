// l4d2-update does the steps of l4d2-update.service, which updates the game: it
// mounts what is to be updated, runs steamcmd there, makes a release of what that
// changed, and unmounts.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/mountns"
	"l4d2-host/internal/staging"
	"l4d2-host/internal/steam"
)

var version = "devel" // set by the build

const usage = `usage: l4d2-update stage|fetch|commit|unstage

The steps of l4d2-update.service, which updates the game. To update it, use
l4d2ctl update or systemctl start l4d2-update.

The game lies below /var/lib/l4d2, or $L4D2_ROOT.
Exit status: 0 done, 1 failed, 2 wrong usage.
`

func main() { os.Exit(run(os.Args[1:], os.Stdout)) }

// verbs are the steps, in their order.
var verbs = map[string]func(ctx context.Context, l instance.Layout, log *journal.Log) error{
	"stage":   stage,
	"fetch":   fetch,
	"commit":  commit,
	"unstage": unstage,
}

func run(args []string, stdout io.Writer) int {
	log := journal.Stderr()
	if len(args) == 1 {
		switch args[0] {
		case "--help", "-h", "help":
			fmt.Fprint(stdout, usage)
			return 0
		case "--version":
			fmt.Fprintln(stdout, "l4d2-update", version)
			return 0
		}
	}
	if len(args) != 1 || verbs[args[0]] == nil {
		fmt.Fprint(os.Stderr, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	layout, err := instance.NewLayout(os.Getenv(instance.RootVariable))
	if err == nil {
		err = verbs[args[0]](ctx, layout, log)
	}
	if err != nil {
		log.Error("l4d2-update: %s: %v", args[0], err)
		if hint := advice.For(err); hint != "" {
			log.Error("l4d2-update: hint: %s", hint)
		}
		return 1
	}
	return 0
}

// privileged prepares a step that root does where everybody sees the mounts.
func privileged(l instance.Layout, log *journal.Log) (*staging.Staging, error) {
	if os.Geteuid() != 0 {
		return nil, advice.With(errors.New("this must run as root"), "start the update with: sudo systemctl start l4d2-update")
	}
	if err := mountns.Join(); err != nil {
		return nil, err
	}
	owner, err := activation.LookUpOwner()
	return &staging.Staging{Layout: l, Owner: owner, Log: log}, err
}

// runtimeVariable is where systemd says which directory the unit's steps share
// (RuntimeDirectory=). It is the game's user's.
const runtimeVariable = "RUNTIME_DIRECTORY"

// What the steps leave for each other there.
const (
	validateFile = "validate" // by stage and fetch: what is there may be damaged
	doneFile     = "done"     // by fetch: steamcmd has done all of it
)

func openRuntime() (int, error) {
	path := os.Getenv(runtimeVariable)
	if path == "" {
		return -1, advice.With(errors.New("$"+runtimeVariable+" is not set"), "start the update with: systemctl start l4d2-update")
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

func stage(_ context.Context, l instance.Layout, log *journal.Log) error {
	s, err := privileged(l, log)
	if err != nil {
		return err
	}
	status("preparing")
	staged, err := s.Stage()
	if err != nil || !staged.Unclean {
		return err
	}
	log.Warn("the update was interrupted in a way that may have damaged files: steamcmd is going to look at every one")
	dir, err := openRuntime()
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return beneath.WriteFile(dir, validateFile, beneath.File{Mode: 0o644})
}

func fetch(ctx context.Context, l instance.Layout, log *journal.Log) error {
	shared, err := openRuntime()
	if err != nil {
		return err
	}
	defer unix.Close(shared)
	settings, err := steam.ReadSettings(steam.SettingsFile)
	if err != nil {
		return err
	}
	unclean, err := exists(shared, validateFile)
	if err != nil {
		return err
	}
	settings.Validate = settings.Validate || unclean
	home := l.Steam()
	command, err := steam.Find(settings.Command, home)
	if err != nil {
		return err
	}
	f := steam.Fetch{
		Settings: settings, Command: command, Home: home, Dir: staging.Merged(l),
		Watcher: &steam.Report{Log: log, Status: status},
		Say:     log.Warn,
		Detour:  func() error { return create(shared, validateFile) },
	}
	log.Info("running %s as %s", command, settings.Login)
	err = f.Run(ctx)
	if ctx.Err() != nil {
		// Asked to stop: no failure, and without doneFile nothing comes of it.
		log.Info("stopped; the next update goes on with what was downloaded")
		return nil
	}
	if err != nil {
		return err
	}
	return create(shared, doneFile)
}

// create makes a file for the steps that follow. Not by package beneath: fetch is
// not root, and RestrictSUIDSGID= takes openat2(2) away from it.
func create(shared int, name string) error {
	// To read: root may have made it.
	fd, err := unix.Openat(shared, name, unix.O_RDONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return &os.PathError{Op: "create", Path: name, Err: err}
	}
	return unix.Close(fd)
}

func commit(ctx context.Context, l instance.Layout, log *journal.Log) error {
	s, err := privileged(l, log)
	if err != nil {
		return err
	}
	shared, err := openRuntime()
	if err != nil {
		return err
	}
	defer unix.Close(shared)
	done, err := exists(shared, doneFile)
	if err != nil {
		return err
	}
	if !done {
		return advice.With(errors.New("the download was stopped before it was finished"), "run the update again: it goes on where it stopped")
	}
	status("making a release")
	n, err := s.Commit(ctx)
	switch {
	case err != nil:
	case n == "":
		status("up to date")
	default:
		status("release " + string(n) + " is current")
	}
	return err
}

func unstage(_ context.Context, l instance.Layout, log *journal.Log) error {
	s, err := privileged(l, log)
	if err != nil {
		return err
	}
	return errors.Join(passOn(s), s.Unstage())
}

// passOn keeps for the next update that what this one leaves may be damaged.
func passOn(s *staging.Staging) error {
	shared, err := openRuntime()
	if err != nil {
		return nil // run by hand: nothing was left there
	}
	defer unix.Close(shared)
	unclean, err := exists(shared, validateFile)
	if err == nil && unclean {
		err = s.Distrust()
	}
	return err
}

func exists(dir int, name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return true, nil
}

// status is what systemctl status shows of the unit.
func status(text string) {
	_, _ = daemon.SdNotify(false, "STATUS="+text) // nobody there: run by hand
}
