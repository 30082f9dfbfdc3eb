package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/privatens"
)

// crashVariable makes the test binary do one thing to a store and kill itself
// in the middle: "init|remove|install|forget ROOT STEP".
const crashVariable = "L4D2_TEST_STORE_CRASH"

func TestMain(m *testing.M) {
	if job := os.Getenv(crashVariable); job != "" {
		crash(strings.SplitN(job, " ", 3))
	}
	privatens.Main(m)
}

const testGID = 54321

const (
	specA = "port: 1\nconfig: [a]\n"
	specB = "port: 2\noverlays: [mod]\nconfig: [b]\n"
)

func crash(job []string) {
	l, err := instance.NewLayout(job[1])
	if err == nil {
		s := &Store{Layout: l, GID: testGID, step: func(name string) {
			if name == job[2] {
				unix.Kill(os.Getpid(), unix.SIGKILL)
				select {}
			}
		}}
		switch job[0] {
		case "init":
			_, err = s.Init("a", "b.yaml", []byte(specB))
		case "remove":
			err = s.Remove("a")
		default:
			err = changeUpper(s, job[0])
		}
	}
	fmt.Fprintln(os.Stderr, "not killed:", err)
	os.Exit(1)
}

// die runs the job until it kills itself at step.
func die(t *testing.T, s *Store, job, step string) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), crashVariable+"="+job+" "+s.Layout.Root()+" "+step)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("%s at %q: %v\n%s", job, step, err, out)
	}
}

// newStore returns a store in a directory of its own, with an installation, the
// layers mod and link (to mod), and the instances' directory.
func newStore(t *testing.T) *Store {
	t.Helper()
	privatens.Need(t)
	return fillStore(t, t.TempDir())
}

func fillStore(t *testing.T, root string) *Store {
	t.Helper()
	l, err := instance.NewLayout(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{l.Installation(), l.Overlay("mod"), l.Instances(), l.RuntimeDir()} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	must(t, os.Symlink("mod", l.Overlay("link")))
	return &Store{Layout: l, GID: testGID}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func initialise(t *testing.T, s *Store, n instance.Name, data string, want Result) {
	t.Helper()
	if got, err := s.Init(n, "spec.yaml", []byte(data)); err != nil || got != want {
		t.Fatalf("Init(%s) = %v, %v; want %v", n, got, err, want)
	}
}

// tree returns every path below dir with its type, mode, owner, contents and
// inode, so that two trees are equal only if nothing was touched.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var text []byte
		if info.Mode().IsRegular() {
			text, err = os.ReadFile(path)
		}
		if st := owner(info); d.Name() != ".lock" && path != dir {
			fmt.Fprintf(&b, "%s %v %d:%d %d %q\n", path, info.Mode(), st.Uid, st.Gid, st.Ino, text)
		}
		return err
	}))
	return b.String()
}

func ls(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q; want %q", what, got, want)
	}
}

// wantError fails unless err's text starts with want, and returns its advice.
func wantError(t *testing.T, err error, want string) string {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	return advice.For(err)
}

func TestListAndLoad(t *testing.T) {
	s := newStore(t)
	initialise(t, s, "b", "port: 2\n", Created)
	initialise(t, s, "a", "port: 1\narguments: ['x y', \"'it''s z'\"]\n", Created)
	must(t, os.Mkdir(filepath.Join(s.Layout.Instances(), "No-Name"), 0o755))
	put(t, filepath.Join(s.Layout.Instances(), "file"), "")
	put(t, filepath.Join(s.Layout.Instances(), ".a.new", "x"), "")
	names, err := s.List()
	if err != nil || !slices.Equal(names, []instance.Name{"a", "b"}) {
		t.Errorf("List = %q, %v", names, err)
	}

	sp, env, err := s.Load("a")
	if err != nil || env.Port != 1 || env.Args != "x y its z"[:4]+`"its z"` || !slices.Equal(sp.Words(), []string{"x", "y", "its z"}) {
		t.Errorf("Load = %+v, %+v, %v", sp, env, err)
	}
	if _, _, err := s.Load("c"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Load of an unknown instance: %v", err)
	}
	put(t, s.Layout.Spec("a"), "port: x\n")
	_, _, err = s.Load("a")
	wantError(t, err, s.Layout.Spec("a")+`:1: port: the text "x"`)
	put(t, s.Layout.Spec("a"), "port: 1\n")
	put(t, s.Layout.Env("a"), "L4D2_PORT=1\nx\n")
	_, _, err = s.Load("a")
	wantError(t, err, s.Layout.Env("a")+":2: no = in the line")
	must(t, os.Remove(s.Layout.Spec("a")))
	if _, _, err = s.Load("a"); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrUnknown) {
		t.Errorf("Load without a spec: %v", err)
	}
	// A link to another's secrets is not read.
	must(t, os.Symlink(s.Layout.Spec("b"), s.Layout.Spec("a")))
	_, _, err = s.Load("a")
	wantError(t, err, s.Layout.Spec("a")+": a symbolic link, not a regular file")

	must(t, os.RemoveAll(s.Layout.Instances()))
	if _, err := s.List(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("List without instances/: %v", err)
	}
}

// Load tells an instance that never was from what is left of one.
func TestLoadLeftovers(t *testing.T) {
	for _, tt := range []struct {
		path         func(*Store) string
		want, advice string
	}{
		{func(s *Store) string { return s.deleted("a") }, "its removal was interrupted", "l4d2ctl delete finishes it"},
		{func(s *Store) string { return s.staging("a") }, "an interrupted init has left ", eitherWay},
		{func(s *Store) string { return s.Layout.Runtime("a") }, "its spec is gone, but there is ", eitherWay},
	} {
		s := newStore(t)
		must(t, os.Mkdir(tt.path(s), 0o755))
		_, _, err := s.Load("a")
		if got := wantError(t, err, tt.want); got != tt.advice {
			t.Errorf("advice %q; want %q", got, tt.advice)
		}
	}
}
