package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/kernel/protocol"
)

// What the disk's system finds in /run, which it leaves as it is mounted:
// nothing has to be written to the disk.
const (
	unitProgram  = "/run/l4d2-guest/init"
	unitCommands = "/run/l4d2-guest/commands.json"
	unitFile     = "/run/systemd/system/l4d2-guest.service"
	unitWanted   = "/run/systemd/system/multi-user.target.wants/l4d2-guest.service"
)

// unit runs this program again. It turns the machine off itself; should it not
// come to that, systemd does.
const unit = `[Unit]
FailureAction=poweroff-force
[Service]
ExecStart=` + unitProgram + `
Environment=HOME=/root
`

// becomeSystem replaces this process by the disk's own first one. It returns
// if it cannot.
func becomeSystem() error {
	files := map[string]string{unitProgram: "/init", unitCommands: "/" + protocol.CommandsFile}
	contents := map[string][]byte{unitFile: []byte(unit)}
	for inside, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		contents[inside] = text
	}
	if err := enterDisk("/dev/vda"); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs"); err != nil {
		return err
	}
	for path, text := range contents {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(unitWanted), 0o755); err != nil {
		return err
	}
	if err := os.Symlink(unitFile, unitWanted); err != nil {
		return err
	}
	err := unix.Exec("/sbin/init", []string{"/sbin/init"}, []string{"TERM=linux"})
	return fmt.Errorf("execute the disk's /sbin/init: %w", err)
}

// runInUnit runs the commands.
func runInUnit(answers *io.Writer) error {
	os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	port, err := os.OpenFile(protocol.Answers, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	*answers = port
	commands, err := readCommands(unitCommands)
	if err != nil {
		return err
	}
	return executeAll(commands, port)
}
