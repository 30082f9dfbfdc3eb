package machine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// rebootCode is what systemd-nspawn --keep-unit ends with when the system
// inside wants to reboot: the unit that would run it is to start it again.
const rebootCode = 133

// payload is one boot of a machine: a systemd-nspawn and what it runs.
type payload struct {
	leader int           // the host's process ID of the systemd inside
	done   chan struct{} // closed when systemd-nspawn has ended
	code   int           // its exit code, -1 for a signal; valid after done
}

func (p *payload) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// start boots the tree and waits until its systemd says that it is ready.
func (p *place) start(ctx context.Context, name string, bind, bindReadOnly []string) (*payload, error) {
	console, err := os.OpenFile(p.console(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	// A group for each boot: in a former one systemd-nspawn may have enabled
	// controllers, and then no process can be put there.
	group, err := os.MkdirTemp(p.group, "boot-")
	if err != nil {
		return nil, err
	}
	groupDir, err := os.Open(group)
	if err != nil {
		return nil, err
	}
	defer groupDir.Close()
	// An abstract address, because a path may be longer than the 107 bytes
	// that a socket's can be.
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: "@l4d2-machine-" + p.id})
	if err != nil {
		return nil, err
	}
	defer ready.Close()

	cmd := exec.Command("systemd-nspawn", p.arguments(name, bind, bindReadOnly)...)
	cmd.Env = []string{
		searchPath,
		"NOTIFY_SOCKET=@l4d2-machine-" + p.id,
		"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", // also where the host's is hybrid
		"SYSTEMD_NSPAWN_LOCK=0",              // no one else knows the tree
		"SYSTEMD_SECCOMP=0",                  // a real host's PID 1 has no filter
	}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, UseCgroupFD: true, CgroupFD: int(groupDir.Fd())}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return nil, fmt.Errorf("%w: install systemd-container", err)
		}
		return nil, err
	}
	boot := &payload{done: make(chan struct{})}
	go func() {
		cmd.Wait()
		boot.code = cmd.ProcessState.ExitCode()
		close(boot.done)
		ready.Close() // wakes awaitReady
	}()
	err = awaitReady(ctx, ready)
	if err == nil {
		boot.leader, err = leader(cmd.Process.Pid)
	}
	if err == nil {
		return boot, nil
	}
	if !boot.alive() {
		err = fmt.Errorf("systemd-nspawn ended with code %d", boot.code)
	}
	err = fmt.Errorf("%w%s", err, p.consoleTail())
	if boot.alive() {
		err = errors.Join(err, p.kill())
		<-boot.done
	}
	return nil, err
}

// arguments are those of systemd-nspawn.
func (p *place) arguments(name string, bind, bindReadOnly []string) []string {
	args := []string{
		"--quiet", "--settings=no", "--directory=" + p.tree(), "--machine=" + p.id, "--hostname=" + name,
		"--register=no", "--keep-unit", // works without a systemd on the host
		"--private-network", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
		"--console=read-only", "--notify-ready=yes",
	}
	for _, b := range bind {
		args = append(args, "--bind="+b)
	}
	for _, b := range bindReadOnly {
		args = append(args, "--bind-ro="+b)
	}
	// In a container systemd takes its arguments for the kernel's.
	return append(args, "--boot", "systemd.show_status=yes")
}

// awaitReady returns when READY=1 arrives, as sd_notify(3) sends it.
func awaitReady(ctx context.Context, socket *net.UnixConn) error {
	stop := context.AfterFunc(ctx, func() { socket.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	message := make([]byte, 4096)
	for {
		n, err := socket.Read(message)
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if slices.Contains(strings.Split(string(message[:n]), "\n"), "READY=1") {
			return nil
		}
	}
}

// leader returns the child of systemd-nspawn that is process 1 inside.
func leader(nspawn int) (int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", nspawn))
	if err != nil {
		return 0, err
	}
	for _, child := range strings.Fields(string(children)) {
		status, err := os.ReadFile(filepath.Join("/proc", child, "status"))
		if err != nil {
			continue // gone meanwhile
		}
		for line := range strings.Lines(string(status)) {
			ids := strings.Fields(line)
			if ids[0] == "NSpid:" && ids[len(ids)-1] == "1" {
				return strconv.Atoi(child)
			}
		}
	}
	return 0, fmt.Errorf("systemd-nspawn (process %d) has no child that is process 1", nspawn)
}
