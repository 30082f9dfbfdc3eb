package doctor

import (
	"debug/elf"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/i386"
	"l4d2-host/internal/instance"
)

// What Debian calls what the game needs of a 64-bit machine.
const debianLibraries = "apt install lib32gcc-s1 lib32stdc++6 libc6-i386, or what your distribution calls the 32-bit C and C++ libraries"

const validate = "let steamcmd look at every file: VALIDATE=yes in /etc/l4d2-host/update.conf, then l4d2ctl update"

// libraryDirs are where distributions keep 32-bit libraries: Debian's packages
// for 64-bit machines, its i386 architecture, those with lib64.
var libraryDirs = []string{"/lib32", "/usr/lib32", "/lib/i386-linux-gnu", "/usr/lib/i386-linux-gnu", "/usr/lib", "/lib"}

func (d *Doctor) checkInstallation() {
	game, err := d.game()
	if err != nil {
		d.fail(Error, "installation", err)
		return
	}
	path := find(game, "srcds_linux")
	program, err := openProgram(path)
	if errors.Is(err, fs.ErrNotExist) {
		d.add(Error, "installation", "install it with: l4d2ctl update", "there is no game in %s: it has no srcds_linux", d.Layout.Installation())
		return
	}
	if errors.Is(err, errNotRunnable) {
		d.add(Error, "installation", validate, "%s: %v", path, err)
		return
	}
	if err != nil {
		d.fail(Error, "installation", err)
		return
	}
	defer program.Close()
	if program.Class != elf.ELFCLASS32 {
		d.add(Warning, "installation", validate, "%s is a 64-bit program, and Valve's is a 32-bit one", path)
		d.checkSteamClient(game)
		return
	}
	d.ok("installation", "%s is a 32-bit program", path)
	d.checkEmulation()
	interpreter := programInterpreter(program)
	if interpreter == "" {
		d.ok("libraries", "srcds_linux is linked statically and needs none")
	} else {
		d.checkLibraries(game, interpreter)
	}
	d.checkSteamClient(game)
}

// checkEmulation has the kernel run a 32-bit program; where that can't be found
// out, it says nothing.
func (d *Doctor) checkEmulation() {
	if errors.Is(i386.Try(), unix.ENOEXEC) {
		d.add(Error, "kernel", "boot a kernel with CONFIG_IA32_EMULATION, and without ia32_emulation=0",
			"the kernel runs no 32-bit programs, and the game is one")
	}
}

var errNotRunnable = errors.New("not an x86 program that can be executed")

// openProgram opens a file of the game's user, who may have put anything there.
func openProgram(path string) (*elf.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode()&fs.ModeSymlink == 0 && (!info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0) {
		return nil, errNotRunnable
	}
	return openELF(path)
}

// openELF follows links: libraries mostly are some. What is there can be
// exchanged at any moment, also for a FIFO or a device: so it is looked at
// before it is opened, and that very file is opened.
func openELF(path string) (*elf.File, error) {
	pinned, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(pinned)
	var st unix.Stat_t
	if err := unix.Fstat(pinned, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, errNotRunnable
	}
	fd, err := unix.Open("/proc/self/fd/"+strconv.Itoa(pinned), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	// Closed with the last use of it: elf.File closes only what it opened.
	f, err := elf.NewFile(&bounded{os.NewFile(uintptr(fd), path), maxELF})
	if err != nil || f.Machine != elf.EM_386 && f.Machine != elf.EM_X86_64 {
		return nil, errNotRunnable
	}
	return f, nil
}

// maxELF, in bytes, is more than the headers and the names of the sections of
// any program.
const maxELF = 256 << 10

// bounded reads so much and no more: package elf reads the names of sections
// into memory, and a file of the game's user can have terabytes of them, in
// holes.
type bounded struct {
	file *os.File
	left int
}

func (b *bounded) ReadAt(p []byte, offset int64) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errNotRunnable
	}
	return b.file.ReadAt(p, offset)
}

// maxInterpreter bounds what is read of a file of the game's user.
const maxInterpreter = 4096

// programInterpreter returns the loader that f asks for, or "".
func programInterpreter(f *elf.File) string {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz > 0 && p.Filesz <= maxInterpreter {
			text := make([]byte, p.Filesz)
			if _, err := p.ReadAt(text, 0); err == nil {
				return strings.TrimRight(string(text), "\x00")
			}
		}
	}
	return ""
}

// loader is that of all 32-bit programs on x86 (glibc).
const loader = "/lib/ld-linux.so.2"

func (d *Doctor) checkLibraries(game []string, interpreter string) {
	if interpreter != loader {
		d.add(Warning, "libraries", validate, "srcds_linux asks for the loader %s", strconv.Quote(interpreter))
		return
	}
	missing := []string{}
	if !isELF32(filepath.Join(d.host, loader)) {
		missing = append(missing, loader)
	}
	for _, library := range []string{"libstdc++.so.6", "libgcc_s.so.1"} {
		found := isELF32(find(game, "bin/"+library)) // the game brings its own
		for _, dir := range libraryDirs {
			found = found || isELF32(filepath.Join(d.host, dir, library))
		}
		if !found {
			missing = append(missing, library)
		}
	}
	if len(missing) > 0 {
		d.add(Error, "libraries", debianLibraries, "for 32-bit programs, this machine lacks %s", strings.Join(missing, ", "))
		return
	}
	d.ok("libraries", "the 32-bit loader and libraries are there")
}

func isELF32(path string) bool {
	f, err := openELF(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Class == elf.ELFCLASS32 && f.Machine == elf.EM_386
}

// steamClients are where the game looks for it, below its root, which is the
// server's home as well.
var steamClients = []string{".steam/sdk32/steamclient.so", "bin/steamclient.so"}

func (d *Doctor) checkSteamClient(game []string) {
	for _, name := range steamClients {
		path := find(game, name)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			d.ok("steam", "steamclient.so is at %s", path)
			return
		}
	}
	hint := "copy steamcmd's linux32/steamclient.so to " + filepath.Join(d.Layout.Installation(), steamClients[0]) + ", as user " + instance.User
	if n, err := chain.Current(d.Layout); err == nil && n != "" {
		hint = "let a layer bring steamcmd's linux32/steamclient.so as " + steamClients[0] + ": a release is not to be changed"
	}
	d.add(Warning, "steam", hint,
		"the game has no steamclient.so: unless a layer brings it, servers are not listed by Steam")
}
