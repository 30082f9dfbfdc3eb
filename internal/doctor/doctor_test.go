package doctor

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

// The directories are those that the package makes.
func TestDirectories(t *testing.T) {
	data, err := os.ReadFile("../../packaging/tmpfiles.conf")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && f[0] == "d" {
			want = append(want, strings.Join(f[1:5], " "))
		}
	}
	for _, d := range directories {
		path := filepath.Join(instance.DefaultRoot, d.name)
		got = append(got, fmt.Sprintf("%s %04o %s %s", path, d.mode, d.user, d.group))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the doctor knows\n%s\nthe package makes\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestOlderThan(t *testing.T) {
	for release, want := range map[string]bool{
		"5.4.0-1-amd64": true, "5.9": true, "4.19.0": true, "5.10.0-30-amd64": false, "5.11": false, "6.1.0": false, "12.0-rc1": false, "odd": false,
	} {
		if got := olderThan(release, "5.10"); got != want {
			t.Errorf("%s: %v", release, got)
		}
	}
}

func TestJudgeDisk(t *testing.T) {
	const block = 4096
	for name, tt := range map[string]struct {
		disk unix.Statfs_t
		want string
	}{
		"roomy":       {unix.Statfs_t{Bsize: block, Bavail: 20 << 30 / block, Files: 1e6, Ffree: 9e5}, OK},
		"no inodes":   {unix.Statfs_t{Bsize: block, Bavail: 20 << 30 / block, Files: 1e6, Ffree: 10}, Error},
		"few inodes":  {unix.Statfs_t{Bsize: block, Bavail: 20 << 30 / block, Files: 1e6, Ffree: 15000}, Warning},
		"not counted": {unix.Statfs_t{Bsize: block, Bavail: 20 << 30 / block}, OK},
		"low":         {unix.Statfs_t{Bsize: block, Bavail: 500 << 20 / block, Files: 1e6, Ffree: 9e5}, Warning},
		"full":        {unix.Statfs_t{Bsize: block, Bavail: 10, Files: 1e6, Ffree: 9e5}, Error},
		"read-only":   {unix.Statfs_t{Bsize: block, Bavail: 20 << 30 / block, Flags: unix.ST_RDONLY}, Error},
	} {
		if got, text := judgeDisk(tt.disk); got != tt.want {
			t.Errorf("%s: %s (%s), want %s", name, got, text, tt.want)
		}
	}
}

// program is the least of an ELF file, with a loader if interpreter is set.
func program(class elf.Class, machine elf.Machine, interpreter string) []byte {
	h := elf.Header32{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(class), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 52, Phentsize: 32, Shentsize: 40,
	}
	var b bytes.Buffer
	text := append([]byte(interpreter), 0)
	if interpreter != "" {
		h.Phoff, h.Phnum = 52, 1
	}
	binary.Write(&b, binary.LittleEndian, h)
	if interpreter != "" {
		binary.Write(&b, binary.LittleEndian, elf.Prog32{Type: uint32(elf.PT_INTERP), Off: 84, Filesz: uint32(len(text))})
		b.Write(text)
	}
	return b.Bytes()
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := program(elf.ELFCLASS32, elf.EM_386, "/lib/ld-linux.so.2")
	f, err := openProgram(put("good", good, 0o755))
	if err != nil || programInterpreter(f) != "/lib/ld-linux.so.2" {
		t.Errorf("%v", err)
	}
	f, err = openProgram(put("static", program(elf.ELFCLASS32, elf.EM_386, ""), 0o755))
	if err != nil || programInterpreter(f) != "" {
		t.Errorf("%v", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for what, path := range map[string]string{
		"another machine": put("arm", program(elf.ELFCLASS32, elf.EM_ARM, ""), 0o755),
		"a script":        put("script", []byte("#!/bin/sh\n"), 0o755),
		"empty":           put("empty", nil, 0o755),
		"cut off":         put("cut", good[:60], 0o755),
		"not executable":  put("plain", good, 0o644),
		"a FIFO":          fifo,
		"a link to one":   link,
		"a directory":     dir,
	} {
		if _, err := openProgram(path); !errors.Is(err, errNotRunnable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := openProgram(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
}

// A machine has the loader and both libraries for 32-bit programs, or the game
// brings its own, and what lies there for others counts as nothing.
func TestLibraries(t *testing.T) {
	good := string(program(elf.ELFCLASS32, elf.EM_386, ""))
	wide := string(program(elf.ELFCLASS64, elf.EM_X86_64, ""))
	const all = "for 32-bit programs, this machine lacks /lib/ld-linux.so.2, libstdc++.so.6, libgcc_s.so.1"
	const there = "the 32-bit loader and libraries are there"
	for name, tt := range map[string]struct {
		host, game  map[string]string
		interpreter string
		level, text string
	}{
		"none": {nil, nil, loader, Error, all},
		"Debian's": {map[string]string{loader: good, "/usr/lib32/libstdc++.so.6": good, "/usr/lib32/libgcc_s.so.1": good}, nil,
			loader, OK, there},
		"Debian's of i386": {map[string]string{loader: good, "/usr/lib/i386-linux-gnu/libstdc++.so.6": good, "/lib/i386-linux-gnu/libgcc_s.so.1": good}, nil,
			loader, OK, there},
		"with lib64": {map[string]string{loader: good, "/usr/lib/libstdc++.so.6": good, "/lib/libgcc_s.so.1": good}, nil,
			loader, OK, there},
		"the game's own": {map[string]string{loader: good}, map[string]string{"bin/libstdc++.so.6": good, "bin/libgcc_s.so.1": good},
			loader, OK, there},
		"one is missing": {map[string]string{loader: good, "/usr/lib32/libgcc_s.so.1": good}, nil,
			loader, Error, "for 32-bit programs, this machine lacks libstdc++.so.6"},
		"the loader is missing": {map[string]string{"/lib32/libstdc++.so.6": good, "/lib32/libgcc_s.so.1": good}, nil,
			loader, Error, "for 32-bit programs, this machine lacks /lib/ld-linux.so.2"},
		"for 64 bits": {map[string]string{loader: wide, "/usr/lib/libstdc++.so.6": wide, "/usr/lib/libgcc_s.so.1": wide}, map[string]string{"bin/libstdc++.so.6": wide},
			loader, Error, all},
		"another machine's": {map[string]string{loader: string(program(elf.ELFCLASS32, elf.EM_ARM, ""))}, map[string]string{"bin/libgcc_s.so.1": "text", "bin/libstdc++.so.6": string(program(elf.ELFCLASS32, elf.EM_X86_64, ""))},
			loader, Error, all},
		"another loader": {map[string]string{loader: good, "/lib32/libstdc++.so.6": good, "/lib32/libgcc_s.so.1": good}, nil,
			"/lib/ld\x1b[2J", Warning, `srcds_linux asks for the loader "/lib/ld\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			d, game := &Doctor{host: t.TempDir()}, t.TempDir()
			for root, files := range map[string]map[string]string{d.host: tt.host, game: tt.game} {
				for path, text := range files {
					path = filepath.Join(root, path)
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			d.checkLibraries([]string{game}, tt.interpreter)
			if len(d.findings) != 1 || d.findings[0].Level != tt.level || d.findings[0].Text != tt.text {
				t.Errorf("%+v, want %s: %s", d.findings, tt.level, tt.text)
			}
		})
	}
}
