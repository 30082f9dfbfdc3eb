package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/plan"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/record"
	"l4d2-host/internal/release"
)

// gamePath is a path on the command line that is relative to the game's root,
// as the server sees it. It is clean and does not lead out.
type gamePath string

func (p *gamePath) UnmarshalText(text []byte) error {
	clean := path.Clean(string(text))
	switch {
	case len(text) == 0:
		return errors.New("an empty path")
	case path.IsAbs(clean):
		return fmt.Errorf("%s: not a path relative to the game's root, such as left4dead2/cfg/server.cfg", strconv.Quote(string(text)))
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return fmt.Errorf("%s: leads out of the game's root", strconv.Quote(string(text)))
	}
	*p = gamePath(clean)
	return nil
}

// visible is a path that may be anyone's text, as it is printed: quoted when it
// holds anything but visible characters.
func visible(path string) string {
	if path == "" || printable.Line(path) != path || strings.ContainsAny(path, ` "`) {
		return strconv.Quote(path)
	}
	return path
}

// size says a number of bytes in units of 1000, two digits at least.
func size(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, i := float64(n)/1000, 0
	for value >= 999.5 && i < len(units)-1 {
		value, i = value/1000, i+1
	}
	digits := 0
	if value < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(value, 'f', digits, 64) + " " + units[i:i+1] + "B"
}

// stack is the directories of one instance, opened to be looked at.
type stack struct {
	upper  *layers.Layer // nil while the instance has no state
	lowers layers.View
}

// openStack opens what n is mounted from or, while it is stopped, would be at
// the next start. Only root sees what is deleted: the marks are attributes that
// others can't read.
func (s *session) openStack(n instance.Name) (stack, error) {
	if err := s.superuser(); err != nil {
		return stack{}, err
	}
	if err := s.known([]instance.Name{n}); err != nil {
		return stack{}, err
	}
	return s.lookInto(n)
}

// lookInto is openStack for whoever may see what this user may.
func (s *session) lookInto(n instance.Name) (stack, error) {
	lowers, err := s.openLayers(n)
	if err != nil {
		return stack{}, fmt.Errorf("%s: %w", n, err)
	}
	upper, err := layers.Upper(s.layout, n)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		lowers.Close()
		return stack{}, fmt.Errorf("%s: %w", n, err)
	}
	return stack{upper, lowers}, nil
}

// openLayers opens the layers of the start that is still mounted, wherever these
// directories are by now, or those of the next one.
func (s *session) openLayers(n instance.Name) (layers.View, error) {
	mounted, err := s.mounted(n, true)
	if err != nil {
		return nil, err
	}
	if mounted {
		if start, err := record.ReadStart(s.layout, n); err == nil {
			return plan.Was(s.layout, s.named(start))
		}
	}
	env, err := instance.ReadEnv(s.layout, n)
	if err != nil {
		return nil, err
	}
	names, err := chain.Expand(s.layout, env.Lowers)
	if err != nil {
		return nil, err
	}
	return layers.Open(s.layout, names)
}

// named gives an installation that has become a release since the start the name
// that it has now.
func (s *session) named(start record.Start) record.Start {
	last := len(start.Layers) - 1
	if start.Layers[last].Name != instance.InstallationLayer {
		return start
	}
	releases, _ := release.Names(s.layout)
	for _, n := range releases {
		var st unix.Stat_t
		if unix.Stat(s.layout.ReleaseTree(n), &st) == nil && start.Layers[last].Directory == (record.Directory{Dev: st.Dev, Ino: st.Ino}) {
			start.Layers = slices.Clone(start.Layers)
			start.Layers[last].Name = chain.Tree(n)
			return start
		}
	}
	return start
}

func (k stack) close() {
	k.view().Close()
}

// view is what the server sees.
func (k stack) view() layers.View {
	if k.upper == nil {
		return k.lowers
	}
	return append(layers.View{k.upper}, k.lowers...)
}
