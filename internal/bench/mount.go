package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"l4d2-host/internal/instance"
)

// layerCounts are the numbers of lower layers that are measured.
var layerCounts = []int{1, 10, 100, 400}

func columns() []string {
	var all []string
	for _, n := range layerCounts {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// way is one way to mount and to unmount an instance.
type way struct {
	name           string
	mount, unmount func(n instance.Name, lowers int) []string
	launch         *launcher
}

const (
	byFloor  = "C, the system call alone"
	byHelper = "l4d2-overlay"
	byUnit   = "l4d2-overlay, from a unit's mount namespace"
	byMount  = "mount(8), umount(8)"
	byShell  = "sh: mkdir, mount, cp"
	byFUSE   = "fuse-overlayfs"
)

func (b *bench) ways(w *world, here, unit *launcher) []way {
	floor := filepath.Join(b.dir, "floor")
	helper := func(verb string) func(instance.Name, int) []string {
		return func(n instance.Name, _ int) []string { return []string{b.helper, verb, string(n)} }
	}
	umount := func(n instance.Name, _ int) []string { return []string{"umount", w.Merged(n)} }
	const script = `mkdir -p "$1" "$2" "$3" && mount -t overlay -o "$4" "l4d2:$5" "$3" && cp "$6" "$3/left4dead2/cfg/"`
	return []way{
		{byFloor, func(n instance.Name, lowers int) []string {
			return []string{floor, "mount", "l4d2:" + string(n), w.Merged(n), w.options(n, lowers) + fixed}
		}, func(n instance.Name, _ int) []string { return []string{floor, "umount", w.Merged(n)} }, here},
		{byHelper, helper("mount"), helper("unmount"), here},
		{byUnit, helper("mount"), helper("unmount"), unit},
		{byMount, func(n instance.Name, lowers int) []string {
			return []string{"mount", "-t", "overlay", "-o", w.options(n, lowers) + fixed, "l4d2:" + string(n), w.Merged(n)}
		}, umount, here},
		{byShell, func(n instance.Name, lowers int) []string {
			return []string{"sh", "-c", script, "sh", w.Upper(n), w.Work(n), w.Merged(n), w.options(n, lowers) + fixed, string(n), w.ServerConfig(n)}
		}, func(n instance.Name, _ int) []string { return []string{"sh", "-c", `umount "$1"`, "sh", w.Merged(n)} }, here},
		{byFUSE, func(n instance.Name, lowers int) []string {
			return []string{"fuse-overlayfs", "-o", w.options(n, lowers), w.Merged(n)}
		}, umount, here},
	}
}

// benchMount measures mounting and unmounting.
func benchMount(b *bench, out io.Writer) error {
	w, err := newWorld(b.dir, layerCounts[len(layerCounts)-1]-1)
	if err != nil {
		return err
	}
	for _, lowers := range layerCounts {
		if err := w.addInstance(sized(lowers), lowers); err != nil {
			return err
		}
	}
	// As the unit sets it.
	env := append(syscall.Environ(), instance.RootVariable+"="+w.Root(), "GOMAXPROCS=1")
	here, unit := newLauncher(w.Overlays(), env, false), newLauncher(w.Overlays(), env, true)
	ways := b.ways(w, here, unit)
	mounts, unmounts, starts := times{}, times{}, times{}
	for run := range b.runs {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		for _, lowers := range layerCounts {
			for i := range ways {
				// Another order each time: no one always follows the same.
				if err := ways[(run+i)%len(ways)].once(w, lowers, mounts, unmounts); err != nil {
					return err
				}
			}
		}
		if err := b.starts(here, unit, starts); err != nil {
			return err
		}
	}
	writeMounts(out, b.runs, ways, mounts, unmounts)
	if err := b.writeWhere(out, w, here, starts); err != nil {
		return err
	}
	return b.benchMountinfo(out, w)
}

func sized(lowers int) instance.Name { return instance.Name(fmt.Sprintf("n%d", lowers)) }

// once mounts and unmounts one instance.
func (y way) once(w *world, lowers int, mounts, unmounts times) error {
	n, column := sized(lowers), strconv.Itoa(lowers)
	if err := w.reset(n); err != nil {
		return err
	}
	took, err := y.launch.run(y.mount(n, lowers))
	if err != nil {
		return fmt.Errorf("%s, %d layers: %w", y.name, lowers, err)
	}
	mounts.add(y.name, column, took)
	if err := w.settle(); err != nil {
		return err
	}
	if took, err = y.launch.run(y.unmount(n, lowers)); err != nil {
		return fmt.Errorf("%s, %d layers: %w", y.name, lowers, err)
	}
	unmounts.add(y.name, column, took)
	return reapOrphans(10 * time.Second)
}

// starts measures what starting a process costs.
func (b *bench) starts(here, unit *launcher, t times) error {
	for _, s := range []struct {
		name string
		l    *launcher
		argv []string
	}{
		{"an empty C program", here, []string{filepath.Join(b.dir, "floor")}},
		{"an empty Go program", here, []string{filepath.Join(b.dir, "empty")}},
		{"`l4d2-overlay --version`", here, []string{b.helper, "--version"}},
		{"nothing to unmount", here, []string{b.helper, "unmount", string(sized(1))}},
		{"nothing to unmount, from a unit's mount namespace", unit, []string{b.helper, "unmount", string(sized(1))}},
	} {
		took, err := s.l.run(s.argv)
		if err != nil {
			return err
		}
		t.add(s.name, "time", took)
	}
	return nil
}

func writeMounts(out io.Writer, runs int, ways []way, mounts, unmounts times) {
	fmt.Fprintf(out, `
## Mounting and unmounting

From fork to exit, by the number of lower layers; %d runs of each, in turn.
Upper, work and merged are new and empty each time. l4d2-overlay makes all its
checks and copies server.cfg; it tidies up after the unmount; GOMAXPROCS is 1, as
in the unit. The file system is synced before each unmount. mount(8) gets relative
paths of four letters: with longer ones its options do not fit.
`, runs)
	var names []string
	for _, y := range ways {
		names = append(names, y.name)
	}
	mounts.table(out, "Mount", names, columns(), byFloor)
	unmounts.table(out, "Unmount", names, columns(), byFloor)
	fmt.Fprintf(out, "\n| Aim | %s | want |\n|---|---:|---:|---:|---:|---|\n", strings.Join(columns(), " | "))
	for _, aim := range []struct {
		what      string
		t         times
		row, peer string
		want      string
	}{
		{"mount, to mount(8)", mounts, byHelper, byMount, "1 and 10 layers: 1.0; 400: 1.3"},
		{"mount, to the shell script", mounts, byHelper, byShell, "1 and 10 layers: 0.4"},
		{"unmount, to umount(8)", unmounts, byHelper, byMount, "1.0"},
	} {
		fmt.Fprintf(out, "| %s ", aim.what)
		for _, c := range columns() {
			fmt.Fprintf(out, "| %.2f ", float64(aim.t.median(aim.row, c))/float64(aim.t.median(aim.peer, c)))
		}
		fmt.Fprintf(out, "| %s |\n", aim.want)
	}
}
