package watch

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/standin"
)

// limit is for whatever is waited for: far longer than it takes.
const limit = time.Minute

const password = "secret"

var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "watch-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "srcds_linux")
	if err := standin.Build(context.Background(), program); err != nil {
		panic(err)
	}
	return m.Run()
}

// game starts a stand-in on a port of its own, and returns its server.cfg, too.
func game(t *testing.T, args ...string) (p *standin.Process, config string) {
	t.Helper()
	root := t.TempDir()
	if err := standin.Install(root, program); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(root, "left4dead2/cfg/server.cfg")
	write(t, config, `rcon_password "`+password+`"`)
	p, err := standin.Start(context.Background(), root, append([]string{"-ip", "127.0.0.1", "-port", "0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p, config
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// manager stands in for systemd.
type manager struct {
	t    *testing.T
	mu   sync.Mutex
	said []string
	log  bytes.Buffer
	done chan error // of Run
}

// watch runs a Watch on p until it ends.
func watch(t *testing.T, p *standin.Process, w Watch) *manager {
	t.Helper()
	m := &manager{t: t, done: make(chan error, 1)}
	w.PID, w.Port, w.Log = p.Cmd.Process.Pid, int(p.Addr.Port()), journal.New(m, false)
	w.Notify = func(message string) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.said = append(m.said, message)
		return nil
	}
	pidfd, err := unix.PidfdOpen(w.PID, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Stop()
		if err := m.end(); err != nil {
			t.Error(err)
		}
		unix.Close(pidfd)
	})
	go func() {
		err := w.Run(pidfd)
		m.done <- err
		close(m.done)
	}()
	return m
}

// Write takes the watcher's log.
func (m *manager) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

// end waits for the watcher's end.
func (m *manager) end() error {
	m.t.Helper()
	select {
	case err := <-m.done:
		return err
	case <-time.After(limit):
		m.t.Fatal("the watcher does not end with the server")
		return nil
	}
}

func (m *manager) count(pattern string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, message := range m.said {
		if regexp.MustCompile("^(?:" + pattern + ")$").MatchString(message) {
			n++
		}
	}
	return n
}

// hears waits until systemd was told something new.
func (m *manager) hears(pattern string) {
	m.t.Helper()
	before := m.count(pattern)
	for end := time.Now().Add(limit); m.count(pattern) == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.t.Fatalf("never said %s, but %q\n%s", pattern, m.said, m.log.String())
		}
	}
}

