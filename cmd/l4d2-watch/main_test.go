package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"l4d2-watch": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata"})
}

// It is in memory once for each server.
func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"net/http":                   "serves nothing",
		"crypto/tls":                 "speaks to this machine only",
		"github.com/alecthomas/kong": "takes what env takes",
		"github.com/godbus/dbus/v5":  "tells systemd, and asks it nothing",
		"go.yaml.in/yaml/v3":         "reads no spec",
		"encoding/json":              "reads and writes none",
		"runtime/cgo":                "static: loads nothing from a directory that the game's user can write",
		"l4d2-host/internal/store":   "changes no instance",
	}
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 10 {
		t.Fatalf("only %d packages: %q", len(deps), deps)
	}
	for _, dep := range deps {
		if reason, bad := forbidden[dep]; bad {
			t.Errorf("the watcher imports %s, and it %s", dep, reason)
		}
	}
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "l4d2-watch")
	cmd := exec.Command("go", "build", "-o", program, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// The game finds what env would have left it: signals, limits, descriptors.
func TestLeavesNoTraces(t *testing.T) {
	program := build(t)
	look := func(launcher string) string {
		t.Helper()
		// systemd starts services with SIGPIPE ignored and a soft limit on files.
		script := "trap '' PIPE; ulimit -S -n 1000; exec " + launcher +
			" A=b /bin/sh -c 'grep -E \"^(Sig(Blk|Ign|Cgt)|Threads|PPid)\" /proc/self/status; cat /proc/self/limits; ls /proc/self/fd; env | sort'"
		out, err := exec.Command("/bin/sh", "-c", script).Output()
		if err != nil {
			t.Fatalf("%s: %v", launcher, err)
		}
		return string(out)
	}
	want, got := look("/usr/bin/env"), look(program)
	// The pids are the only thing that may differ.
	cut := func(s string) string {
		var kept []string
		for line := range strings.Lines(s) {
			if !strings.HasPrefix(line, "PPid") && !strings.HasPrefix(line, "_=") {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	if cut(want) != cut(got) || !strings.Contains(got, "1000 ") || !strings.Contains(got, "A=b\n") {
		t.Errorf("with env:\n%s\nwith l4d2-watch:\n%s", want, got)
	}
}

// The watcher is a sibling of the game, holds nothing of it, ignores signals to
// the unit, and goes with the game.
func TestWatcherIsNoChildOfTheGame(t *testing.T) {
	dir := t.TempDir()
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd := exec.Command(build(t), "LD_LIBRARY_PATH=.:bin", "/bin/sh", "-c", "env >env; exec sleep 600", "sh", "-port", "28290")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+filepath.Join(dir, "notify"), "WATCHDOG_USEC=45000000", "GOMAXPROCS=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	socket.SetReadDeadline(time.Now().Add(time.Minute))
	message := make([]byte, 4096)
	n, err := socket.Read(message)
	if got := string(message[:n]); err != nil || got != "STATUS=waiting for the server to open UDP port 28290" {
		t.Fatalf("%q, %v", got, err)
	}

	// The shell's env is a child of its own, until the shell is the sleep.
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		if string(name) == "sleep\n" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the game is still %q", name)
		}
	}

	var watcher int
	for _, pid := range pids(t) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", cmd.Process.Pid)) {
			t.Errorf("the game has a child, %d:\n%s", pid, status)
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if strings.HasPrefix(string(line), fmt.Sprintf("l4d2-watch\x00--watch\x00%d\x0028290\x00%s/left4dead2/cfg/server.cfg\x0045s\x00", cmd.Process.Pid, dir)) {
			watcher = pid
			if !strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
				t.Errorf("the watcher is not this process's child:\n%s", status)
			}
		}
	}
	if watcher == 0 {
		t.Fatal("no watcher")
	}
	if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", watcher)); cwd != "/" {
		t.Errorf("its working directory is %s", cwd)
	}
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGABRT} {
		unix.Kill(watcher, sig)
	}
	if env, _ := os.ReadFile(filepath.Join(dir, "env")); strings.Contains(string(env), "NOTIFY_SOCKET") || strings.Contains(string(env), "WATCHDOG") || strings.Contains(string(env), "GOMAXPROCS") || !strings.Contains(string(env), "LD_LIBRARY_PATH=.:bin\n") {
		t.Errorf("the game's environment:\n%s", env)
	}
	time.Sleep(200 * time.Millisecond)
	var state unix.WaitStatus
	if got, err := unix.Wait4(watcher, &state, unix.WNOHANG, nil); got != 0 || err != nil {
		t.Fatalf("a signal ended it: %d, %v, %v", got, state, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if _, err := unix.Wait4(watcher, &state, 0, nil); err != nil || state.ExitStatus() != 0 {
		t.Errorf("it ended with %v, %v", state, err)
	}
}

func pids(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

func TestOption(t *testing.T) {
	args := []string{"-game", "left4dead2", "-port", "27015", "-port", "1", "-ip"}
	for name, want := range map[string]string{"-port": "27015", "-game": "left4dead2", "-ip": "missing", "-x": "missing"} {
		if got := option(args, name, "missing"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
