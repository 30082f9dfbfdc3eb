package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// load does a piece of work again and again for so many seconds.
func load(seconds string, work func()) {
	n, _ := strconv.ParseFloat(seconds, 64)
	for end := time.Now().Add(time.Duration(n * float64(time.Second))); time.Now().Before(end); {
		work()
	}
}

// readGame reads some 66 KB from a file, at 6 MB a second at most: slower than
// any disk, and with a processor that is nearly idle.
func readGame() {
	os.ReadFile(filepath.Join(gameDir, "pak01_dir.vpk")) // to no end
	time.Sleep(10 * time.Millisecond)
}

// compute keeps a processor busy for a millisecond or so.
func compute() { sha256.Sum256(make([]byte, 1<<18)) }

// crash ends the process by SIGSEGV, as a fault in the game does. Go's runtime
// would turn the signal into an exit, so its handler is taken off first.
func crash() {
	resetSignal(syscall.SIGSEGV)
	syscall.Kill(syscall.Getpid(), syscall.SIGSEGV)
	select {} // until it arrives
}

// resetSignal takes Go's handler off a signal.
func resetSignal(sig syscall.Signal) {
	var defaultAction [64]byte // a struct sigaction of zeros: SIG_DFL
	const sizeOfMask = 8
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig),
		uintptr(unsafe.Pointer(&defaultAction)), 0, sizeOfMask, 0, 0)
	if errno != 0 {
		panic(errno)
	}
}
