package steam

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/advice"
)

// standin is the program built once for all tests.
var standin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "l4d2-steam-")
	if err != nil {
		panic(err)
	}
	standin = filepath.Join(dir, "steamcmd")
	build := exec.Command("go", "build", "-o", standin, "l4d2-host/internal/standin/steamcmd")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// world is a HOME, what Valve has, and a directory to update.
type world struct {
	*testing.T
	Fetch
	said     []string
	lines    []string
	progress []Progress
	detours  int
}

func (w *world) Line(line string)    { w.lines = append(w.lines, line) }
func (w *world) Progress(p Progress) { w.progress = append(w.progress, p) }

func newWorld(t *testing.T, valve string) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{T: t}
	w.Fetch = Fetch{Settings: Defaults(), Command: standin, Home: root + "/steam", Dir: root + "/game", Watcher: w,
		Say:    func(format string, args ...any) { w.said = append(w.said, fmt.Sprintf(format, args...)) },
		Detour: func() error { w.detours++; return nil },
	}
	w.Fetch.Settings.RetryDelay = 0
	w.valve(valve)
	for name, text := range map[string]string{"srcds_linux": "ELF", "bin/engine.so": "ELF", "left4dead2/pak01_dir.vpk": strings.Repeat("v", 300_000)} {
		w.put(w.Home+"/valve/content/"+name, text)
	}
	if err := os.MkdirAll(w.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) valve(settings string) { w.put(w.Home+"/valve/settings", settings) }

func (w *world) put(path, text string) {
	w.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *world) has(name string) bool {
	_, err := os.Stat(filepath.Join(w.Dir, name))
	return err == nil
}

func (w *world) run() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return w.Fetch.Run(ctx)
}

// fails wants a failure of a kind, with the text and the advice.
func (w *world) fails(kind Kind, text, hint string) {
	w.Helper()
	err := w.run()
	var f *Failure
	if !errors.As(err, &f) || f.Kind != kind || !strings.Contains(err.Error(), text) || !strings.Contains(advice.For(err), hint) {
		w.Errorf("%v (%s)", err, advice.For(err))
	}
}

func TestInstallAndUpdate(t *testing.T) {
	w := newWorld(t, "BUILD=7\n")
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	if !w.has("srcds_linux") || !w.has("left4dead2/pak01_dir.vpk") || !w.has("steamapps/appmanifest_"+App+".acf") {
		t.Error("the game is not there")
	}
	// On a terminal progress comes as it is printed, line by line.
	if len(w.progress) < 5 {
		t.Errorf("progress: %v", w.progress)
	}
	if err := w.run(); err != nil || !strings.Contains(strings.Join(w.lines, "\n"), "already up to date") {
		t.Errorf("a second run: %v: %q", err, w.lines)
	}
	if slices.ContainsFunc(w.lines, func(l string) bool { return strings.Contains(l, "before logon") }) {
		t.Error("force_install_dir came after login")
	}
	w.valve("BUILD=8\n")
	if err := os.Remove(w.Home + "/valve/content/bin/engine.so"); err != nil {
		t.Fatal(err)
	}
	if err := w.run(); err != nil || w.has("bin/engine.so") {
		t.Errorf("%v; what the new build no longer has: %t", err, w.has("bin/engine.so"))
	}
	// Only what is validated is mended.
	w.put(w.Dir+"/srcds_linux", "broken")
	if err := w.run(); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(w.Dir + "/srcds_linux"); string(data) != "broken" {
		t.Error("mended without validate")
	}
	w.Settings.Validate = true
	if err := w.run(); err != nil {
		t.Error(err)
	}
	if data, _ := os.ReadFile(w.Dir + "/srcds_linux"); string(data) != "ELF" {
		t.Error("validate mended nothing")
	}
}

