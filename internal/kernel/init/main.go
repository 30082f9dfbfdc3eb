// Command init is the first process of a test's virtual machine: it makes the
// ext4 file system of the first disk the root, runs the commands that the
// initial RAM file system names, and turns the machine off. Where the disk has
// a system of its own, that becomes the first process, and the commands are run
// by a unit (system.go).
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/kernel/protocol"
)

// diskLimit is how long the disk may take to appear after its driver.
const diskLimit = 20 * time.Second

func main() {
	var answers io.Writer = os.Stderr
	var err error
	switch {
	case os.Getpid() == 1:
		os.Setenv("PATH", "/bin")
		err = run(&answers)
	case os.Args[0] == unitProgram:
		err = runInUnit(&answers)
	default:
		fmt.Fprintln(os.Stderr, "init: only for a test's virtual machine")
		os.Exit(2)
	}
	last := protocol.Line{Kind: protocol.Done}
	if err != nil {
		last = protocol.Line{Kind: protocol.Error, Text: err.Error()}
	}
	fmt.Fprint(answers, last)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// run does everything but the last line; it makes answers the serial port as
// soon as that exists.
func run(answers *io.Writer) error {
	if err := mount("devtmpfs", "/dev", "devtmpfs"); err != nil {
		return err
	}
	port, err := os.OpenFile(protocol.Answers, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	*answers = port
	if err := loadModules("/" + protocol.ModulesDir); err != nil {
		return err
	}
	if _, err := os.Stat("/" + protocol.SystemFile); err == nil {
		return becomeSystem()
	}
	commands, err := readCommands("/" + protocol.CommandsFile)
	if err != nil {
		return err
	}
	if err := enterDisk("/dev/vda"); err != nil {
		return err
	}
	for _, m := range [][3]string{{"proc", "/proc", "proc"}, {"sysfs", "/sys", "sysfs"}, {"tmpfs", "/run", "tmpfs"}} {
		if err := mount(m[0], m[1], m[2]); err != nil {
			return err
		}
	}
	if err := addUsers(); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("bring up the loopback interface: %w", err)
	}
	return executeAll(commands, port)
}

func readCommands(path string) (commands [][]string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return commands, json.Unmarshal(text, &commands)
}

func executeAll(commands [][]string, port *os.File) error {
	for _, args := range commands {
		code, err := execute(args, port)
		if err != nil {
			return err
		}
		fmt.Fprint(port, protocol.Line{Kind: protocol.Exit, Code: code})
	}
	return nil
}

func execute(args []string, output *os.File) (int, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = output, output
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

func loadModules(dir string) error {
	names, err := filepath.Glob(dir + "/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

// enterDisk makes the file system on device the root.
func enterDisk(device string) error {
	for waited := time.Duration(0); ; waited += 10 * time.Millisecond {
		_, err := os.Stat(device)
		if err == nil {
			break
		}
		if waited > diskLimit {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := mount(device, "/disk", "ext4"); err != nil {
		return err
	}
	if err := unix.Mount("/dev", "/disk/dev", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move /dev: %w", err)
	}
	if err := unix.Chdir("/disk"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}

// addUsers makes the files that every system has: tests look for users there.
func addUsers() error {
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile("/etc/passwd", []byte("root:x:0:0:root:/:/bin/sh\n"), 0o644),
		os.WriteFile("/etc/group", []byte("root:x:0:\n"), 0o644))
}

func mount(source, target, fstype string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(source, target, fstype, 0, ""); err != nil {
		return fmt.Errorf("mount %s at %s: %w", source, target, err)
	}
	return nil
}

// loopbackUp gives the machine 127.0.0.1; the kernel adds the address itself.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}
