// Package mountns takes the process into the mount namespace of PID 1.
//
// systemd runs the "+" steps of a unit that has any file-system sandboxing in
// a private mount namespace (seen on 247 to 262): a mount made there would
// vanish with the step.
package mountns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// joinedVariable is set in the environment of the program's second run.
const joinedVariable = "L4D2_JOINED"

// Join returns at once when the process is in the mount namespace of PID 1.
// Otherwise it joins it and executes the program again, with the same
// arguments, from the start; it then returns only errors. The caller needs
// CAP_SYS_ADMIN. The working directory of the process is / afterwards.
//
// To set one thread over would not do: the runtime's other threads would keep
// the private namespace alive, and with it a copy of every mount there is. An
// overlay would outlive its unmount, its upper directory still in use.
func Join() error {
	// For all threads: systemd may have started us with a working directory in
	// the mount that is to be unmounted.
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if same, err := joined(); err != nil || same {
		return err
	}
	if os.Getenv(joinedVariable) != "" {
		return errors.New("joined the mount namespace of PID 1, and am not in it")
	}
	f, err := os.Open("/proc/1/ns/mnt")
	if err != nil {
		return err
	}
	defer f.Close()
	// A thread's namespace is its own, and so is the one that execve(2) leaves.
	runtime.LockOSThread()
	// setns(2) refuses a thread that shares its working directory with others.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the working directory: %w", err)
	}
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join the mount namespace of PID 1: %w", err)
	}
	err = unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), joinedVariable+"=1"))
	return fmt.Errorf("execute myself again: %w", err)
}

func joined() (bool, error) {
	var own, first unix.Stat_t
	if err := unix.Stat("/proc/self/ns/mnt", &own); err != nil {
		return false, fmt.Errorf("/proc is not mounted: %w", err)
	}
	if err := unix.Stat("/proc/1/ns/mnt", &first); err != nil {
		return false, fmt.Errorf("look at PID 1: %w", err)
	}
	return own.Ino == first.Ino && own.Dev == first.Dev, nil
}
