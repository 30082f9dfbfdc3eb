package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sh runs a script inside that must succeed and returns what it printed.
func sh(t *testing.T, m *Machine, script string) string {
	t.Helper()
	r, err := m.Shell(t.Context(), script)
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", script, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSpace(r.Stdout)
}

func TestDistributions(t *testing.T) {
	for _, dist := range Distributions {
		t.Run(string(dist), func(t *testing.T) {
			m := ForTest(t, dist)
			t.Run("is what it says", func(t *testing.T) {
				if got := sh(t, m, ". /etc/os-release; echo $VERSION_CODENAME"); got != string(dist) {
					t.Errorf("VERSION_CODENAME is %q", got)
				}
				if got := sh(t, m, "cat /proc/1/comm; hostname"); got != "systemd\n"+m.Name() {
					t.Errorf("process 1 and host name are %q", got)
				}
				if got := sh(t, m, "systemctl is-system-running; systemctl --failed --plain --no-legend"); got != "running" {
					t.Errorf("system is %s", got)
				}
			})
			t.Run("network", func(t *testing.T) {
				if got := sh(t, m, "ip -brief link"); !strings.HasPrefix(got, "lo ") || strings.Contains(got, "\n") {
					t.Errorf("links: %s", got)
				}
				sh(t, m, "ip -brief address show lo | grep 127.0.0.1")
			})
			t.Run("program", func(t *testing.T) { testProgram(t, m) })
			t.Run("files", func(t *testing.T) { testFiles(t, m) })
			t.Run("overlay", func(t *testing.T) {
				sh(t, m, `cd /var/lib && mkdir lower upper work merged && mount -t overlay overlay \
					-o lowerdir=lower,upperdir=upper,workdir=work merged && echo x >merged/file && umount merged && cat upper/file`)
			})
			t.Run("deb", func(t *testing.T) { testDeb(t, m) })
			t.Run("reboot", func(t *testing.T) { testReboot(t, m) })
			t.Run("poweroff", func(t *testing.T) { testPoweroff(t, m) })
			t.Run("close", func(t *testing.T) {
				dir := m.place.dir
				if len(remains(t, dir)) == 0 {
					t.Error("found nothing of a machine that is there")
				}
				for range 2 {
					if err := m.Close(); err != nil {
						t.Error(err)
					}
				}
				if found := remains(t, dir); len(found) != 0 {
					t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
				}
				if err := m.Start(t.Context()); err == nil {
					t.Error("a closed machine started")
				}
			})
		})
	}
}

func testProgram(t *testing.T, m *Machine) {
	tests := []struct {
		script, stdout, stderr string
		code                   int
	}{
		{"echo out; echo err >&2; exit 3", "out\n", "err\n", 3},
		{"kill -KILL $$", "", "", 137},
		{"sleep 1000 & echo started", "started\n", "", 0},
		{"cat; tty; echo $L4D2_TEST_CACHE$HOME", "not a tty\n/root\n", "", 0},
		{"systemd-run --quiet --pipe --wait --collect sh -c 'cat /proc/self/cgroup; exit 4' | grep -c system.slice/run-", "1\n", "", 0},
		{"systemd-run --quiet --pipe --wait --collect sh -c 'exit 4'", "", "", 4},
	}
	t.Setenv("L4D2_TEST_CACHE", os.Getenv("L4D2_TEST_CACHE")+"/not-inside")
	for _, test := range tests {
		r, err := m.Shell(t.Context(), test.script)
		if want := (Result{test.stdout, test.stderr, test.code}); err != nil || r != want {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", test.script, r, err, want)
		}
	}
	if r, err := m.Run(t.Context(), "/no/such/program"); err != nil || r.Code != 127 {
		t.Errorf("missing program: %+v, %v", r, err)
	}

	var out bytes.Buffer
	code, err := m.Exec(t.Context(), Command{
		Args:  []string{"sh", "-c", "cat; echo $GREETING"},
		Env:   []string{"GREETING=hello"},
		Stdin: strings.NewReader("in\n"), Stdout: &out,
	})
	if err != nil || code != 0 || out.String() != "in\nhello\n" {
		t.Errorf("exec: %d, %v, %q", code, err, &out)
	}

	// What is cancelled must die inside, not only the nsenter outside.
	ctx, cancel := context.WithCancel(t.Context())
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	go func() {
		bufio.NewReader(read).ReadString('\n')
		cancel()
	}()
	_, err = m.Exec(ctx, Command{Args: []string{"sh", "-c", "echo up; sleep 1234; echo"}, Stdout: write})
	write.Close()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled program: %v", err)
	}
	if r, err := m.Run(t.Context(), "pgrep", "-f", "sleep 1234"); err != nil || r.Code != 1 {
		t.Errorf("cancelled program is still there: %+v, %v", r, err)
	}
	if got := sh(t, m, "ps -eo ppid,stat,args | grep '^ *0 Z' || true"); got != "" {
		t.Errorf("dead but not reaped: %s", got)
	}
}

