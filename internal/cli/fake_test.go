package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/record"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

func TestMain(m *testing.M) { privatens.Main(m) }

// fakeManager is a systemd whose units are as a test puts them. Its calls are
// recorded as "VERB UNIT".
type fakeManager struct {
	mu      sync.Mutex
	units   map[string]systemd.Unit
	calls   []string
	on      map[string]func(ctx context.Context, u *systemd.Unit) error // by verb, instead of success
	journal []string
	run     string // the invocation whose journal was asked for
	denied  error  // of Units
	// definition is every unit's.
	definition systemd.Definition
	closed     bool
	transient  systemd.Transient
}

func newFakeManager() *fakeManager {
	return &fakeManager{units: map[string]systemd.Unit{}, on: map[string]func(context.Context, *systemd.Unit) error{}}
}

func (f *fakeManager) act(ctx context.Context, verb, unit string, usual func(*systemd.Unit)) error {
	f.mu.Lock()
	f.calls = append(f.calls, verb+" "+unit)
	u := f.unit(unit)
	do := f.on[verb]
	f.mu.Unlock()
	var err error
	if do != nil {
		err = do(ctx, &u)
	} else {
		usual(&u)
	}
	f.mu.Lock()
	f.units[unit] = u
	f.mu.Unlock()
	return err
}

func (f *fakeManager) unit(name string) systemd.Unit {
	if u, ok := f.units[name]; ok {
		return u
	}
	return systemd.Unit{Name: name, LoadState: "loaded", ActiveState: "inactive", SubState: "dead", Result: "success"}
}

func up(u *systemd.Unit) {
	u.ActiveState, u.SubState, u.MainPID, u.InvocationID = "active", "running", 42, "ab01"
}

func down(u *systemd.Unit) {
	u.ActiveState, u.SubState, u.MainPID = "inactive", "dead", 0
}

func (f *fakeManager) Start(ctx context.Context, unit string) error {
	return f.act(ctx, "start", unit, up)
}
func (f *fakeManager) Restart(ctx context.Context, unit string) error {
	return f.act(ctx, "restart", unit, up)
}
func (f *fakeManager) Stop(ctx context.Context, unit string) error {
	return f.act(ctx, "stop", unit, down)
}
func (f *fakeManager) Disable(ctx context.Context, unit string) error {
	return f.act(ctx, "disable", unit, func(u *systemd.Unit) { u.Enabled = false })
}
func (f *fakeManager) ResetFailed(ctx context.Context, unit string) error {
	return f.act(ctx, "reset", unit, func(u *systemd.Unit) {
		if u.ActiveState == "failed" {
			down(u)
		}
	})
}

func (f *fakeManager) Units(_ context.Context, names []string) ([]systemd.Unit, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	units := make([]systemd.Unit, len(names))
	for i, n := range names {
		units[i] = f.unit(n)
	}
	return units, f.denied
}

func (f *fakeManager) Definition(context.Context, string) (systemd.Definition, error) {
	return f.definition, nil
}

func (f *fakeManager) Overview(ctx context.Context, pattern, target string, names []string) ([]systemd.Unit, error) {
	if pattern != "l4d2@*.service" || target != "l4d2.target" {
		return nil, fmt.Errorf("asked for %s of %s", pattern, target)
	}
	return f.Units(ctx, names)
}
func (f *fakeManager) Version(context.Context) (string, error) { return "252.1-2", nil }

func (f *fakeManager) Journal(_ context.Context, _, run string, _ int) ([]string, error) {
	f.run = run
	return f.journal, nil
}

func (f *fakeManager) StartTransient(ctx context.Context, t systemd.Transient) error {
	f.transient = t
	return f.act(ctx, "transient", t.Name, up)
}

func (f *fakeManager) FollowRun(ctx context.Context, run string, line func(string)) error {
	f.run = run
	for _, text := range f.journal {
		line(text)
	}
	<-ctx.Done()
	return nil
}

func (f *fakeManager) Close() { f.closed = true }

// host is a root with an installation, and the program over it.
type host struct {
	t        testing.TB
	layout   instance.Layout
	systemd  *fakeManager // nil: not running
	program  Program
	out, err bytes.Buffer
}

