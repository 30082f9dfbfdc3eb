package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
)

// chainLengths are the numbers of releases in a chain that are measured.
var chainLengths = []int{1, 10, 50}

// filesInGame is how many files the game has besides; each release but the first
// replaces one in a hundred.
const filesInGame = 2000

// The rows, and the instances that are measured for them.
const (
	byPlain  = "1 plain directory"
	byChain  = "a chain of releases"
	byLayers = "as many layers in the spec"
)

// benchReleases measures what a long chain of releases costs at a start, and to
// whoever looks through the tree.
func benchReleases(b *bench, out io.Writer) error {
	w, err := newWorld(b.dir, chainLengths[len(chainLengths)-1]-1)
	if err != nil {
		return err
	}
	if err := w.fillReleases(); err != nil {
		return err
	}
	here := newLauncher(w.Root(), append(syscall.Environ(), instance.RootVariable+"="+w.Root()), true)
	mounts, unmounts, walks := times{}, times{}, times{}
	rows := []string{byPlain, byChain, byLayers}
	for run := range b.runs {
		if err := b.ctx.Err(); err != nil {
			return err
		}
		for _, length := range chainLengths {
			for i := range rows {
				row := rows[(run+i)%len(rows)] // another order each time
				if err := w.startRelease(b, here, row, length, mounts, unmounts, walks); err != nil {
					return fmt.Errorf("%s, %d: %w", row, length, err)
				}
			}
		}
	}
	var columns []string
	for _, n := range chainLengths {
		columns = append(columns, strconv.Itoa(n))
	}
	fmt.Fprintf(out, `
## Releases

"l4d2-overlay mount", from a unit's mount namespace, for an instance on a chain of
so many releases, beside one on a plain directory; %d runs of each, in turn. The
game has %d files, and each release replaces 1 %% of them. The walk looks at all
files of the new mount once, and reads none.
`, b.runs, filesInGame)
	mounts.table(out, "Mount", rows, columns, byPlain)
	unmounts.table(out, "Unmount", rows, columns, byPlain)
	walks.table(out, "Walk", rows, columns, byPlain)
	return nil
}

func releaseName(i int) instance.Name { return instance.Name(fmt.Sprintf("2026-01-01.%d", i)) }

func packFile(i int) string { return fmt.Sprintf("left4dead2/content/%d/%d.vpk", i%20, i) }

// fillReleases fills the installation, as many releases as the longest chain has,
// the layers, and makes the instances.
func (w *world) fillReleases() error {
	if err := os.CopyFS(w.ReleaseTree(releaseName(1)), os.DirFS(w.Installation())); err != nil {
		return err
	}
	for i := range filesInGame {
		if err := errors.Join(putFile(w.Installation(), i), putFile(w.ReleaseTree(releaseName(1)), i)); err != nil {
			return err
		}
	}
	names := []instance.Name{}
	for n := 1; n <= chainLengths[len(chainLengths)-1]; n++ {
		names = append([]instance.Name{releaseName(n)}, names...)
		for i := n; i < filesInGame && n > 1; i += 100 {
			if err := errors.Join(putFile(w.ReleaseTree(releaseName(n)), i), putFile(w.Overlay(layerName(n-1)), i)); err != nil {
				return err
			}
		}
		text, err := chain.Release{Chain: names, Date: time.Now()}.Format()
		if err == nil {
			err = os.WriteFile(w.ReleaseFile(releaseName(n)), text, 0o644)
		}
		if err != nil {
			return err
		}
	}
	for _, length := range chainLengths {
		for _, row := range []string{byPlain, byChain, byLayers} {
			if err := w.addRelease(row, length); err != nil {
				return err
			}
		}
	}
	return nil
}

func putFile(dir string, i int) error {
	path := filepath.Join(dir, packFile(i))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte("VPK"), 0o644)
}

// instanceFor is the instance of a row and a length.
func instanceFor(row string, length int) instance.Name {
	return instance.Name(fmt.Sprintf("%s-%d", map[string]string{byPlain: "plain", byChain: "chain", byLayers: "layers"}[row], length))
}

func (w *world) addRelease(row string, length int) error {
	n := instanceFor(row, length)
	if row == byPlain {
		return w.addInstance(n, 1)
	}
	if err := w.addInstance(n, length); err != nil || row == byLayers {
		return err
	}
	env := instance.Env{Port: 27015, Args: "+map c1m1_hotel", Lowers: []string{instance.ReleasesDir + "/" + string(releaseName(length))}}
	text, err := env.Format()
	if err != nil {
		return err
	}
	return os.WriteFile(w.Env(n), text, 0o640)
}

// startRelease mounts one instance, walks through its tree and unmounts it.
func (w *world) startRelease(b *bench, l *launcher, row string, length int, mounts, unmounts, walks times) error {
	n, column := instanceFor(row, length), strconv.Itoa(length)
	if err := w.reset(n); err != nil {
		return err
	}
	took, err := l.run([]string{b.helper, "mount", string(n)})
	if err != nil {
		return err
	}
	mounts.add(row, column, took)
	begin, files := time.Now(), 0
	err = filepath.WalkDir(w.Merged(n), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
			_, err = d.Info()
		}
		return err
	})
	if err != nil {
		return err
	}
	if files < filesInGame {
		return fmt.Errorf("only %d files are there", files)
	}
	walks.add(row, column, time.Since(begin))
	if err := w.settle(); err != nil {
		return err
	}
	if took, err = l.run([]string{b.helper, "unmount", string(n)}); err != nil {
		return err
	}
	unmounts.add(row, column, took)
	return nil
}
