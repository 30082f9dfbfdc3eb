// Package privatens runs the tests of a package in a mount namespace of their
// own, so that what they mount never reaches the host and goes with them. It
// is imported by tests and benchmarks only.
package privatens

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

const variable = "L4D2_TEST_IN_PRIVATE_NAMESPACE"

// Main is to be called from TestMain: it runs the test binary again, as it was
// called, in a new mount namespace. The tests must run as root; under -short
// those that call Need are skipped.
func Main(m *testing.M) {
	if os.Getuid() != 0 || os.Getenv(variable) != "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), variable+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// Go makes every mount private after unsharing, so nothing propagates back.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	}
	fmt.Fprintln(os.Stderr, "privatens:", err)
	os.Exit(1)
}

// LockThread locks the goroutine to a thread with a working directory of its
// own, as a mount needs it in a program that does more (package overlay). The
// thread ends with the goroutine.
func LockThread() {
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_FS); err != nil {
		panic(err)
	}
}

// Need ends a test that is not in a private mount namespace: skipped under
// -short, failed otherwise.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv(variable) != "" {
		return
	}
	if flag.Parsed() && testing.Short() {
		t.Skip("needs root")
	}
	t.Fatal("needs root: run make test")
}