func newHost(t testing.TB, names ...instance.Name) *host {
	t.Helper()
	privatens.Need(t)
	layout, err := instance.NewLayout(t.TempDir())
	must(t, err)
	for _, dir := range []string{layout.Installation(), layout.Overlays(), layout.Instances(), layout.RuntimeDir()} {
		must(t, os.Mkdir(dir, 0o755))
	}
	h := &host{t: t, layout: layout, systemd: newFakeManager()}
	h.program = Program{
		Version:     "1.2.3",
		In:          strings.NewReader(""),
		Out:         &h.out,
		Err:         &h.err,
		Superuser:   true,
		Helper:      filepath.Join(t.TempDir(), "helper"),
		LookUpOwner: func() (activation.Owner, error) { return activation.Owner{UID: 1234, GID: 1234}, nil },
		OpenStore: func(l instance.Layout) (*store.Store, error) {
			return &store.Store{Layout: l, GID: os.Getgid()}, nil
		},
		Connect: func(context.Context) (Manager, error) {
			if h.systemd == nil {
				return nil, fmt.Errorf("%w: as the test wants it", systemd.ErrNotRunning)
			}
			return h.systemd, nil
		},
		Patience: 20 * time.Second, // tests must not rely on speed
		GameUser: func() (int, error) { return os.Getuid(), nil },

		RollDir:      t.TempDir(),
		RollInterval: time.Millisecond,
	}
	st := &store.Store{Layout: layout, GID: os.Getgid()}
	for i, n := range names {
		_, err := st.Init(n, "test.yaml", fmt.Appendf(nil, "port: %d\n", 27015+i))
		must(t, err)
		for _, dir := range []string{layout.Upper(n), layout.Merged(n)} {
			must(t, os.MkdirAll(dir, 0o755))
		}
	}
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a command line that has to end with exit code want.
func (h *host) run(want int, args ...string) {
	h.t.Helper()
	h.runIn(context.Background(), want, args...)
}

func (h *host) runIn(ctx context.Context, want int, args ...string) {
	h.t.Helper()
	h.out.Reset()
	h.err.Reset()
	if got := h.program.Run(ctx, append([]string{"--root", h.layout.Root()}, args...)); got != want {
		h.t.Errorf("%q: exit %d, want %d\nstdout:\n%s\nstderr:\n%s", args, got, want, &h.out, &h.err)
	}
}

// says requires each of texts in what was written to b.
func (h *host) says(b *bytes.Buffer, texts ...string) {
	h.t.Helper()
	for _, text := range texts {
		if !strings.Contains(b.String(), text) {
			h.t.Errorf("%q is missing in:\n%s", text, b)
		}
	}
}

func (h *host) saysNot(b *bytes.Buffer, text string) {
	h.t.Helper()
	if strings.Contains(b.String(), text) {
		h.t.Errorf("%q is in:\n%s", text, b)
	}
}

// called requires these calls, in any order between units.
func (h *host) called(want ...string) {
	h.t.Helper()
	got := slices.Clone(h.systemd.calls)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		h.t.Errorf("systemd was asked for %q, want %q", h.systemd.calls, want)
	}
	h.systemd.calls = nil
	if !h.systemd.closed && len(want) > 0 {
		h.t.Error("the connection was left open")
	}
}

func (h *host) set(n instance.Name, change func(*systemd.Unit)) {
	u := h.systemd.unit(unitName(n))
	change(&u)
	h.systemd.units[unitName(n)] = u
}

// writeStart writes down that the instance was started with its present files.
func (h *host) writeStart(n instance.Name) {
	h.t.Helper()
	env, err := instance.ReadEnv(h.layout, n)
	must(h.t, err)
	config, err := os.ReadFile(h.layout.ServerConfig(n))
	must(h.t, err)
	r := record.Start{At: time.Now(), Env: env, ServerConfig: config}
	names, err := chain.Expand(h.layout, env.Lowers)
	must(h.t, err)
	for _, lower := range names {
		f, err := os.Open(filepath.Join(h.layout.Root(), lower))
		must(h.t, err)
		d, err := record.DirectoryOf(int(f.Fd()))
		must(h.t, err)
		must(h.t, f.Close())
		r.Layers = append(r.Layers, record.Layer{Name: lower, Directory: d})
	}
	dir, err := os.Open(h.layout.Runtime(n))
	must(h.t, err)
	defer dir.Close()
	must(h.t, record.WriteStart(int(dir.Fd()), os.Getgid(), r))
}

// there requires the instance to exist in full, or to have gone in full.
func (h *host) there(n instance.Name, want bool) {
	h.t.Helper()
	for _, path := range []string{h.layout.Instance(n), h.layout.Upper(n)} {
		if _, err := os.Stat(path); (err == nil) != want {
			h.t.Errorf("%s: there is %v, want %v", path, err == nil, want)
		}
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func TestWrongUsageNamesTheHelp(t *testing.T) {
	h := newHost(t)
	for _, command := range []string{"init", "start", "stop", "restart", "delete"} {
		h.run(ExitUsage, command)
		h.says(&h.err, "l4d2ctl: ", "l4d2ctl: hint: see l4d2ctl "+command+" --help")
	}
	h.run(ExitUsage)
	h.says(&h.err, "l4d2ctl: hint: see l4d2ctl --help")
}
