package fault

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

var (
	full = flag.Bool("fault.full", false, "run all cases, not a sample of them")
	disk = flag.Bool("fault.disk", false, "work on the file system of the temporary directory, not on a tmpfs")
	only = flag.String("fault.only", "", "run only the cases whose description this `regexp` matches")
)

// workerVariable is set for the process that is PID 1 of the namespaces: the
// directory that it works in.
const workerVariable = "L4D2_TEST_FAULT_WORKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(workerVariable); dir != "" {
		flag.Parse()
		serve(dir, os.Stdin, os.Stdout)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// needs ends a test that lacks what all of them need.
func needs(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if testing.Short() {
			t.Skip("needs root")
		}
		t.Fatal("needs root: run make test")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal(err)
	}
}

const (
	helperProgram  = "l4d2-overlay"
	controlProgram = "l4d2ctl"
	updateProgram  = "l4d2-update"
)

var programs = []string{helperProgram, controlProgram, updateProgram}

// locked is added to each program: without it the main goroutine moves from thread
// to thread, and the Nth call of a thread is another one in every run.
const locked = `package main

import "runtime"

func init() { runtime.LockOSThread() }
`

// compile puts the programs into dir.
func compile(t *testing.T, dir string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	extra := filepath.Join(dir, "locked.go")
	write(extra, locked, 0o600)
	overlay := filepath.Join(dir, "overlay.json")
	var replace []string
	for _, program := range programs {
		replace = append(replace, strconv.Quote(root+"/cmd/"+program+"/locked.go")+": "+strconv.Quote(extra))
	}
	write(overlay, `{"Replace": {`+strings.Join(replace, ", ")+`}}`, 0o600)
	args := []string{"build", "-overlay", overlay, "-o", dir + "/"}
	for _, program := range programs {
		args = append(args, "./cmd/"+program)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	// Static, as they are shipped: this os/user reads /etc/passwd itself.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// must ends the process, or the test, with a stack trace: what it guards is
// the harness's own work, not what is tested.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(path, text string, mode os.FileMode) {
	must(os.MkdirAll(filepath.Dir(path), 0o755))
	must(os.WriteFile(path, []byte(text), mode))
	must(os.Chmod(path, mode)) // whatever the umask
}
