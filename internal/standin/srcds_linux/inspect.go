package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/standin"
)

// writeDump writes what this process was started with.
func writeDump(path string) error {
	d := standin.Dump{
		Arguments:   os.Args,
		Environment: os.Environ(),
		UID:         os.Geteuid(),
		GID:         os.Getegid(),
		Status:      map[string]string{},
	}
	d.Directory, _ = os.Getwd() // "" says that it is gone
	d.Groups, _ = os.Getgroups()
	umask := syscall.Umask(0)
	syscall.Umask(umask)
	d.Umask = fmt.Sprintf("%04o", umask)
	d.Limits = content("/proc/self/limits")
	d.Cgroup = content("/proc/self/cgroup")
	for _, line := range strings.Split(content("/proc/self/status"), "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "CoreDumping":
			d.Status[name] = strings.TrimSpace(value)
		}
	}
	text, err := json.MarshalIndent(d, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path)
}

// content is a file's, or the reason why it cannot be read.
func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return errnoName(err)
	}
	return string(b)
}

// look says in three lines how path looks to this process, each a result or
// the name of an errno.
func look(path string) string {
	var st unix.Stat_t
	lstat := ""
	if err := unix.Lstat(path, &st); err != nil {
		lstat = errnoName(err)
	} else {
		lstat = fmt.Sprintf("%s %04o %d:%d %d", fileKind(st.Mode), st.Mode&0o7777, st.Uid, st.Gid, st.Size)
	}
	readdir := ""
	if entries, err := os.ReadDir(path); err != nil {
		readdir = errnoName(err)
	} else {
		names := []string{fmt.Sprintf("%d entries", len(entries))}
		for _, e := range entries {
			names = append(names, fmt.Sprintf("%q", e.Name()))
		}
		readdir = strings.Join(names, " ")
	}
	// Not to wait for a FIFO's other end.
	open := "ok"
	if fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
		open = errnoName(err)
	} else {
		unix.Close(fd)
	}
	return "lstat: " + lstat + "\nreaddir: " + readdir + "\nopen: " + open
}

func fileKind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFREG:
		return "file"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "device"
	default:
		return "other"
	}
}

// poke takes "PATH" or "PATH TEXT": it opens the file for writing, which makes
// it when missing, appends TEXT, and says "ok" or the name of an errno.
func poke(args string) string {
	path, text, _ := strings.Cut(args, " ")
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return errnoName(err)
	}
	defer unix.Close(fd)
	if text != "" {
		if _, err := unix.Write(fd, []byte(text)); err != nil {
			return errnoName(err)
		}
	}
	return "ok"
}

func mounts() string { return strings.TrimSuffix(content("/proc/self/mountinfo"), "\n") }

// errnoName is ENOENT and the like.
func errnoName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
	}
	return err.Error()
}
