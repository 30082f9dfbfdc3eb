package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/privatens"
	"l4d2-host/internal/release"
	"l4d2-host/internal/staging"
	"l4d2-host/internal/tree"
)

// What an update changes: one file of a hundred, each of 1 MiB.
const (
	updateFile   = 1 << 20
	updateShare  = 100
	updateRuns   = 3
	updateByUs   = "a release"
	updateByCopy = "a copy"
)

// benchUpdate measures what a new state of the game costs that differs in 1 % of
// its bytes: as a release over the present one, and as a changed copy.
func benchUpdate(b *bench, out io.Writer) error {
	privatens.LockThread()
	layout, err := instance.NewLayout(filepath.Join(b.dir, "root"))
	if err != nil {
		return err
	}
	for _, dir := range []string{layout.Overlays(), layout.Installation()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	files := b.updateMiB << 20 / updateFile
	if err := fillGame(layout.Installation(), files); err != nil {
		return err
	}
	copied := filepath.Join(b.dir, "copy")
	u := &updating{
		staging: &staging.Staging{Layout: layout, Owner: activation.Owner{UID: gameID, GID: gameID}, Log: journal.New(io.Discard, false)},
		layout:  layout, changed: max(files/updateShare, 1), bench: b, took: times{}, disk: map[string]int64{},
	}
	// A real directory first, for cp; then the same, adopted.
	for range updateRuns {
		if err := u.copy(layout.Installation(), copied); err != nil {
			return err
		}
	}
	if err := u.adopt(); err != nil {
		return err
	}
	for range updateRuns {
		if err := u.release(); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, `
## An update of the game

%d MiB of the game in %d files, of which %d are replaced, each as steamcmd does it: written
beside, then moved into place. A release: mount, change, compare, publish and switch,
all synced to disk. A copy: cp -a of the installation, change, sync. %d runs of each.
`, b.updateMiB, files, u.changed, updateRuns)
	u.took.table(out, "Step", []string{updateByUs, "of that: mount", "of that: the change", "of that: publish", updateByCopy}, []string{"time"}, updateByCopy)
	fmt.Fprintf(out, "\n| Disk | one update |\n|---|---:|\n")
	for _, row := range []string{updateByUs, updateByCopy} {
		fmt.Fprintf(out, "| %s | %.1f MiB |\n", row, float64(u.disk[row])/(1<<20))
	}
	return nil
}

// updating is a game that is updated over and over.
type updating struct {
	staging *staging.Staging
	layout  instance.Layout
	changed int
	bench   *bench
	took    times
	disk    map[string]int64
	run     int
}

func fillGame(root string, files int) error {
	if err := os.WriteFile(filepath.Join(root, "srcds_linux"), []byte("ELF"), 0o755); err != nil {
		return err
	}
	for i := range files {
		if err := writeRandom(gameFile(root, i)); err != nil {
			return err
		}
	}
	return nil
}

func gameFile(root string, i int) string {
	return filepath.Join(root, "left4dead2", fmt.Sprintf("%02d", i%20), fmt.Sprintf("%05d.vpk", i))
}

func writeRandom(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	data := make([]byte, updateFile)
	rand.Read(data)
	return os.WriteFile(path, data, 0o644)
}

// change replaces files below root.
func (u *updating) change(root string) error {
	u.run++
	for i := range u.changed {
		beside := filepath.Join(root, "steamapps", "downloading", fmt.Sprint(i))
		if err := writeRandom(beside); err != nil {
			return err
		}
		if err := os.Rename(beside, gameFile(root, i*updateShare+u.run%updateShare)); err != nil {
			return err
		}
	}
	book := fmt.Sprintf("\"AppState\"\n{\n\t\"buildid\"\t\t\"%d\"\n}\n", u.run)
	return os.WriteFile(filepath.Join(root, "steamapps", "appmanifest_222860.acf"), []byte(book), 0o644)
}

// sync writes all to disk.
func (u *updating) sync() error {
	fd, err := unix.Open(u.bench.dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

// measure times f, the syncing included. Afterwards dir is what it has made.
func (u *updating) measure(row string, f func() (dir string, err error)) error {
	if err := u.sync(); err != nil {
		return err
	}
	at := time.Now()
	dir, err := f()
	if err == nil {
		err = u.sync()
	}
	if err != nil {
		return err
	}
	u.took.add(row, "time", time.Since(at))
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	u.disk[row] = tree.DiskUse(u.bench.ctx, fd).Bytes
	return nil
}

func (u *updating) copy(from, to string) error {
	err := u.measure(updateByCopy, func() (string, error) {
		if out, err := exec.CommandContext(u.bench.ctx, "cp", "-a", from, to).CombinedOutput(); err != nil {
			return "", fmt.Errorf("cp: %w: %s", err, out)
		}
		return to, u.change(to)
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(to)
}

func (u *updating) adopt() error {
	ch, err := (&release.Catalog{Layout: u.layout}).Begin()
	if err != nil {
		return err
	}
	defer ch.End()
	_, err = ch.Adopt(u.bench.ctx, release.Info{Date: time.Now()})
	return err
}

func (u *updating) release() error {
	return u.measure(updateByUs, func() (made string, err error) {
		for _, step := range []struct {
			row string
			do  func() error
		}{
			{"of that: mount", func() error { _, err := u.staging.Stage(); return err }},
			{"of that: the change", func() error { return u.change(staging.Merged(u.layout)) }},
			{"of that: publish", func() error {
				n, err := u.staging.Commit(u.bench.ctx)
				if err == nil && n == "" {
					err = errors.New("no release was made")
				}
				made = u.layout.ReleaseTree(n)
				return err
			}},
		} {
			at := time.Now()
			if err := step.do(); err != nil {
				return "", fmt.Errorf("%s: %w", step.row, err)
			}
			u.took.add(step.row, "time", time.Since(at))
		}
		return made, nil
	})
}