func testFiles(t *testing.T, m *Machine) {
	const text = "text\n"
	// /run is a mount inside, and the link is absolute: taken for the host's,
	// it would write there.
	secret := filepath.Join(t.TempDir(), "directory")
	sh(t, m, "mkdir -p /run/real '"+filepath.Dir(secret)+"' && ln -s /run/real '"+secret+"'")
	for _, path := range []string{"/etc/plain", "/opt/new/directory/file", secret + "/file", "run/file"} {
		if err := m.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Error(err)
			continue
		}
		if data, err := m.ReadFile(path); err != nil || string(data) != text {
			t.Errorf("read %s: %q, %v", path, data, err)
		}
		if got := sh(t, m, "cd / && stat -c '%a %U' '"+path+"' && cat '"+path+"'"); got != "666 root\ntext" {
			t.Errorf("%s is %q", path, got)
		}
	}
	if data, err := os.ReadFile(m.Path("/run/real/file")); err != nil || string(data) != text {
		t.Errorf("through Path: %q, %v", data, err)
	}
	if _, err := os.Lstat(secret); err == nil {
		t.Errorf("%s exists on the host", secret)
	}
	if _, err := m.ReadFile("/no/such/file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho pushed\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := m.Push(script, "/usr/local/bin/script"); err != nil {
		t.Fatal(err)
	}
	if got := sh(t, m, "script"); got != "pushed" {
		t.Errorf("pushed script printed %q", got)
	}
}

// testDeb installs a package made as ours is: it needs systemd, and its user
// comes from sysusers.d.
func testDeb(t *testing.T, m *Machine) {
	dir := filepath.Join(t.TempDir(), "sample")
	for file, text := range map[string]string{
		"DEBIAN/control":                 "Package: sample\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@localhost>\nDepends: systemd, dbus\nDescription: sample\n",
		"DEBIAN/postinst":                "#!/bin/sh\nset -e\nsystemd-sysusers sample.conf\nsystemctl daemon-reload\n",
		"usr/lib/sysusers.d/sample.conf": "u sample - - /\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("dpkg-deb", "--build", dir, dir+".deb").CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	if err := m.Push(dir+".deb", "/root/sample.deb"); err != nil {
		t.Fatal(err)
	}
	sh(t, m, "dpkg -i /root/sample.deb && id sample")
}

func testReboot(t *testing.T, m *Machine) {
	const bootID = "cat /proc/sys/kernel/random/boot_id"
	before, leader := sh(t, m, bootID), m.Leader()
	sh(t, m, "echo kept >/var/lib/kept; echo lost >/run/lost")
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := sh(t, m, bootID); after == before || m.Leader() == leader {
		t.Errorf("boot ID %s, leader %d: the same as before", after, leader)
	}
	if got := sh(t, m, "cat /var/lib/kept; test ! -e /run/lost"); got != "kept" {
		t.Errorf("file is %q", got)
	}
	// A crash stops no unit, and the machine starts again.
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	sh(t, m, "test -e /var/lib/kept")
}