func TestInvalidPlatform(t *testing.T) {
	w := newWorld(t, "BUILD=7\nANONYMOUS=windows\n")
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	if !w.has("srcds_linux") || !w.has("bin/engine.so") || w.has("srcds.exe") {
		t.Error("what is there is not the Linux version")
	}
	all := strings.Join(w.said, "\n")
	if strings.Index(all, "updating for windows") > strings.Index(all, "updating for linux") || !strings.Contains(all, "windows") {
		t.Errorf("said: %q", w.said)
	}
	if w.detours != 1 {
		t.Errorf("told of %d detours", w.detours)
	}
	// By name it needs no detour.
	w = newWorld(t, "BUILD=7\nANONYMOUS=windows\n")
	w.Settings.Login = "owner"
	w.fails(Login, "", "log in once")
	w.put(w.Home+"/Steam/token-owner", "")
	if err := w.run(); err != nil || len(w.said) != 0 || w.detours != 0 {
		t.Errorf("%v; %q, %d detours", err, w.said, w.detours)
	}
}

func TestRetries(t *testing.T) {
	// A crash half-way is tried again, and what was downloaded is kept.
	w := newWorld(t, "BUILD=7\nUPDATE_FAILS=die\n")
	if err := w.run(); err != nil || len(w.said) != 1 || !strings.Contains(w.said[0], "killed") {
		t.Errorf("%v; %q", err, w.said)
	}
	w = newWorld(t, "BUILD=7\nUPDATE_FAILS=Error! App '222860' state is 0x602 after update job.\n")
	if err := w.run(); err != nil || len(w.said) != 1 {
		t.Errorf("%v; %q", err, w.said)
	}
	w = newWorld(t, "BUILD=7\nLOGIN_FAILS=No Connection\n")
	w.Settings.Attempts = 1
	w.fails(Transient, "1 attempts", "again")
	w.valve("BUILD=7\nLOGIN_FAILS=Rate Limit Exceeded\n")
	w.Settings.Attempts = 5
	w.fails(Login, "Rate Limit", "half an hour")
	w.valve("BUILD=7\nUPDATE_FAILS=Error! App '222860' state is 0x202 after update job.\n")
	w.fails(DiskFull, "the disk is full", "make room")
	if len(w.said) != 0 {
		t.Errorf("tried again: %q", w.said)
	}
	// No content at all fails as often as is allowed.
	if err := os.RemoveAll(w.Home + "/valve/content"); err != nil {
		t.Fatal(err)
	}
	w.Settings.Attempts = 3
	w.fails(Transient, "3 attempts", "")
	if len(w.said) != 2 {
		t.Errorf("said: %q", w.said)
	}
}

// What is stopped ends, with all that it started, and can be resumed.
func TestStopped(t *testing.T) {
	w := newWorld(t, "BUILD=7\nUPDATE_FAILS=hang\n")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Fetch.Run(ctx) }()
	// It hangs once it has taken that out of its settings.
	for {
		settings, err := os.ReadFile(w.Home + "/valve/settings")
		if err == nil && len(settings) > 0 && !strings.Contains(string(settings), "hang") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(2 * graceful):
		t.Fatal("it does not end")
	}
	if err := w.run(); err != nil || !w.has("srcds_linux") {
		t.Error(err)
	}
}

func TestFind(t *testing.T) {
	home := t.TempDir()
	if _, err := Find("", home); err == nil || !strings.Contains(advice.For(err), "apt install steamcmd") {
		if _, there := os.Stat(debianCommand); there != nil {
			t.Errorf("%v (%s)", err, advice.For(err))
		}
	}
	if _, err := Find(home+"/nothing", home); err == nil || !strings.Contains(advice.For(err), SettingsFile) {
		t.Errorf("%v (%s)", err, advice.For(err))
	}
	if _, err := Find(home, home); err == nil {
		t.Error("a directory passes for steamcmd")
	}
	own := home + "/steamcmd.sh"
	if err := os.WriteFile(own, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := Find(own, home); err != nil || got != own {
		t.Errorf("%s, %v", got, err)
	}
}
