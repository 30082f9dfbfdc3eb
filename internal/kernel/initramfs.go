package kernel

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/kernel/protocol"
)

// initramfs makes the initial RAM file system of one boot: a file without a
// name, so that nothing is left of it however this process ends.
func initramfs(k Kernel, p Payload) (*os.File, error) {
	program, err := guestInit()
	if err != nil {
		return nil, err
	}
	list, err := json.Marshal(p.Commands)
	if err != nil {
		return nil, err
	}
	modules, err := filepath.Glob(filepath.Join(k.modules(), "*"))
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	if err := fill(f, program, list, modules, p.System); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// fill writes the archive: the first program, what it is to run, the modules
// that it is to load, and whether it is to leave the rest to the disk's system.
func fill(f *os.File, program, commands []byte, modules []string, system bool) error {
	a := archive{Writer: bufio.NewWriter(f)}
	a.add("init", modeFile|0o755, program)
	a.add(protocol.CommandsFile, modeFile|0o644, commands)
	for _, dir := range []string{"dev", "disk", protocol.ModulesDir} {
		a.add(dir, modeDir|0o755, nil)
	}
	for _, m := range modules {
		data, err := os.ReadFile(m)
		if err != nil {
			return err
		}
		a.add(protocol.ModulesDir+"/"+filepath.Base(m), modeFile|0o644, data)
	}
	if system {
		a.add(protocol.SystemFile, modeFile|0o644, nil)
	}
	a.add("TRAILER!!!", 0, nil)
	return a.Flush()
}

// archive is a cpio archive in the "newc" format of the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	*bufio.Writer // keeps the first error for Flush
	count         int
}

const (
	modeFile = 0o100000
	modeDir  = 0o040000
)

func (a *archive) add(name string, mode int, data []byte) {
	a.count++
	const header = 110
	fmt.Fprintf(a, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.count, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad(header + len(name) + 1)
	a.Write(data)
	a.pad(len(data))
}

// pad fills up to a multiple of four what is n bytes long.
func (a *archive) pad(n int) { io.WriteString(a, "\x00\x00\x00"[:-n&3]) }

// guestInit is the program that is the guest's first process, built once.
var guestInit = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "l4d2-init-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "init")
	if err := Build(path, "build", "l4d2-host/internal/kernel/init"); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// Build makes a static program for the guest from a package of this module:
// verb is "build", or "test" for the package's tests.
func Build(path, verb, pkg string) error {
	args := []string{verb, "-o", path, pkg}
	if verb == "test" {
		args = []string{verb, "-c", "-o", path, pkg}
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s %s: %w: %s", verb, pkg, err, out)
	}
	return nil
}
