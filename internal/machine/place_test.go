package machine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownerVariable makes the test binary boot a machine, tell about it, and hang.
const ownerVariable = "L4D2_MACHINE_TEST_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(ownerVariable) != "" {
		m, err := Boot(context.Background(), Options{Dist: Debian12, Name: "owner"})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(m.place.dir, m.place.warden.Process.Pid, m.Leader())
		select {}
	}
	os.Exit(m.Run())
}

// remains lists what is left on the host of the machine in a run directory.
func remains(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	id := filepath.Base(dir)
	hierarchies, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	paths := append(groups(hierarchies, id), dir,
		"/run/systemd/nspawn/propagate/"+id, "/run/systemd/nspawn/unix-export/"+id)
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, id) {
			found = append(found, line)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if line, _ := os.ReadFile(p); bytes.Contains(line, []byte(id)) {
			found = append(found, p+": "+string(line))
		}
	}
	return found
}

// awaitGone waits until nothing of a machine is left.
func awaitGone(t *testing.T, dir string) {
	t.Helper()
	var found []string
	for end := time.Now().Add(closeLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if found = remains(t, dir); len(found) == 0 {
			return
		}
	}
	t.Errorf("still there after %s:\n%s", closeLimit, strings.Join(found, "\n"))
}

// A mount that a test made from outside must not lead the removal to its
// source, and immutable files must not stop it.
func TestCloseDespiteMountsAndImmutableFiles(t *testing.T) {
	m := ForTest(t, Debian12)
	source := t.TempDir()
	precious := filepath.Join(source, "precious")
	if err := os.WriteFile(precious, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(m.place.tree(), "mnt", "with space")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(source, target, "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	frozen := filepath.Join(m.place.tree(), "root", "frozen")
	if err := os.WriteFile(frozen, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("chattr", "+i", frozen).CombinedOutput(); err != nil {
		t.Fatalf("chattr: %v: %s", err, out)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if found := remains(t, m.place.dir); len(found) != 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("the source of the mount was emptied: %v", err)
	}
}

// owner starts a process that owns a machine, and returns it with its machine's
// run directory, and the process IDs of its warden and leader.
func owner(t *testing.T) (cmd *exec.Cmd, dir string, warden, leader int) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if _, err := fmt.Fscan(out, &dir, &warden, &leader); err != nil {
		t.Fatal(err)
	}
	return cmd, dir, warden, leader
}

func TestOwnerDies(t *testing.T) {
	NeedRoot(t)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		cmd, dir, _, leader := owner(t)
		// To the whole group, as a terminal does on Ctrl-C.
		if err := syscall.Kill(-cmd.Process.Pid, signal); err != nil {
			t.Fatal(err)
		}
		awaitGone(t, dir)
		// A zombie, which the host's first process has yet to reap, is dead.
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", leader))
		if strings.Contains(string(status), "Name:\tsystemd\n") && !strings.Contains(string(status), "State:\tZ") {
			t.Errorf("%s: systemd, process %d, is still there", signal, leader)
		}
	}
}

func TestOwnerAndWardenDie(t *testing.T) {
	NeedRoot(t)
	cmd, dir, warden, _ := owner(t)
	lives := ForTest(t, Debian12)
	// Whoever makes a machine sweeps; not now.
	sweeping, err := lock(t.Context(), filepath.Join(filepath.Dir(dir), ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{warden, cmd.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Wait()
	// The warden is not our child: it is dead when its lock is free.
	for end := time.Now().Add(closeLimit); inUse(dir) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if len(remains(t, dir)) == 0 {
		t.Error("someone else has cleaned up: this tests nothing")
	}
	sweeping.Close()
	ForTest(t, Debian12) // which sweeps first
	awaitGone(t, dir)
	sh(t, lives, "true") // and leaves the living alone
}
