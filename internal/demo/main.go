// Command demo shows the whole life of two servers on a throw-away machine:
// "make demo". Each step says what it is about, shows the command and what it
// printed, and ends the demonstration when that is not as expected.
//
// It is a story for people, not a test: the tests of the whole are in package
// systemtest. The game is a stand-in. Nothing is installed or changed on the
// host, and at the end it looks whether that is so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
	"l4d2-host/internal/standin"
)

// stepLimit is for one step: many times what the slowest one, the reboot, takes.
const stepLimit = 2 * time.Minute

func main() {
	dist := flag.String("dist", string(machine.Debian13), fmt.Sprintf("Debian release to boot, one of %v", machine.Distributions))
	flag.Parse()
	if flag.NArg() > 0 || !slices.Contains(machine.Distributions, machine.Distribution(*dist)) {
		flag.Usage()
		os.Exit(2)
	}
	// The first signal makes an end of the story and cleans up. The second one
	// ends this process, and leaves the cleaning up to the machine's warden.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	err := run(ctx, machine.Distribution(*dist))
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "demo:", err)
	if ctx.Err() != nil {
		os.Exit(128 + int(syscall.SIGINT))
	}
	os.Exit(1)
}

// run boots the machine, tells the story there, takes the machine away and
// looks at what is left of it on the host, however the story ended.
func run(ctx context.Context, dist machine.Distribution) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: run make demo")
	}
	begin := time.Now()
	s := newStage(os.Stdout)
	before, err := traces("")
	if err != nil {
		return err
	}
	s.heading("A throw-away Debian machine (%s) boots. Nothing of what follows happens on this host.", dist)
	m, err := machine.Boot(ctx, machine.Options{Dist: dist, Name: "demo", Log: s.faint()})
	if err != nil {
		return err
	}
	s.rig = &rig.Rig{Machine: m}
	ending := "Done"
	if err = tell(ctx, s); err != nil {
		ending = "Broken off"
	}
	switch {
	case ctx.Err() != nil:
		err = errors.New("interrupted") // where, is to be seen
	case err != nil:
		text, _ := m.Journal(ctx, "--lines=30") // the error of the story is the one to report
		s.heading("That was not expected. The end of the machine's journal:")
		s.print(text)
	}
	// Of a closed machine, Path tells where its tree was.
	left := errors.Join(m.Close(), untouched(before, filepath.Dir(m.Path("/"))))
	if left == nil {
		s.heading("%s after %.0f s. The machine is gone, and this host is as it was: no mount, user, unit, file or process of ours is left on it.",
			ending, time.Since(begin).Seconds())
	}
	return errors.Join(err, left)
}

// tell puts the package and the files of the story on the machine and performs
// the steps.
func tell(ctx context.Context, s *stage) error {
	if err := prepare(ctx, s.rig); err != nil {
		return err
	}
	steps := story()
	for i, step := range steps {
		s.heading("%d/%d. %s", i+1, len(steps), step.say)
		for _, act := range step.acts {
			ctx, cancel := context.WithTimeoutCause(ctx, stepLimit, fmt.Errorf("not done within %s", stepLimit))
			err := act(ctx, s)
			cancel()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// prepare does what is not worth telling: it copies the package, the specs and
// the layers to /root, and beside them the game.
func prepare(ctx context.Context, r *rig.Rig) error {
	// "make deb" leaves one, and "go run ./internal/demo" runs where make did.
	debs, err := filepath.Glob("dist/l4d2-host_*.deb")
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("%d packages in dist, want one: run make demo, at the top of the source tree", len(debs))
	}
	if err := r.Push(debs[0], "/root/l4d2-host.deb"); err != nil {
		return err
	}
	for path, text := range files {
		if err := r.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "l4d2-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "srcds_linux")
	if err := standin.Build(ctx, program); err != nil {
		return err
	}
	game := r.Path("/root/game")
	if err := standin.Install(game, program); err != nil {
		return err
	}
	// The real one has 9 GB; this is for the disk use to show.
	return os.WriteFile(filepath.Join(game, "left4dead2", "pak01_000.vpk"), make([]byte, gameSize), 0o644)
}

const gameSize = 64 << 20 // bytes
