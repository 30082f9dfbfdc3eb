// Package systemtest tests the whole, as an operator meets it: the package is
// installed on booted Debian systems, and systemctl and l4d2ctl are used there.
package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
)

// limit is for whatever is waited for: far longer than it takes.
const limit = time.Minute

// rigs are booted once for all tests, by distribution and packages.
var rigs struct {
	sync.Mutex
	booted map[string]*rig.Rig
}

func TestMain(m *testing.M) {
	code := m.Run()
	for key, r := range rigs.booted {
		if err := r.Close(); err != nil {
			fmt.Fprintln(os.Stderr, key, err)
			code = 1
		}
	}
	os.Exit(code)
}

// host is one booted system in one test.
type host struct {
	*rig.Rig
	t   *testing.T
	ctx context.Context
}

// onEach runs f on every distribution, side by side. Each test has names and
// ports of its own there.
func onEach(t *testing.T, f func(h *host)) {
	t.Helper()
	onEachWith(t, nil, f)
}

// onEachWith runs f on systems that have some packages more: packages names
// them for each distribution, and those it does not name are left out.
func onEachWith(t *testing.T, packages map[machine.Distribution][]string, f func(h *host)) {
	t.Helper()
	machine.NeedRoot(t)
	for _, dist := range machine.Distributions {
		more, ok := packages[dist]
		if packages != nil && !ok {
			continue
		}
		t.Run(string(dist), func(t *testing.T) {
			t.Parallel()
			// Booting, which may build a root, has limits of its own.
			r := boot(t, context.Background(), dist, more)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			t.Cleanup(cancel) // the test's own clean-ups come before
			h := &host{Rig: r, t: t, ctx: ctx}
			defer func() {
				if t.Failed() {
					text, _ := h.Journal(context.Background(), "--lines=60", "--boot")
					t.Logf("the end of the journal:\n%s", text)
				}
			}()
			f(h)
		})
	}
}

func boot(t *testing.T, ctx context.Context, dist machine.Distribution, packages []string) *rig.Rig {
	t.Helper()
	key := strings.Join(append([]string{string(dist)}, packages...), "+")
	rigs.Lock()
	defer rigs.Unlock()
	if r := rigs.booted[key]; r != nil {
		return r
	}
	r, err := rig.New(ctx, dist, os.Stderr, packages...)
	if err != nil {
		t.Fatal(err)
	}
	if rigs.booted == nil {
		rigs.booted = map[string]*rig.Rig{}
	}
	rigs.booted[key] = r
	h := &host{Rig: r, t: t, ctx: ctx}
	h.layer("mod", map[string]string{"addons/mod.txt": "of the mod"})
	return r
}

func (h *host) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// sh runs a script that must succeed, and returns what it printed.
func (h *host) sh(format string, args ...any) string {
	h.t.Helper()
	out, err := h.Sh(h.ctx, fmt.Sprintf(format, args...))
	h.must(err)
	return out
}

// fails runs a script that must fail and print each of want; it returns what
// was printed.
func (h *host) fails(script string, want ...string) string {
	h.t.Helper()
	res, err := h.Shell(h.ctx, script)
	h.must(err)
	out := res.Stdout + res.Stderr
	if res.Code == 0 {
		h.t.Errorf("%s: succeeded: %s", script, out)
	}
	wantIn(h.t, script, out, want...)
	return out
}

func wantIn(t *testing.T, what, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: lacks %q:\n%s", what, w, text)
		}
	}
}

// eventually waits until f reports true.
func (h *host) eventually(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if f() {
			return
		}
	}
	h.t.Fatalf("not within %s: %s", limit, what)
}

func (h *host) layer(name string, files map[string]string) {
	h.t.Helper()
	h.must(h.Layer(h.ctx, name, files))
}

const password = "rcon secret"

