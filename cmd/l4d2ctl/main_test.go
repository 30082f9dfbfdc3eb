package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/cli"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// The scripts have two programs: l4d2ctl works without a group l4d2, giving
// the instances to root's group, and finds no systemd, on whatever machine the
// tests run; l4d2ctl-shipped is the real one.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"l4d2ctl":         func() { os.Exit(imageBuild().Main(os.Args[1:])) },
		"l4d2ctl-shipped": main,
	})
}

func imageBuild() *cli.Program {
	p := cli.New("1.2.3")
	p.OpenStore = func(l instance.Layout) (*store.Store, error) {
		return &store.Store{Layout: l, GID: 0}, nil
	}
	p.LookUpOwner = func() (activation.Owner, error) { return activation.Owner{}, nil }
	p.Connect = func(context.Context) (cli.Manager, error) { return nil, systemd.ErrNotRunning }
	return p
}

func needRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		return
	}
	if testing.Short() {
		t.Skip("needs root")
	}
	t.Fatal("needs root: run make test")
}

func TestScripts(t *testing.T) {
	needRoot(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			root := filepath.Join(env.WorkDir, "root")
			for _, dir := range []string{"installation", "overlays/my-maps", "instances", "runtime"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					return err
				}
			}
			env.Setenv(instance.RootVariable, root)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  exits,
			"nobody": nobody,
			"mode":   mode,
			"kept":   kept,
			"empty":  empty,
		},
	})
}

// exits CODE PROGRAM [ARG…] runs a program that has to end with the exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	expect(ts, args[0], ts.Exec(args[1], args[2:]...))
}

func expect(ts *testscript.TestScript, code string, err error) {
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != code {
		ts.Fatalf("exit code %d, want %s", got, code)
	}
}

// nobody CODE PROGRAM [ARG…] is exits as a user that may do nothing. Such a
// user cannot reach the program in the tests' directory, so it gets it open.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nobody CODE PROGRAM [ARG…]")
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	program, err := os.Open(path)
	ts.Check(err)
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.Args = args[1:]
	cmd.ExtraFiles = []*os.File{program}
	cmd.Dir = "/"
	cmd.Env = []string{instance.RootVariable + "=" + ts.Getenv(instance.RootVariable)}
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	expect(ts, args[0], cmd.Run())
}

// mode MODE FILE… requires files to be root's and to have the mode.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mode MODE FILE…")
	}
	for _, file := range args[1:] {
		info, err := os.Stat(ts.MkAbs(file))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] || info.Sys().(*syscall.Stat_t).Uid != 0 {
			ts.Fatalf("%s: mode %s, owner %d", file, got, info.Sys().(*syscall.Stat_t).Uid)
		}
	}
}

// kept TEXT requires just one copy of an edited spec in $TMPDIR, for root's
// eyes only and with TEXT in it, and removes it.
func kept(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: kept TEXT")
	}
	found, err := filepath.Glob(ts.Getenv("TMPDIR") + "/l4d2-edit-*/*.yaml")
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%d copies are kept: %q", len(found), found)
	}
	for path, want := range map[string]fs.FileMode{found[0]: 0o600, filepath.Dir(found[0]): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			ts.Fatalf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	if text := ts.ReadFile(found[0]); !strings.Contains(text, args[0]) {
		ts.Fatalf("%q is not in %q", args[0], text)
	}
	ts.Check(os.RemoveAll(filepath.Dir(found[0])))
}

// empty DIR requires a directory with nothing in it.
func empty(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: empty DIR")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

// Ctrl-C while the spec is being typed.
func TestInterrupt(t *testing.T) {
	needRoot(t)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ctx, done := context.WithTimeout(context.Background(), time.Minute)
		defer done()
		cmd := exec.CommandContext(ctx, "l4d2ctl", "--root", t.TempDir(), "init", "alpha", "-")
		typing, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer typing.Close()
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(stderr)
		if line, err := said.ReadString('\n'); !strings.Contains(line, "reading the spec") {
			t.Errorf("%v: said %q (%v), want that it reads", sig, line, err)
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Error(err)
		}
		if line, _ := said.ReadString('\n'); !strings.HasPrefix(line, "l4d2ctl: init: alpha: interrupted") {
			t.Errorf("%v: said %q", sig, line)
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != cli.ExitInterrupted {
			t.Errorf("%v: %v, want exit code %d", sig, cmd.ProcessState, cli.ExitInterrupted)
		}
	}
}