func command(t *testing.T, p *standin.Process, line string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c, err := rcon.Dial(ctx, p.Addr.String(), password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Exec(ctx, line); err != nil {
		t.Fatal(err)
	}
}

func TestTellsOfALife(t *testing.T) {
	p, config := game(t, "+map", "c1m1_hotel", "+hostname", "a b", "+standin_deaf", "1")
	m := watch(t, p, Watch{Config: config, Watchdog: 3 * time.Second})
	m.hears(`STATUS=waiting for the server to answer queries \(A2S_INFO\) on port \d+`)
	command(t, p, "standin_deaf 0")
	// In one message, so that systemd's timer never starts.
	m.hears("READY=1\nWATCHDOG_USEC=0\nSTATUS=c1m1_hotel, 0/8 players, a b")
	command(t, p, "players 2; hostname \x1b[1m\xff")
	m.hears(`STATUS=c1m1_hotel, 2/8 players, \\\\x1b\[1m\\\\xff`)
	command(t, p, "hostname a b")
	command(t, p, "standin_mute 3600000; changelevel c1m2_streets")
	m.hears("STATUS=c1m1_hotel, no answer for .*s, but it takes packets.*")
	command(t, p, "standin_mute 0; changelevel c5m1_waterfront")
	m.hears("STATUS=c5m1_waterfront, 2/8 players, a b")
	command(t, p, "standin_deaf 1")
	m.hears("STATUS=c5m1_waterfront, no answer for .*s, but it answers on RCON.*")
	if n := m.count("WATCHDOG=.*"); n != 0 {
		t.Errorf("%d times sent for systemd", n)
	}
	// Its password was changed without server.cfg: then nothing tells that it
	// lives, and systemd is sent for.
	command(t, p, "rcon_password other")
	m.hears("STATUS=c5m1_waterfront, no sign of life for .*")
	m.hears("WATCHDOG=trigger")
	p.Stop()
	if err := m.end(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(p.Output(), "Bad Password"); n != 1 {
		t.Errorf("the wrong password was tried %d times", n)
	}
	if log := m.log.String(); !strings.Contains(log, "l4d2-watch: the server hangs: c5m1_waterfront, no sign of life") {
		t.Errorf("log:\n%s", log)
	}
}

func TestEndsBeforeReady(t *testing.T) {
	p, config := game(t, "+standin_deaf", "1")
	m := watch(t, p, Watch{Config: config})
	m.hears("STATUS=waiting.*")
	p.Stop()
	if err := m.end(); err != nil {
		t.Error(err)
	}
	if log := m.log.String(); !strings.Contains(log, "no player could join: ended while waiting for the server to answer queries") {
		t.Errorf("log:\n%s", log)
	}
	if n := m.count("READY=1.*"); n != 0 {
		t.Error("was said to be ready")
	}
}

// Another process on the port is not the server.
func TestForeignSocketIsNotReady(t *testing.T) {
	p, config := game(t)
	other, _ := game(t)
	p.Addr = other.Addr
	m := watch(t, p, Watch{Config: config})
	m.hears(`STATUS=waiting for the server to open UDP port \d+`)
	time.Sleep(500 * time.Millisecond)
	if n := m.count("(?s)READY=1.*"); n != 0 {
		t.Error("was said to be ready")
	}
}

// Without WatchdogSec= nothing is triggered, and systemd's timer, which does not
// run, is left alone.
func TestNoWatchdog(t *testing.T) {
	p, config := game(t)
	m := watch(t, p, Watch{Config: config})
	m.hears("READY=1\nSTATUS=.*")
}

func TestConsole(t *testing.T) {
	p, config := game(t, "+sv_rcon_maxfailures", "3")
	c := &console{config: config}
	asks := func(want bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if got := c.answers(ctx, p.Addr.String()); got != want {
			t.Errorf("answers: %t", got)
		}
	}
	tries := func(want int) {
		t.Helper()
		// What it prints comes later than what it answers.
		for end := time.Now().Add(limit); strings.Count(p.Output(), "Bad Password") < want && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		if n := strings.Count(p.Output(), "Bad Password"); n != want {
			t.Errorf("%d wrong tries, want %d", n, want)
		}
	}
	asks(true)
	asks(true)
	write(t, config, "rcon_password wrong")
	asks(false)
	asks(false)
	tries(1)
	write(t, config, `rcon_password "`+password+`"`)
	asks(true)
	command(t, p, "rcon_password changed")
	asks(false)
	asks(false)
	tries(2)
	for _, text := range []string{"", `rcon_password ""`, "hostname x"} {
		write(t, config, text)
		asks(false)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(config, 0o600); err != nil {
		t.Fatal(err)
	}
	asks(false)
	tries(2)

	// A server that is not there has not seen the password; one that says
	// nothing may have.
	c = &console{config: filepath.Join(t.TempDir(), "server.cfg")}
	write(t, c.config, "rcon_password x")
	if c.answers(context.Background(), "127.0.0.1:1") || c.tried["x"] {
		t.Errorf("nobody there, and tried: %v", c.tried)
	}
}

func TestStatusIsOneLine(t *testing.T) {
	info := a2s.Info{Name: "x\nREADY=1\n\x1b[31m" + strings.Repeat("é", 200), Map: "a\x00\nb", Players: 3, MaxPlayers: 8}
	got := playing(info)
	if strings.ContainsAny(got, "\n\x1b\x00") || len([]rune(got)) > 200 || !strings.HasPrefix(got, `a\x00\nb, 3/8 players, x\nREADY=1\n\x1b[31mé`) {
		t.Errorf("%q", got)
	}
}
