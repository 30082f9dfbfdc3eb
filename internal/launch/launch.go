// Package launch turns a process into the game, as env(1) would, but with a
// companion that systemd does not take for the game's child.
package launch

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// Command is a program to become, and what to change in its environment.
type Command struct {
	Set  []string // NAME=VALUE, added to the environment
	Path string   // of the program; not looked up in $PATH
	Args []string // without the program's own name
}

// Parse reads what env(1) reads: [NAME=VALUE…] PROGRAM [ARGUMENT…].
func Parse(words []string) (Command, error) {
	for i, word := range words {
		if strings.Contains(word, "=") {
			continue
		}
		if !strings.Contains(word, "/") {
			return Command{}, fmt.Errorf("%q: the program must be a path with a slash in it", word)
		}
		return Command{Set: words[:i], Path: word, Args: words[i+1:]}, nil
	}
	return Command{}, errors.New("no program to start")
}

// ours is not for the game: what sd_notify(3) and sd_watchdog_enabled(3) look for,
// as the game itself is not to speak to systemd, and what the unit sets for our
// own programs.
var ours = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "GOMAXPROCS"}

// Become replaces this process by the program. It returns only an error.
func (c Command) Become() error {
	environment := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(ours, name) || slices.ContainsFunc(c.Set, func(set string) bool {
			return strings.HasPrefix(set, name+"=")
		})
	})
	// systemd starts its services with SIGPIPE ignored (IgnoreSIGPIPE=). Go's
	// runtime has changed that, and exec would make it the default: a game that
	// writes to a connection which is gone would die of it.
	signal.Ignore(syscall.SIGPIPE)
	err := syscall.Exec(c.Path, append([]string{c.Path}, c.Args...), append(environment, c.Set...))
	err = fmt.Errorf("start %s: %w", c.Path, err)
	if _, there := os.Stat(c.Path); errors.Is(err, unix.ENOENT) && there == nil {
		return advice.With(err, "the file is there, so its loader is not: a 32-bit program needs libc6-i386 (Debian) or glibc.i686")
	}
	return err
}

// Companion starts the program path as a sibling of this process: a child of
// this one's parent, systemd. So the game that this process becomes has no
// child that it does not know of, and gets no SIGCHLD when the companion ends.
// Its descriptor 3 is a pidfd of this process.
func Companion(path string, argv, environment []string) error {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	pidfd := os.NewFile(uintptr(self), "pidfd")
	defer pidfd.Close()
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Dir:   "/", // not to hold the game's tree
		Env:   environment,
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, pidfd},
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT},
	})
	if err != nil {
		return err
	}
	return p.Release()
}
