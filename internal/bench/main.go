// Command bench measures what an instance costs, beside what the same costs by
// other means: mounting and unmounting, many starts at once, reading the
// game's files, and updating them. "make bench" runs it, as root; it writes
// RESULTS.md.
//
// Nothing passes or fails by a time. Everything is compared with peers in the
// same run, taken in turn, so that whatever else the machine does hits all
// alike. Mounts are made in namespaces of their own and never reach the host.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// limit bounds the whole run.
const limit = 30 * time.Minute

// section is one part of the results, written to w as Markdown.
type section struct {
	name    string
	private bool // runs in namespaces of its own, below a directory of its own
	run     func(b *bench, w io.Writer) error
}

var sections = []section{
	{"mount", true, benchMount},
	{"storm", false, benchStorm},
	{"read", true, benchRead},
	{"releases", true, benchReleases},
	{"update", true, benchUpdate},
}

// bench is what all sections get to know.
type bench struct {
	ctx    context.Context
	helper string // the program to measure
	runs   int    // of everything that is quick; at least 51 for the record
	dir    string // scratch, on a real file system
	// updateMiB is how large the game is that is updated.
	updateMiB int
}

func main() {
	b := &bench{}
	only := flag.String("only", "mount,storm,read,releases,update", "sections to run")
	out := flag.String("out", "internal/bench/RESULTS.md", "`file` to write")
	inside := flag.String("inside", "", "for the program's own use: the section to run in this process")
	flag.StringVar(&b.helper, "helper", "build/l4d2-overlay", "the helper to measure")
	flag.StringVar(&b.dir, "dir", "build", "`directory` on the file system to measure")
	flag.IntVar(&b.updateMiB, "update-mib", 2048, "`MiB` of the game that the section update updates")
	flag.IntVar(&b.runs, "runs", 51, "runs of everything that is quick")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	var cancel func()
	b.ctx, cancel = context.WithTimeout(ctx, limit)
	defer cancel()

	err := error(nil)
	if *inside != "" {
		err = b.runInside(*inside)
	} else {
		err = b.runAll(*only, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) runAll(only, out string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: run make bench")
	}
	var err error
	if b.helper, err = filepath.Abs(b.helper); err != nil {
		return err
	}
	if _, err := os.Stat(b.helper); err != nil {
		return fmt.Errorf("no helper to measure: run make build: %w", err)
	}
	var text bytes.Buffer
	begin := time.Now()
	if err := b.describe(&text, begin); err != nil {
		return err
	}
	for _, s := range sections {
		if !strings.Contains(","+only+",", ","+s.name+",") {
			continue
		}
		fmt.Fprintf(os.Stderr, "bench: %s\n", s.name)
		run := s.run
		if s.private {
			run = s.runPrivate
		}
		if err := run(b, &text); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Fprintf(os.Stderr, "bench: done in %s\n", time.Since(begin).Round(time.Second))
	return os.WriteFile(out, text.Bytes(), 0o644)
}

// describe says what was measured where.
func (b *bench) describe(w io.Writer, now time.Time) error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return err
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return err
	}
	fs, err := exec.CommandContext(b.ctx, "stat", "-f", "-c", "%T", b.dir).Output()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, `# Measurements

Made by "make bench" on %s. Medians; the times belong to this
machine, the ratios carry over. A ratio is to the row that says 1.00.

- Machine: %s, %d processors, %s of memory
- Linux %s, file system %s, Go %s
- Load when it began: %s
`,
		now.UTC().Format("2006-01-02"), infoField("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		infoField("/proc/meminfo", "MemTotal"), unix.ByteSliceToString(name.Release[:]),
		strings.TrimSpace(string(fs)), strings.TrimPrefix(runtime.Version(), "go"), strings.Join(strings.Fields(string(load))[:3], " "))
	return nil
}

// infoField returns the first value called name in a file of "name : value".
func infoField(file, name string) string {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

// runPrivate runs the section in a child with PID, mount and network
// namespaces of its own. The helper joins the mount namespace of PID 1: that
// is the child. With it everything that it mounted or started is gone.
func (s section) runPrivate(b *bench, w io.Writer) error {
	dir, err := os.MkdirTemp(b.dir, "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := b.buildPeers(dir); err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, "/proc/self/exe", "-inside", s.name,
		"-helper", b.helper, "-dir", dir, "-runs", fmt.Sprint(b.runs), "-update-mib", fmt.Sprint(b.updateMiB))
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	// The signal comes when the thread that forked ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// buildPeers compiles the C program and the empty Go program into dir.
func (b *bench) buildPeers(dir string) error {
	source := filepath.Join(dir, "floor.c")
	if err := os.WriteFile(source, floorSource, 0o644); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"gcc", "-O2", "-static", "-o", filepath.Join(dir, "floor"), source},
		{"go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, "empty"), "l4d2-host/internal/bench/empty"},
	} {
		if out, err := exec.CommandContext(b.ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}
