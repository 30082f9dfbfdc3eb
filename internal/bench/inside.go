package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

//go:embed floor.c
var floorSource []byte

// gameID is the user and group ID of the game's user inside.
const gameID = 64000

// runInside runs a section in this process, which is PID 1 of its namespaces.
func (b *bench) runInside(name string) error {
	if err := b.prepareInside(); err != nil {
		return err
	}
	for _, s := range sections {
		if s.name == name {
			return s.run(b, os.Stdout)
		}
	}
	return fmt.Errorf("no such section: %s", name)
}

func (b *bench) prepareInside() error {
	if os.Getpid() != 1 {
		return errors.New("-inside is for the program's own use")
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for file, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("%s:x:%d:%d::/:/usr/sbin/nologin\n", instance.User, gameID, gameID),
		"/etc/group":  fmt.Sprintf("%s:x:%d:\n", instance.User, gameID),
	} {
		if err := b.addLine(file, line); err != nil {
			return err
		}
	}
	return nil
}

// addLine puts a copy of file with one more line over it.
func (b *bench) addLine(file, line string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var kept strings.Builder
	for l := range strings.Lines(string(text)) {
		if !strings.HasPrefix(l, instance.User+":") {
			kept.WriteString(l)
		}
	}
	scratch := filepath.Join(b.dir, filepath.Base(file))
	if err := os.WriteFile(scratch, []byte(kept.String()+line), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(scratch, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("put an entry into %s: %w", file, err)
	}
	return nil
}
