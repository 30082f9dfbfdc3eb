package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/privatens"
)

// phases are the steps between the start of the helper's work and its end that
// grow with the layers or touch the disk.
var phases = []string{"read instance.env", "open the layers", "check them", "mount", "copy server.cfg", "attach", "unmount"}

// opened is an instance whose directories are open.
type opened struct {
	overlay.Stack
	target overlay.Target
}

func (o *opened) close() {
	for _, lower := range o.Lowers {
		unix.Close(lower.FD)
	}
	for _, fd := range []int{o.Upper, o.Work, o.target.Dir} {
		unix.Close(fd)
	}
}

// open opens what an instance consists of, as the helper does.
func (w *world) open(n instance.Name, lowers []string) (*opened, error) {
	dir, err := unix.Open(w.Runtime(n), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	o := &opened{
		Stack:  overlay.Stack{Source: "l4d2:" + string(n)},
		target: overlay.Target{Dir: dir, Name: "merged", Path: w.Merged(n)},
	}
	if o.Upper, err = beneath.OpenDir(dir, "upper"); err != nil {
		return nil, err
	}
	if o.Work, err = beneath.OpenDir(dir, "work"); err != nil {
		return nil, err
	}
	for _, layer := range lowers {
		fd, err := unix.Openat2(unix.AT_FDCWD, filepath.Join(w.Root(), layer), &unix.OpenHow{
			Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
		})
		if err != nil {
			return nil, err
		}
		o.Lowers = append(o.Lowers, overlay.Lower{FD: fd, Parent: overlay.Unknown})
	}
	return o, nil
}

// phase mounts and unmounts one instance in this process.
func (w *world) phase(lowers int, method overlay.Method, t times) error {
	n := sized(lowers)
	if err := w.reset(n); err != nil {
		return err
	}
	last := time.Now()
	lap := func(name string) {
		now := time.Now()
		t.add(name, strconv.Itoa(lowers), now.Sub(last))
		last = now
	}
	env, err := instance.ReadEnv(w.Layout, n)
	if err != nil {
		return err
	}
	lap("read instance.env")
	o, err := w.open(n, env.Lowers)
	if err != nil {
		return err
	}
	defer o.close()
	lap("open the layers")
	if err := o.Check(o.target); err != nil {
		return err
	}
	lap("check them")
	m, err := o.Mount(o.target, method)
	if err != nil {
		return err
	}
	lap("mount")
	if err := copyConfig(m.Root); err != nil {
		return err
	}
	lap("copy server.cfg")
	if err := m.Attach(); err != nil {
		return err
	}
	lap("attach")
	if err := w.settle(); err != nil {
		return err
	}
	last = time.Now()
	if err := o.target.Unmount(); err != nil {
		return err
	}
	lap("unmount")
	return nil
}

func copyConfig(root int) error {
	game, err := beneath.MakeDir(root, "left4dead2")
	if err != nil {
		return err
	}
	defer unix.Close(game)
	cfg, err := beneath.MakeDir(game, "cfg")
	if err != nil {
		return err
	}
	defer unix.Close(cfg)
	return beneath.WriteFile(cfg, "server.cfg", beneath.File{Data: []byte("hostname bench\n"), Mode: 0o640, GID: gameID})
}

// writeWhere shows where the helper's time goes.
func (b *bench) writeWhere(out io.Writer, w *world, here *launcher, starts times) error {
	privatens.LockThread()
	methods := []overlay.Method{overlay.FSContext, overlay.Classic}
	all := map[overlay.Method]times{}
	for _, m := range methods {
		all[m] = times{}
	}
	for range b.runs {
		for _, lowers := range layerCounts {
			for _, m := range methods {
				if err := w.phase(lowers, m, all[m]); err != nil {
					return fmt.Errorf("%d layers by %s: %w", lowers, m, err)
				}
			}
		}
	}
	fmt.Fprint(out, `
### Where the time goes

What a process costs before it does any work. From a unit's mount namespace
the helper joins that of PID 1.
`)
	starts.table(out, "Process", []string{"an empty C program", "an empty Go program", "`l4d2-overlay --version`",
		"nothing to unmount", "nothing to unmount, from a unit's mount namespace"}, []string{"time"}, "an empty Go program")
	fmt.Fprintf(out, "\nThe steps in one process, by both ways to mount; %d runs of each, in turn.\n", b.runs)
	for _, m := range methods {
		all[m].table(out, "By "+m.String(), phases, columns(), "")
	}
	return b.countCalls(out, w, here)
}

// countCalls shows how many system calls the helper makes.
func (b *bench) countCalls(out io.Writer, w *world, here *launcher) error {
	fmt.Fprint(out, "\nSystem calls of `l4d2-overlay mount`, all threads:\n\n| Layers | in all | most frequent |\n|---:|---:|---|\n")
	for _, lowers := range layerCounts {
		n := sized(lowers)
		if err := w.reset(n); err != nil {
			return err
		}
		file := filepath.Join(b.dir, "strace")
		if _, err := here.run([]string{"strace", "-f", "-qq", "-c", "-S", "calls", "-o", file, b.helper, "mount", string(n)}); err != nil {
			return err
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		total, top := parseCounts(string(text), 5)
		fmt.Fprintf(out, "| %d | %d | %s |\n", lowers, total, strings.Join(top, ", "))
		if _, err := here.run([]string{b.helper, "unmount", string(n)}); err != nil {
			return err
		}
	}
	return nil
}

// parseCounts reads the table that strace -c writes: calls in the fourth
// column, the name in the last. It returns their sum and the first few rows.
func parseCounts(text string, few int) (total int, top []string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || slices.Contains(f, "total") {
			continue
		}
		calls, err := strconv.Atoi(f[3])
		if err != nil {
			continue
		}
		total += calls
		if len(top) < few {
			top = append(top, fmt.Sprintf("%s %d", f[len(f)-1], calls))
		}
	}
	return total, top
}
