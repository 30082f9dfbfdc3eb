package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/systemd"
)

// plant gives instance a two files of its own.
func (h *host) plant() (file string) {
	h.t.Helper()
	file = filepath.Join(h.layout.Upper("a"), "left4dead2", "db")
	must(h.t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(h.t, os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o644))
	must(h.t, os.WriteFile(file+"2", []byte("y"), 0o644))
	return file
}

// Nothing of an instance in use is touched: not while it runs, nor while it
// waits for its restart, nor while its mount is left.
func TestUndoRefusesWhatIsInUse(t *testing.T) {
	backup := filepath.Join(t.TempDir(), "b.tar.zst")
	for what, use := range map[string]func(h *host){
		"it is active": func(h *host) { h.set("a", up) },
		"it is activating (auto-restart)": func(h *host) {
			h.set("a", func(u *systemd.Unit) { u.ActiveState, u.SubState = "activating", "auto-restart" })
		},
		"it is mounted": func(h *host) {
			must(t, unix.Mount("tmpfs", h.layout.Merged("a"), "tmpfs", 0, ""))
			t.Cleanup(func() { unix.Unmount(h.layout.Merged("a"), unix.MNT_DETACH) })
		},
	} {
		h := newHost(t, "a")
		file := h.plant()
		os.Remove(backup)
		h.run(ExitDone, "backup", "a", "--output", backup)
		use(h)
		for _, args := range [][]string{
			{"reset", "--yes", "a"}, {"reset", "--yes", "a", "left4dead2/db"}, {"restore", "--yes", "a", backup},
			{"backup", "a"}, {"clone", "a", "b", "--port", "5", "--with-state"},
		} {
			h.run(ExitFailed, args...)
			h.says(&h.err, what, "l4d2ctl: hint: stop it first: l4d2ctl stop a")
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
		for _, left := range []string{h.layout.Backups(), h.layout.Runtime("b"), h.layout.Instance("b")} {
			if _, err := os.Lstat(left); err == nil {
				t.Errorf("%s: there is a %s", what, left)
			}
		}
		h.run(ExitDone, "backup", "--running", "a")
		h.says(&h.err, "may be torn")
		h.run(ExitDone, "clone", "a", "b", "--port", "5", "--with-state", "--running")
	}
}

// Without systemd, as in an image build, the mount alone tells.
func TestUndoWithoutSystemd(t *testing.T) {
	h := newHost(t, "a")
	h.plant()
	h.systemd = nil
	h.run(ExitDone, "reset", "--yes", "a")
	h.says(&h.out, "a: reset\n")
}

// An interrupt in the middle leaves all as it was, and no half of a backup.
func TestUndoInterrupted(t *testing.T) {
	h := newHost(t, "a")
	file := h.plant()
	backup := filepath.Join(t.TempDir(), "b.tar.zst")
	h.run(ExitDone, "backup", "a", "--output", backup)
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	for _, args := range [][]string{
		{"backup", "a"}, {"reset", "--yes", "a"}, {"reset", "--yes", "--no-backup", "a"}, {"restore", "--yes", "--no-backup", "a", backup},
		{"clone", "a", "b", "--port", "5", "--with-state"},
	} {
		h.runIn(ctx, ExitInterrupted, args...)
		h.says(&h.err, "interrupted")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	left, _ := filepath.Glob(h.layout.Backups() + "/*")
	hidden, _ := filepath.Glob(h.layout.Backups() + "/.*")
	aside, _ := filepath.Glob(h.layout.RuntimeDir() + "/*/.upper*")
	if all := append(append(left, hidden...), aside...); len(all) > 0 {
		t.Errorf("left behind: %q", all)
	}
	h.there("a", true)
	h.there("b", false)
}

// What is not confirmed is not done.
func TestUndoAsks(t *testing.T) {
	h := newHost(t, "a")
	s := &session{Program: &h.program, output: &output{out: &h.out, err: &h.err}, ctx: context.Background(), layout: h.layout}
	for answer, want := range map[string]bool{"y\n": true, "yes": true, "n\n": false, "\n": false, "": false} {
		if err := s.goOn(strings.NewReader(answer), "a"); (err == nil) != want {
			t.Errorf("answer %q: %v", answer, err)
		}
	}
}

// A bar is for a terminal; a file gets whole lines.
func TestProgress(t *testing.T) {
	plain, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	defer plain.Close()
	master, terminal := pty(t)
	for _, out := range []*os.File{plain, terminal} {
		s := &session{Program: &Program{Err: out}, output: &output{}}
		add, shown := s.progress("a", "copying", 100)
		for range 4 {
			add(25)
			time.Sleep(120 * time.Millisecond)
		}
		shown()
	}
	if data, _ := os.ReadFile(plain.Name()); len(data) > 0 {
		t.Errorf("a file got %q", data)
	}
	terminal.WriteString("end") // so that there is something to read
	buf := make([]byte, 4096)
	n, err := master.Read(buf)
	if err != nil || !strings.Contains(string(buf[:n]), "a: copying") {
		t.Errorf("the terminal got %q, %v", buf[:n], err)
	}
}

// pty returns both ends of a terminal.
func pty(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { master.Close() })
	must(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	must(t, err)
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { terminal.Close() })
	return master, terminal
}

// The text of a file reaches a terminal without what that would obey, and the
// names in JSON are as long as they are.
func TestDiffOfHostileNames(t *testing.T) {
	h := newHost(t, "a")
	h.plant()
	name := "left4dead2/\x1b[2J\n\u202e\u009b"
	must(t, os.WriteFile(filepath.Join(h.layout.Upper("a"), name), []byte("\x1b]0;title\a\u009b2J\r\nplain\n"), 0o644))
	h.run(ExitDone, "diff", "a")
	h.says(&h.out, `"left4dead2/\x1b[2J\n\u202e\u009b"`)
	h.run(ExitDone, "diff", "a", "--text", name)
	h.says(&h.out, `+\x1b]0;title\a\u009b2J`+"\n", "+plain\n")
	h.run(ExitDone, "diff", "a", "--json")
	var list []changed
	must(t, json.Unmarshal(h.out.Bytes(), &list))
	if len(list) != 4 || list[1].Path != name {
		t.Errorf("JSON: %+v", list)
	}
	if strings.ContainsAny(h.out.String(), "\x1b\u009b\u202e") {
		t.Errorf("JSON: %q", h.out.String())
	}
	h.run(ExitFailed, "diff", "a", "--text", "left4dead2")
	must(t, os.WriteFile(filepath.Join(h.layout.Upper("a"), "bin"), []byte("a\x00b"), 0o644))
	h.run(ExitFailed, "diff", "a", "--text", "bin")
	h.says(&h.err, "upper/bin is not text")
	must(t, unix.Mkfifo(filepath.Join(h.layout.Upper("a"), "fifo"), 0o644))
	h.run(ExitFailed, "diff", "a", "--text", "fifo")
	h.says(&h.err, "upper/fifo is a fifo, not a file")
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1.0 kB", 9949: "9.9 kB", 9950: "10 kB", 999_499: "999 kB", 999_500: "1.0 MB", 1 << 40: "1.1 TB", 1<<63 - 1: "9.2 EB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
