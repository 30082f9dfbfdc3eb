// Package plan compares the tree that an instance was last started with and the
// one that its next start would mount: which layers are others, and which files
// of them. It goes by the directories that were written down at the start, not
// by their names, and looks at what is on disk alone: a layer that is not there
// any more cannot be compared, and it says so.
//
// The game's user can write to all of it; package layers says what that means.
package plan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/record"
)

// ErrGone says that a layer of the last start is not on disk any more.
var ErrGone = errors.New("it is not on the disk any more, so its files cannot be compared")

// Was opens the layers of a start, wherever they are by now. The error is
// ErrGone, with the layer's name, if one is nowhere; nothing is left open then.
func Was(l instance.Layout, start record.Start) (layers.View, error) {
	known := &places{layout: l, at: start.At}
	defer known.close()
	var v layers.View
	for _, layer := range start.Layers {
		fd, path, err := known.find(layer)
		if err != nil {
			v.Close()
			return nil, fmt.Errorf("%s: %w", layer.Name, err)
		}
		v = append(v, &layers.Layer{Name: layer.Name, Path: path, Dir: fd})
	}
	return v, nil
}

// places are where a layer may be.
type places struct {
	layout instance.Layout
	at     time.Time // of the start: what was made later is not it
	open   []*layers.Layer
	listed bool
}

func (p *places) close() { layers.View(p.open).Close() }

// find returns a descriptor of the directory that layer was, and where it is.
func (p *places) find(layer record.Layer) (int, string, error) {
	if v, err := layers.Open(p.layout, []string{layer.Name}); err == nil {
		p.open = append(p.open, v...)
	}
	for range 2 {
		for _, l := range p.open {
			is, err := p.is(l.Dir, layer.Directory)
			if err != nil {
				return -1, "", err
			}
			if is {
				fd, err := unix.FcntlInt(uintptr(l.Dir), unix.F_DUPFD_CLOEXEC, 0)
				return fd, l.Path, err
			}
		}
		if p.listed {
			break
		}
		if err := p.list(); err != nil {
			return -1, "", err
		}
	}
	return -1, "", ErrGone
}

// is reports whether fd is the directory d. The number of one that was removed
// can be another's by now, which is then younger than the start.
func (p *places) is(fd int, d record.Directory) (bool, error) {
	got, err := record.DirectoryOf(fd)
	if err != nil || got != d {
		return false, err
	}
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st); err != nil {
		return false, os.NewSyscallError("statx", err)
	}
	born := time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
	return st.Mask&unix.STATX_BTIME == 0 || !born.After(p.at), nil
}

// list opens all directories that can be a layer: every version of every layer,
// every release, and the installation.
func (p *places) list() error {
	p.listed = true
	for _, dir := range []string{p.layout.Overlays(), p.layout.Releases()} {
		if err := p.listIn(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	if v, err := layers.Open(p.layout, []string{instance.InstallationLayer}); err == nil {
		p.open = append(p.open, v...)
	}
	return nil
}

func (p *places) listIn(dir string) error {
	parent, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(parent)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Links lead to one of the others; what is being made or removed is none.
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".new") || strings.HasSuffix(e.Name(), ".deleted") {
			continue
		}
		fd, err := beneath.OpenDir(parent, e.Name())
		if err != nil {
			continue // a mount, which is found by its name, or gone meanwhile
		}
		path := filepath.Join(dir, e.Name())
		if dir == p.layout.Releases() {
			tree, err := beneath.OpenDir(fd, instance.ReleaseTreeDir)
			unix.Close(fd)
			if err != nil {
				continue
			}
			fd, path = tree, filepath.Join(path, instance.ReleaseTreeDir)
		}
		p.open = append(p.open, &layers.Layer{Path: path, Dir: fd})
	}
	return nil
}

// Shared is the layers of two views that are the same directory and keep their
// order, each with one number in both: what only they have is the same in both.
type Shared map[*layers.Layer]int

// Has reports whether l, of either view, is one of them.
func (s Shared) Has(l *layers.Layer) bool {
	_, ok := s[l]
	return ok
}

// Common returns the layers that two views share.
func Common(was, will layers.View) (Shared, error) {
	a, err := identities(was)
	if err != nil {
		return nil, err
	}
	b, err := identities(will)
	if err != nil {
		return nil, err
	}
	// The longest common subsequence, by the lengths of those of all suffixes.
	length := make([][]int, len(a)+1)
	for i := range length {
		length[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	same := Shared{}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			same[was[i]], same[will[j]] = len(same)/2, len(same)/2
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return same, nil
}

func identities(v layers.View) ([]record.Directory, error) {
	ids := make([]record.Directory, len(v))
	for i, l := range v {
		var err error
		if ids[i], err = record.DirectoryOf(l.Dir); err != nil {
			return nil, err
		}
	}
	return ids, nil
}
