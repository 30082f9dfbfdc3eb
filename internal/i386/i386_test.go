package i386

import (
	"debug/elf"
	"errors"
	"syscall"
	"testing"
)

// That a program for i386 runs exactly where others do, standin.TestArchitecture
// says.
func TestTry(t *testing.T) {
	if err := Try(); err != nil && !errors.Is(err, syscall.ENOEXEC) {
		t.Error(err)
	}
	if err := try(program(elf.EM_S390)); !errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("a program for another machine: %v", err)
	}
	if err := try([]byte("#!/nowhere\n")); err == nil || errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("a program without its interpreter: %v", err)
	}
}
