// Command powercut runs in a virtual machine whose power goes at any moment.
// It checks what the last cut has left, reports it, and then makes, changes,
// mounts and removes instances, and updates the game and a layer, until the next
// one.
//
// Everything is told in lines, which the host puts together over many cuts:
//
//	begin NAME V   from now on NAME may be at version V
//	synced NAME V  the disk has it: from now on it must be
//	found NAME V   what there is after a cut
//	checked        nothing else was found; the work begins
//	at STEP        what it is about to do
//
// Version 0 is a name that does not exist, -1 one with anything but what some
// version holds. The names are:
//
//	instance/N       the spec of an instance
//	file/PATH        a file of the lasting instance, as it sees it
//	layer/maps       a layer
//	release/current  the build of the current release of the game
//	build/N          how many releases there are of a build
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/store"
)

const uid, gid = 61_234, 61_235

// main works until it is killed; with "check" in the place of a seed, it only
// checks.
func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func run(arg string) error {
	seed, err := strconv.ParseUint(arg, 10, 64)
	if err != nil && arg != "check" {
		return err
	}
	w, err := newWorker(rand.New(rand.NewPCG(seed, 0)))
	if err == nil {
		err = w.check()
	}
	if err == nil && arg != "check" {
		err = w.work()
	}
	return err
}

type worker struct {
	layout instance.Layout
	store  *store.Store
	random *rand.Rand
	next   int // the next version of anything
}

// newWorker lays down a release of the game and two layers, unless an earlier boot
// has.
func newWorker(random *rand.Rand) (*worker, error) {
	layout, err := instance.NewLayout("")
	if err != nil {
		return nil, err
	}
	w := &worker{layout: layout, store: &store.Store{Layout: layout, GID: gid}, random: random, next: 2}
	if _, err := os.Stat(layout.Instances()); err == nil {
		return w, nil
	}
	for _, dir := range []string{layout.Installation(), layout.Overlay("mod")} {
		for _, sub := range []string{"left4dead2/cfg", "left4dead2/lower"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				return nil, err
			}
		}
	}
	for path, data := range map[string][]byte{
		filepath.Join(layout.Installation(), "left4dead2/f0"): content("left4dead2/f0", 1),
		filepath.Join(layout.Overlay("mod"), files[1]):        content(files[1], 1),
		filepath.Join(layout.Overlay("mod"), files[2]):        content(files[2], 1),
	} {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(makeMaps(layout.Overlay(maps), 1), os.MkdirAll(layout.RuntimeDir(), 0o755), w.firstGame()); err != nil {
		return nil, err
	}
	unix.Sync()
	return w, os.Mkdir(layout.Instances(), 0o750)
}

// files are what the game writes: the first three are in lower layers too, at
// version 1.
var files = []string{
	"left4dead2/f0", "left4dead2/f1", "left4dead2/lower/f2",
	"left4dead2/f3", "left4dead2/lower/f4", "left4dead2/new/f5", "f6",
}

