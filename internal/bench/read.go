package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

// The installation that is read: about 300 MiB.
const (
	smallFiles = 5000
	smallSize  = 8 << 10
	largeSize  = 260 << 20
	coldRuns   = 11 // each empties the machine's caches
	copies     = 10 // plain copies, for comparison
)

// reader is one place to read the same files at.
type reader struct{ name, root string }

// benchRead measures reading the game's files through an instance, and what
// several instances of one installation take of memory and disk.
func benchRead(b *bench, out io.Writer) error {
	w, err := newWorld(b.dir, stormLayers-1)
	if err != nil {
		return err
	}
	if err := fillInstallation(w.Installation()); err != nil {
		return err
	}
	l := newLauncher(w.Overlays(), append(syscall.Environ(), instance.RootVariable+"="+w.Root()), false)
	if err := b.reading(out, w, l); err != nil {
		return err
	}
	return b.sharing(out, w, l)
}

func fillInstallation(root string) error {
	small := filepath.Join(root, "left4dead2", "small")
	buf := make([]byte, 1<<20)
	for i := range smallFiles {
		dir := filepath.Join(small, fmt.Sprintf("%02d", i%50))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		rand.Read(buf[:smallSize])
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d", i)), buf[:smallSize], 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(root, "left4dead2", "large"))
	if err != nil {
		return err
	}
	defer f.Close()
	for range largeSize >> 20 {
		rand.Read(buf)
		if _, err := f.Write(buf); err != nil {
			return err
		}
	}
	return f.Sync()
}

// mountFor mounts a new instance of ten layers and returns its mount point.
func (b *bench) mountFor(w *world, l *launcher, n instance.Name) (string, error) {
	if err := w.addInstance(n, stormLayers); err != nil {
		return "", err
	}
	_, err := l.run([]string{b.helper, "mount", string(n)})
	return w.Merged(n), err
}

func (b *bench) reading(out io.Writer, w *world, l *launcher) error {
	merged, err := b.mountFor(w, l, "read")
	if err != nil {
		return err
	}
	if err := w.addInstance("fuse", stormLayers); err != nil {
		return err
	}
	if _, err := l.run([]string{"fuse-overlayfs", "-o", w.options("fuse", stormLayers), w.Merged("fuse")}); err != nil {
		return err
	}
	readers := []reader{{"the plain directory", w.Installation()}, {"through an instance", merged}, {"fuse-overlayfs", w.Merged("fuse")}}
	t := times{}
	for run := range b.runs {
		for i := range readers {
			r := readers[(run+i)%len(readers)]
			for _, what := range []string{"small", "large"} {
				if err := b.ctx.Err(); err != nil {
					return err
				}
				if err := readBoth(r, what, run < coldRuns, t); err != nil {
					return err
				}
			}
		}
	}
	for _, r := range readers[1:] {
		if _, err := l.run([]string{"umount", r.root}); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, `
## Reading

%d files of %d KiB in 50 directories, and one of %d MiB, in the lowest of %d
layers, by one reader in reads of 64 KiB. Cold: after emptying the caches, %d
runs; warm: read just before, %d runs; in turn.
`, smallFiles, smallSize>>10, largeSize>>20, stormLayers, coldRuns, b.runs)
	t.table(out, "Read", []string{readers[0].name, readers[1].name, readers[2].name},
		[]string{"small, cold", "small, warm", "large, cold", "large, warm"}, readers[0].name)
	return nil
}

// readBoth reads cold, if that is asked for, and then warm.
func readBoth(r reader, what string, cold bool, t times) error {
	root := filepath.Join(r.root, "left4dead2", what)
	if cold {
		if err := emptyCaches(); err != nil {
			return err
		}
		begin := time.Now()
		if err := readAll(root); err != nil {
			return err
		}
		t.add(r.name, what+", cold", time.Since(begin))
	} else if err := readAll(root); err != nil {
		return err
	}
	begin := time.Now()
	err := readAll(root)
	t.add(r.name, what+", warm", time.Since(begin))
	return err
}

func emptyCaches() error {
	unix.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0)
}

func readAll(root string) error {
	buf := make([]byte, 64<<10)
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			if _, err := f.Read(buf); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// sharing measures the page cache and the disk that many instances take.
func (b *bench) sharing(out io.Writer, w *world, l *launcher) error {
	fmt.Fprintf(out, `
## Memory and disk of many instances

Of an installation of %d MiB: the page cache that it takes to read all of it in
each, and the disk blocks of what each has of its own.

| Instances | cache | disk | cache, plain copies | disk, plain copies |
|---:|---:|---:|---:|---:|
`, (smallFiles*smallSize+largeSize)>>20)
	var roots []string
	var own int64
	for _, count := range []int{1, copies, 50} {
		for len(roots) < count {
			n := instance.Name(fmt.Sprintf("share%d", len(roots)))
			merged, err := b.mountFor(w, l, n)
			if err != nil {
				return err
			}
			roots = append(roots, merged)
			disk, err := diskUse(w.Upper(n))
			if err != nil {
				return err
			}
			own += disk
		}
		cache, err := cacheTaken(roots)
		if err != nil {
			return err
		}
		if count > copies {
			fmt.Fprintf(out, "| %d | %s | %s | not measured | not measured |\n", count, mebibytes(cache), mebibytes(own))
			break
		}
		copyCache, copyDisk, err := b.useOfCopies(w, count)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "| %d | %s | %s | %s | %s |\n", count, mebibytes(cache), mebibytes(own), mebibytes(copyCache), mebibytes(copyDisk))
	}
	return nil
}

// useOfCopies makes plain copies of the installation, up to count in all.
func (b *bench) useOfCopies(w *world, count int) (cache, disk int64, err error) {
	var roots []string
	for i := range count {
		root := filepath.Join(b.dir, fmt.Sprintf("copy%d", i))
		if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
			if text, err := exec.CommandContext(b.ctx, "cp", "-a", "--reflink=never", w.Installation(), root).CombinedOutput(); err != nil {
				return 0, 0, fmt.Errorf("%w: %s", err, text)
			}
		}
		use, err := diskUse(root)
		if err != nil {
			return 0, 0, err
		}
		disk += use
		roots = append(roots, root)
	}
	cache, err = cacheTaken(roots)
	return cache, disk, err
}

// cacheTaken returns by how many bytes the page cache grows when all files of
// the installations are read.
func cacheTaken(roots []string) (int64, error) {
	if err := emptyCaches(); err != nil {
		return 0, err
	}
	before, err := cached()
	if err != nil {
		return 0, err
	}
	for _, root := range roots {
		for _, what := range []string{"small", "large"} {
			if err := readAll(filepath.Join(root, "left4dead2", what)); err != nil {
				return 0, err
			}
		}
	}
	after, err := cached()
	return after - before, err
}

func cached() (int64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Cached:"); ok {
			var kib int64
			_, err := fmt.Sscan(rest, &kib)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo: no line Cached")
}

// diskUse returns the bytes of the disk blocks of all below root.
func diskUse(root string) (total int64, err error) {
	err = filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		total += st.Blocks * 512
		return nil
	})
	return total, err
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
