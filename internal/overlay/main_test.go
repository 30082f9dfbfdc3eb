package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/privatens"
)

func TestMain(m *testing.M) { privatens.Main(m) }

const source = "l4d2:test"

// place is a directory with what an overlay is made of.
type place struct {
	t      testing.TB
	dir    string
	lowers []string // paths, topmost first
	upper  string
	work   string
	target Target
}

// newPlace makes lower layers with these names, topmost first. Each holds
// "which" with its own name, and a file that bears its name. The other
// directories are called like the first, too, so that odd names try them all.
func newPlace(t testing.TB, names ...string) *place {
	t.Helper()
	privatens.Need(t)
	p := &place{t: t, dir: t.TempDir()}
	for _, name := range names {
		p.layer(name)
	}
	name := names[0]
	p.upper = filepath.Join(p.dir, "upper", name)
	p.work = filepath.Join(p.dir, "work", name)
	parent := filepath.Join(p.dir, "merged")
	p.target = Target{Name: name, Path: filepath.Join(parent, name)}
	for _, dir := range []string{p.upper, p.work, p.target.Path} {
		must(t, os.MkdirAll(dir, 0o755))
	}
	p.target.Dir = open(t, parent)
	t.Cleanup(func() {
		for unix.Unmount(p.target.Path, unix.MNT_DETACH) == nil {
		}
	})
	return p
}

// layer makes a layer and puts it at the bottom.
func (p *place) layer(name string) {
	p.t.Helper()
	dir := filepath.Join(p.dir, "lower", name)
	must(p.t, os.MkdirAll(dir, 0o755))
	must(p.t, os.WriteFile(filepath.Join(dir, "which"), []byte(name), 0o644))
	must(p.t, os.WriteFile(filepath.Join(dir, "only-"+name[:min(len(name), 200)]), []byte(name), 0o644))
	p.lowers = append(p.lowers, dir)
}

func open(t testing.TB, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// stack opens the directories, for a mount by this goroutine.
func (p *place) stack() Stack {
	p.t.Helper()
	privatens.LockThread()
	s := Stack{Source: source, Upper: open(p.t, p.upper), Work: open(p.t, p.work)}
	for _, l := range p.lowers {
		s.Lowers = append(s.Lowers, Lower{open(p.t, l), Unknown})
	}
	return s
}

func (p *place) mount(method Method) *Mounted {
	p.t.Helper()
	m, err := p.stack().Mount(p.target, method)
	must(p.t, err)
	must(p.t, m.Attach())
	return m
}

func (p *place) unmount() {
	p.t.Helper()
	must(p.t, p.target.Unmount())
}

func (p *place) merged(name string) string { return filepath.Join(p.target.Path, name) }

func (p *place) wantFile(path, want string) {
	p.t.Helper()
	if got, err := os.ReadFile(path); string(got) != want {
		p.t.Errorf("%s: %q, %v; want %q", filepath.Base(path), got, err, want)
	}
}

func (p *place) wantFree() {
	p.t.Helper()
	if o, err := p.target.Occupant(); o != nil || err != nil {
		p.t.Errorf("%v is mounted, %v", o, err)
	}
}

// eachMethod runs f with both ways to mount. On a kernel that lacks one, it
// makes sure instead that Auto does the same by the other.
func eachMethod(t *testing.T, f func(t *testing.T, method Method)) {
	for _, method := range []Method{FSContext, Classic} {
		t.Run(method.String(), func(t *testing.T) {
			if has(t, method) {
				f(t, method)
				return
			}
			p := newPlace(t, "a")
			if m := p.mount(Auto); m.Method != Classic {
				t.Fatalf("Auto chose %s, which this kernel lacks", m.Method)
			}
			p.unmount()
			t.Logf("no %s in this kernel: Auto fell back to %s", method, Classic)
		})
	}
}

// has tells whether the kernel can mount by the method.
func has(t *testing.T, method Method) bool {
	t.Helper()
	p := newPlace(t, "a")
	m, err := p.stack().Mount(p.target, method)
	if errors.Is(err, ErrMethod) {
		if method == Classic {
			t.Fatalf("every kernel has mount(2): %v", err)
		}
		p.wantFree()
		return false
	}
	must(t, err)
	must(t, m.Abandon())
	p.wantFree()
	return true
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails unless err's text holds every one of parts.
func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

// layerNames returns n names of the given length.
func layerNames(n, length int) []string {
	names := make([]string, n)
	for i := range names {
		number := fmt.Sprintf("%03d", i)
		names[i] = number + strings.Repeat("x", length-len(number))
	}
	return names
}
