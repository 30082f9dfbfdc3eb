package standin_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/standin"
)

// binary is the stand-in, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "standin-test-")
		if err == nil {
			defer os.RemoveAll(dir)
			binary = filepath.Join(dir, "srcds_linux")
			err = standin.Build(context.Background(), binary)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// TestArchitecture wants a 32-bit stand-in wherever one runs.
func TestArchitecture(t *testing.T) {
	game := filepath.Join(t.TempDir(), "srcds_linux")
	if err := standin.BuildFor(context.Background(), "386", game); err != nil {
		t.Fatal(err)
	}
	want := elf.ELFCLASS32
	if err := exec.Command(game, "+standin_exit", "0").Run(); errors.Is(err, syscall.ENOEXEC) {
		want = elf.ELFCLASS64
	} else if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Class != want {
		t.Errorf("the stand-in is %v, and could be %v", f.Class, want)
	}
}

const (
	password = "a secret"
	// silence is how long to listen for an answer that must not come.
	silence = 300 * time.Millisecond
)

// install returns the root of a fresh installation with these files besides.
func install(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if err := standin.Install(root, binary); err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// start runs a server on a free port of the loopback interface until the test
// ends.
func start(t *testing.T, root string, args ...string) *standin.Process {
	t.Helper()
	args = append([]string{"-game", "left4dead2", "-ip", "127.0.0.1", "-port", "0", "+rcon_password", password}, args...)
	p, err := standin.Start(context.Background(), root, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// limited is a context that ends well before go test loses patience.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, p *standin.Process) *rcon.Conn {
	t.Helper()
	c, err := rcon.Dial(limited(t), p.Addr.String(), password)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func run(t *testing.T, c *rcon.Conn, command string) string {
	t.Helper()
	out, err := c.Exec(limited(t), command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func query(t *testing.T, p *standin.Process) a2s.Info {
	t.Helper()
	info, err := a2s.Query(limited(t), p.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// mustBeSilent fails if the server answers A2S.
func mustBeSilent(t *testing.T, p *standin.Process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), silence)
	defer cancel()
	if info, err := a2s.Query(ctx, p.Addr.String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("query = %+v, %v; want silence", info, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestBuildIsStaticI386(t *testing.T) {
	program := filepath.Join(t.TempDir(), "srcds_linux")
	if err := standin.BuildFor(t.Context(), "386", program); err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if f.Class != elf.ELFCLASS32 || f.Machine != elf.EM_386 {
		t.Errorf("%s %s, want 32-bit i386", f.Class, f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("needs a dynamic linker")
		}
	}
}

func TestInstallIsTheSameEachTime(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	tree := func(root string) map[string]string {
		seen := map[string]string{}
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			rel, _ := filepath.Rel(root, path)
			seen[rel] = info.Mode().String() + " " + read(t, path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return seen
	}
	a, b := install(t, nil), install(t, nil)
	want := tree(a)
	if diff := cmp.Diff(want, tree(b)); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(want["srcds_linux"], "-rwxr-xr-x ") || !strings.HasPrefix(want["left4dead2/steam.inf"], "-rw-r--r-- ") {
		t.Error("wrong modes")
	}
	start(t, a) // and an update of what runs
	if err := standin.Install(a, binary); err != nil {
		t.Error(err)
	}
}
