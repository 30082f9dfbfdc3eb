// Package i386 finds out whether this kernel runs 32-bit programs, of which the
// game is one, by having it run one.
package i386

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limit is for a program of three instructions: far longer than it takes.
const limit = 10 * time.Second

// nobody is who runs it if the caller is root: the kernel's overflow id.
const nobody = 65534

// Try runs a program for i386. The error has syscall.ENOEXEC in its chain if this
// kernel runs none (CONFIG_IA32_EMULATION, ia32_emulation=0, or the hypervisor),
// and says something else if that could not be found out.
func Try() error { return try(program(elf.EM_386)) }

// try runs a program from memory, which nobody else can write to.
func try(program []byte) error {
	// Since Linux 6.3 an administrator can have memory be for data unless it is
	// said (vm.memfd_noexec); before, the flag is an unknown one.
	fd, err := unix.MemfdCreate("i386", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("i386", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "i386")
	defer f.Close()
	if _, err := f.Write(program); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/"+strconv.Itoa(fd))
	cmd.Env = []string{}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd.Run()
}

// address is where the program is loaded.
const address = 0x08048000

// exit0 is exit(0).
var exit0 = []byte{
	0xb8, 1, 0, 0, 0, // mov eax, 1
	0x31, 0xdb, // xor ebx, ebx
	0xcd, 0x80, // int 0x80
}

// program is exit0 for a machine with 32 bits, statically linked.
func program(machine elf.Machine) []byte {
	h := elf.Header32{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS32), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT), Phnum: 1,
	}
	p := elf.Prog32{Type: uint32(elf.PT_LOAD), Vaddr: address, Flags: uint32(elf.PF_R | elf.PF_X), Align: 0x1000}
	h.Ehsize, h.Phentsize = uint16(binary.Size(h)), uint16(binary.Size(p))
	h.Phoff = uint32(h.Ehsize)
	begin := uint32(h.Ehsize + h.Phentsize)
	h.Entry = address + begin
	p.Filesz = begin + uint32(len(exit0))
	p.Memsz = p.Filesz
	var b bytes.Buffer
	for _, part := range []any{h, p, exit0} {
		_ = binary.Write(&b, binary.LittleEndian, part) // to memory: can't fail
	}
	return b.Bytes()
}