func testPoweroff(t *testing.T, m *Machine) {
	err := m.WriteFile("/etc/systemd/system/last.service",
		[]byte("[Service]\nExecStart=sleep 1000\nExecStopPost=echo stopped by the shutdown\n"), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	sh(t, m, "systemctl daemon-reload && systemctl start last.service && echo of the running system | systemd-cat")
	text, err := m.Journal(t.Context(), "--boot")
	if err != nil || !strings.Contains(text, "of the running system") {
		t.Errorf("journal of the running system: %v\n%s", err, text)
	}
	if err := m.Poweroff(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err = m.Journal(t.Context(), "--boot", "--unit=last.service", "--output=cat")
	if err != nil || !strings.Contains(text, "stopped by the shutdown") {
		t.Errorf("journal of the shutdown: %v\n%s", err, text)
	}
	if !strings.Contains(m.Console(), "last.service") {
		t.Errorf("console does not tell of the shutdown:\n%s", m.Console())
	}
	if _, err := m.Run(t.Context(), "true"); !errors.Is(err, ErrOff) {
		t.Errorf("run when off: %v", err)
	}
	if m.Leader() != 0 {
		t.Errorf("leader when off: %d", m.Leader())
	}
	if data, err := m.ReadFile("/var/lib/kept"); err != nil || string(data) != "kept\n" {
		t.Errorf("file when off: %q, %v", data, err)
	}
}

func TestTwoSideBySide(t *testing.T) {
	a, b := ForTest(t, Debian12), ForTest(t, Debian12)
	for _, m := range []*Machine{a, b} {
		sh(t, m, `printf '[Service]\nExecStart=sleep 1000\n' >/run/systemd/system/same.service && systemctl start same.service`)
	}
	sh(t, a, "systemctl stop same.service && touch /run/only-in-a /var/only-in-a")
	sh(t, b, "systemctl is-active same.service && test ! -e /run/only-in-a && test ! -e /var/only-in-a")
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	sh(t, b, "systemctl is-active same.service")
}

func TestForTestCloses(t *testing.T) {
	var m *Machine
	t.Run("inner", func(t *testing.T) { m = ForTest(t, Debian12, func(o *Options) { o.Name = "inner" }) })
	if m == nil {
		return // -short
	}
	if found := remains(t, m.place.dir); len(found) != 0 {
		t.Errorf("left behind:\n%s", strings.Join(found, "\n"))
	}
	if _, err := m.Run(t.Context(), "true"); !errors.Is(err, ErrOff) {
		t.Errorf("run when closed: %v", err)
	}
}

func TestBind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	m := ForTest(t, Debian12, func(o *Options) {
		o.Bind = []string{dir + ":/srv/written"}
		o.BindReadOnly = []string{dir + ":/srv/read"}
	})
	sh(t, m, "test -e /srv/read/file && ! touch /srv/read/new && touch /srv/written/new")
	if _, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	}
}

func TestFailedBoot(t *testing.T) {
	m := ForTest(t, Debian12)
	if err := m.Poweroff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile("/etc/systemd/system/hang.service",
		[]byte("[Service]\nType=oneshot\nExecStart=sleep 1000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	wants := m.Path("/etc/systemd/system/multi-user.target.wants/hang.service")
	if err := os.Symlink("/etc/systemd/system/hang.service", wants); err != nil {
		t.Fatal(err)
	}
	// Cancelled once the console shows that the boot got as far as the unit.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil && !strings.Contains(m.Console(), "hang.service") {
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
	}()
	err := m.Start(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Starting") {
		t.Errorf("want a cancellation with the console's last lines, got: %v", err)
	}
	if m.Leader() != 0 {
		t.Error("the machine is running after a failed start")
	}
}

func TestRefusals(t *testing.T) {
	NeedRoot(t)
	for _, o := range []Options{
		{Dist: "warty"},
		{Dist: Debian12, Name: "../up"},
		{Dist: Debian12, Name: strings.Repeat("x", 60)},
	} {
		if m, err := Boot(t.Context(), o); err == nil {
			t.Errorf("%+v: booted", o)
			m.Close()
		}
	}
}