// yaml is the spec of an instance with an RCON password, on the layer "mod".
func yaml(name string, port int, extra ...string) string {
	return fmt.Sprintf(`port: %d
arguments: [+map c1m1_hotel%s]
overlays: [mod]
config:
  - hostname "Server %s"
  - rcon_password "%s"
`, port, strings.Join(append([]string{""}, extra...), ", "), name, password)
}

// init makes the instance, and deletes it when the test ends.
func (h *host) init(name string, port int, extra ...string) {
	h.t.Helper()
	h.initWith(name, yaml(name, port, extra...))
	h.t.Cleanup(func() {
		h.sh("rm -rf /etc/systemd/system/l4d2@%s.service.d && systemctl daemon-reload && l4d2ctl delete --yes %s", name, name)
	})
}

func (h *host) initWith(name, yaml string) {
	h.t.Helper()
	h.must(h.WriteFile("/root/"+name+".yaml", []byte(yaml), 0o644))
	h.sh("l4d2ctl init %s /root/%s.yaml", name, name)
}

// dropIn sets lines of the instance's unit.
func (h *host) dropIn(name, lines string) {
	h.t.Helper()
	h.must(h.WriteFile("/etc/systemd/system/l4d2@"+name+".service.d/test.conf", []byte(lines), 0o644))
	h.sh("systemctl daemon-reload")
}

// show returns a property of the instance's unit.
func (h *host) show(name, property string) string {
	h.t.Helper()
	return h.sh("systemctl show -P %s l4d2@%s", property, name)
}

func (h *host) mainPID(name string) int {
	h.t.Helper()
	pid, err := strconv.Atoi(h.show(name, "MainPID"))
	h.must(err)
	return pid
}

// answers waits for the server's A2S answer.
func (h *host) answers(port int) a2s.Info {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx, limit)
	defer cancel()
	info, err := h.Ask(ctx, port)
	h.must(err)
	return info
}

// console runs an RCON command.
func (h *host) console(port int, command string) string {
	h.t.Helper()
	out, err := h.Console(h.ctx, port, password, command)
	h.must(err)
	return out
}

// merged is the mount point of an instance.
func merged(name string) string { return "/var/lib/l4d2/runtime/" + name + "/merged" }

// mounts counts the instance's overlays at its mount point, as PID 1 sees them.
func (h *host) mounts(name string) int {
	h.t.Helper()
	n, err := strconv.Atoi(h.sh("grep -c ' %s .*l4d2:%s ' /proc/1/mountinfo || true", merged(name), name))
	h.must(err)
	return n
}

// wantGone fails the test unless the instance is unmounted in every namespace.
func (h *host) wantGone(name string) {
	h.t.Helper()
	if out := h.sh("grep -l ' l4d2:%s ' /proc/[0-9]*/mountinfo 2>/dev/null || true", name); out != "" {
		h.t.Errorf("%s is still mounted in: %s", name, out)
	}
	if out := h.sh("ls -A %s 2>/dev/null || true", merged(name)); out != "" {
		h.t.Errorf("%s is not empty: %s", merged(name), out)
	}
}

// journal returns what the journal has of the instance's unit.
func (h *host) journal(name string) string {
	h.t.Helper()
	text, err := h.Journal(h.ctx, "--boot", "--output=cat", "--unit=l4d2@"+name)
	h.must(err)
	return text
}

// listed is a row of l4d2ctl list --json.
type listed struct {
	Name    string `json:"name"`
	Port    int    `json:"port"`
	State   string `json:"state"`
	PID     int    `json:"pid"`
	Uptime  *int   `json:"uptime_seconds"`
	Enabled bool   `json:"enabled"`
}

func (h *host) list() map[string]listed {
	h.t.Helper()
	res, err := h.Run(h.ctx, "l4d2ctl", "list", "--json")
	h.must(err)
	var rows []listed
	if err := json.Unmarshal([]byte(res.Stdout), &rows); err != nil {
		h.t.Fatalf("l4d2ctl list --json: %v: %s%s", err, res.Stdout, res.Stderr)
	}
	byName := map[string]listed{}
	for _, r := range rows {
		byName[r.Name] = r
	}
	return byName
}
