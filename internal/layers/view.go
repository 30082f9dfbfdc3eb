package layers

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// View is what an overlay of these layers shows, topmost first.
type View []*Layer

// Close closes all layers.
func (v View) Close() {
	for _, l := range v {
		l.Close()
	}
}

// Found is an entry with the layer that has it.
type Found struct {
	Layer *Layer
	Entry
}

// Node is a name in a view.
type Node struct {
	Path string // relative to the root, "." for the root itself
	// Shown is what shows there: one entry or, for a directory, each that is
	// merged into it, topmost first. Nothing shows if it is empty.
	Shown []Found
	// Hider is the entry above which the lower layers do not count: a whiteout,
	// an opaque directory, or a file. It is nil where all layers were looked at.
	Hider *Found
	// HiderPath is where the Hider is: Path or a parent of it.
	HiderPath string
}

// Top returns the entry that shows, or nil.
func (n *Node) Top() *Found {
	if len(n.Shown) == 0 {
		return nil
	}
	return &n.Shown[0]
}

// IsDir reports whether a directory shows.
func (n *Node) IsDir() bool { return len(n.Shown) > 0 && n.Shown[0].Type == Directory }

// Root returns the root. It is merged from all layers, whatever they say of it.
func (v View) Root() (Node, error) {
	n := Node{Path: "."}
	for _, l := range v {
		e, err := l.Stat(".")
		if err != nil {
			return n, err
		}
		n.Shown = append(n.Shown, Found{l, e})
	}
	return n, nil
}

// Lookup returns what is at name, a clean relative path.
func (v View) Lookup(name string) (Node, error) {
	n, err := v.Root()
	if name == "." || err != nil {
		return n, err
	}
	for _, part := range strings.Split(name, "/") {
		if n, err = v.Child(n, part); err != nil {
			return n, err
		}
	}
	return n, nil
}

// ServerBinary is what the servers' unit starts, in the game's root.
const ServerBinary = "srcds_linux"

// Game returns what shows at ServerBinary, a file or an operator's link, or nil
// where a server cannot be started from.
func (v View) Game() (*Found, error) {
	// In the root, which is merged from all layers, whatever the topmost that has
	// the name has there is what shows. One system call for each layer: every
	// start of a server looks.
	for _, l := range v {
		e, found, err := l.look(ServerBinary)
		if err != nil {
			return nil, err
		}
		if found && (e.Type == File || e.Type == Symlink) {
			return &Found{l, e}, nil
		}
		if found {
			return nil, nil
		}
	}
	return nil, nil
}

// Child returns what is at name in the directory dir, which may show nothing.
func (v View) Child(dir Node, name string) (Node, error) {
	n := Node{Path: path.Join(dir.Path, name), Hider: dir.Hider, HiderPath: dir.HiderPath}
	if !dir.IsDir() {
		return n, nil
	}
	for i := range dir.Shown {
		l := dir.Shown[i].Layer
		e, err := l.Stat(n.Path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return n, err
		}
		// A file below a directory hides what is below the file.
		if e.Type == Directory || len(n.Shown) == 0 && e.Type != Whiteout {
			n.Shown = append(n.Shown, Found{l, e})
		}
		if e.Type != Directory || e.Opaque {
			n.Hider, n.HiderPath = &Found{l, e}, n.Path
			break
		}
	}
	return n, nil
}

// Names returns the names that the directory dir may have, in their order: all
// those that show, and those that are deleted.
func (v View) Names(dir Node) ([]string, error) {
	if !dir.IsDir() {
		return nil, nil
	}
	var names []string
	for _, f := range dir.Shown {
		more, err := f.Layer.Names(dir.Path)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	if len(dir.Shown) > 1 {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	return names, nil
}

// Walk calls f for dir and all that shows in it, in the order of the names;
// an error of f ends it.
func (v View) Walk(dir Node, f func(Node) error) error {
	if err := f(dir); err != nil {
		return err
	}
	names, err := v.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		n, err := v.Child(dir, name)
		if err != nil {
			return err
		}
		if len(n.Shown) == 0 {
			continue
		}
		if err := v.Walk(n, f); err != nil {
			return err
		}
	}
	return nil
}

// Raw returns what each layer has at name, whether it shows or not.
func (v View) Raw(name string) ([]Found, error) {
	var all []Found
	for _, l := range v {
		e, err := l.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Found{l, e})
	}
	return all, nil
}