// content is what file name holds at version v: up to 32 KiB that say so.
func content(name string, v int) []byte {
	r := rand.New(rand.NewPCG(uint64(v), uint64(len(name))))
	b := fmt.Appendf(nil, "%s\n%d\n", name, v)
	for n := r.IntN(4 << 10); n > 0; n-- {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

// version tells which version of file name data is, or -1.
func version(name string, data []byte) int {
	lines := strings.SplitN(string(data[:min(len(data), 300)]), "\n", 3)
	if len(lines) < 3 {
		return -1
	}
	v, err := strconv.Atoi(lines[1])
	if err != nil || !bytes.Equal(data, content(name, v)) {
		return -1
	}
	return v
}

func (w *worker) say(what, name string, v int) {
	fmt.Println(what, name, v)
	if what == "found" {
		w.used(v)
	}
}

// used makes sure that version v is not taken for something else.
func (w *worker) used(v int) { w.next = max(w.next, v+1) }

func (w *worker) at(step string) { fmt.Println("at", step) }

func (w *worker) activation(n instance.Name) *activation.Activation {
	return &activation.Activation{
		Layout: w.layout, Name: n, Owner: activation.Owner{UID: uid, GID: gid},
		Log: journal.New(os.Stdout, false),
	}
}

// check reports what there is. Every instance must be whole, mount and unmount,
// also before a command has looked at what the cut has left of the releases.
func (w *worker) check() error {
	names, err := w.store.List()
	if err != nil {
		return err
	}
	for _, n := range names {
		v, err := w.specVersion(n)
		if err != nil {
			return err
		}
		w.say("found", "instance/"+string(n), v)
		a := w.activation(n)
		if err := a.Mount(); err != nil {
			return err
		}
		if err := w.checkMounted(n); err != nil {
			return err
		}
		if err := a.Unmount(); err != nil {
			return err
		}
	}
	if err := errors.Join(w.checkMaps(w.layout.Overlay(maps)), w.checkGame()); err != nil {
		return err
	}
	fmt.Println("checked")
	return nil
}

func (w *worker) checkMounted(n instance.Name) error {
	want, err := os.ReadFile(w.layout.ServerConfig(n))
	if err != nil {
		return err
	}
	got, err := os.ReadFile(filepath.Join(w.layout.Merged(n), "left4dead2/cfg/server.cfg"))
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("server.cfg of %s is %q, %w", n, got, err)
	}
	build, err := wholeIn(w.layout.Merged(n))
	if err != nil {
		return err
	}
	w.say("found", currentRelease, build)
	if n != lasting {
		return nil
	}
	if err := w.checkMaps(w.layout.Merged(n)); err != nil {
		return err
	}
	for _, name := range files {
		data, err := os.ReadFile(filepath.Join(w.layout.Merged(n), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		w.say("found", "file/"+name, version(name, data))
	}
	return nil
}

// lasting is the instance that lives through it all.
const lasting instance.Name = "a"

// spec is the spec of n at version v, which is also in its server.cfg and its
// arguments.
func spec(n instance.Name, v int) []byte {
	port := 27015
	if n != lasting {
		port = 28000 + v%1000
	}
	return fmt.Appendf(nil, "port: %d\narguments: [+version %d]\noverlays: [mod, maps]\nconfig: [version %d]\n# %s\n",
		port, v, v, strings.Repeat("x", v*397%9000))
}

// specVersion returns the version that all of an instance's files are of.
func (w *worker) specVersion(n instance.Name) (int, error) {
	sp, env, err := w.store.Load(n)
	if err != nil {
		return 0, err
	}
	v, err := strconv.Atoi(strings.TrimPrefix(env.Args, "+version "))
	if err != nil {
		return 0, err
	}
	data, err := os.ReadFile(w.layout.Spec(n))
	if err != nil {
		return 0, err
	}
	config, err := os.ReadFile(w.layout.ServerConfig(n))
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(data, spec(n, v)) || !bytes.Equal(config, sp.ServerConfig()) {
		return 0, fmt.Errorf("the files of %s are of several versions: %q, %q, %q", n, data, env.Args, config)
	}
	return v, nil
}

// work goes on for as long as there is power, or a minute.
func (w *worker) work() error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		for _, step := range []func() error{
			w.game, func() error { return w.change(lasting) }, w.updateLayer, w.session, w.game, w.shortLife,
		} {
			if err := step(); err != nil {
				return err
			}
		}
	}
	return errors.New("the power was not cut")
}

// change gives n a new spec.
func (w *worker) change(n instance.Name) error {
	w.at("init")
	v := w.next
	w.next++
	w.say("begin", "instance/"+string(n), v)
	if _, err := w.store.Init(n, "spec.yaml", spec(n, v)); err != nil {
		return err
	}
	w.say("synced", "instance/"+string(n), v)
	return nil
}

// session is one run of the main instance.
func (w *worker) session() error {
	w.at("session")
	a := w.activation(lasting)
	if err := a.Mount(); err != nil {
		return err
	}
	for range 1 + w.random.IntN(12) {
		if err := w.write(files[w.random.IntN(len(files))]); err != nil {
			return err
		}
	}
	if w.random.IntN(3) == 0 { // what is current changes beneath a running server
		if err := w.game(); err != nil {
			return err
		}
	}
	return a.Unmount()
}

// shortLife makes, mounts and removes an instance.
func (w *worker) shortLife() error {
	n := instance.Name("short" + strconv.Itoa(w.random.IntN(3)))
	if err := w.change(n); err != nil {
		return err
	}
	w.at("mount")
	a := w.activation(n)
	if err := errors.Join(a.Mount(), a.Unmount()); err != nil {
		return err
	}
	if w.random.IntN(2) == 0 {
		return nil
	}
	w.at("delete")
	w.say("begin", "instance/"+string(n), 0)
	if err := w.store.Remove(n); err != nil {
		return err
	}
	w.say("synced", "instance/"+string(n), 0)
	return nil
}
