package cli

import (
	"errors"
	"fmt"
	"strings"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layer"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/tree"
)

type layerListCommand struct {
	JSON bool `help:"Print an array of objects, for programs."`
}

// Help is what --help prints besides.
func (*layerListCommand) Help() string { return "Example: l4d2ctl layer list" }

// listedLayer is one layer, and its JSON: these keys are what programs may rely
// on.
type listedLayer struct {
	Name    instance.Name   `json:"name"`
	Version *int            `json:"version"` // null for a directory that l4d2ctl did not make
	Bytes   *int64          `json:"bytes"`   // on disk; null if it cannot be looked at
	Files   *int            `json:"files"`   // and directories
	UsedBy  []instance.Name `json:"used_by"` // instances that name it
	Running []instance.Name `json:"running"` // and those that run with this version now
	Error   *string         `json:"error"`
}

func (c *layerListCommand) Run(s *session) error {
	catalog, err := s.catalog()
	if err != nil {
		return err
	}
	names, err := catalog.Names()
	if err != nil {
		return err
	}
	list := make([]listedLayer, len(names))
	var broken problems
	for i, n := range names {
		if list[i], err = s.describeLayer(catalog, n); err != nil {
			text := err.Error()
			list[i].Error = &text
			broken = append(broken, readable(fmt.Errorf("%s: %w", n, err)))
		}
	}
	if c.JSON {
		if err := s.printJSON(list); err != nil {
			return err
		}
	} else if len(list) > 0 {
		s.print(s.layerTable(list))
	}
	if len(list) == 0 {
		s.hint("no layers in %s: make one with: %s layer add NAME ARCHIVE", s.layout.Overlays(), program)
	}
	if len(broken) > 0 {
		return broken
	}
	return nil
}

func (s *session) describeLayer(c *layer.Catalog, n instance.Name) (listedLayer, error) {
	d := listedLayer{Name: n, UsedBy: []instance.Name{}, Running: []instance.Name{}}
	if v := c.Version(n); v > 0 {
		d.Version = &v
	}
	l, err := c.Open(n)
	if err != nil {
		return d, err
	}
	defer l.Close()
	use := tree.DiskUse(s.ctx, l.Dir)
	d.Bytes, d.Files = &use.Bytes, &use.Files
	users, usersErr := c.Users(n)
	running, runningErr := c.Running(l)
	d.UsedBy, d.Running = append(d.UsedBy, users...), append(d.Running, running...)
	return d, errors.Join(use.Missed, usersErr, runningErr)
}

func (s *session) layerTable(list []listedLayer) string {
	rows := [][]cell{plain("NAME", "VERSION", "SIZE", "FILES", "USED BY", "RUNNING")}
	for _, l := range list {
		bytes := "-"
		if l.Bytes != nil {
			bytes = size(*l.Bytes)
		}
		rows = append(rows, plain(string(l.Name), orDash(l.Version), bytes, orDash(l.Files), namesOrDash(l.UsedBy), namesOrDash(l.Running)))
	}
	return s.table(rows)
}

func namesOrDash(names []instance.Name) string {
	if len(names) == 0 {
		return "-"
	}
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ",")
}

type layerShowCommand struct {
	Name nameArg `arg:"" complete:"layer" help:"Layer to show."`
	JSON bool    `help:"Print an object, for programs."`
}

// Help is what --help prints besides.
func (*layerShowCommand) Help() string { return "Example: l4d2ctl layer show sourcemod" }

// shownLayer is a layer with its files, and its JSON: the keys of a listed one,
// and these.
type shownLayer struct {
	listedLayer
	Path    string     `json:"path"`
	Entries []layerHas `json:"entries"` // in the order of their paths
}

// layerHas is one file of a layer; type is as in the JSON of conflicts.
type layerHas struct {
	Path string      `json:"path"`
	Type layers.Type `json:"type"`
	Size int64       `json:"size"` // of a file, in bytes
}

func (c *layerShowCommand) Run(s *session) error {
	n := c.Name.Name
	catalog, err := s.catalog()
	if err != nil {
		return err
	}
	v := shownLayer{Path: s.layout.Overlay(n), Entries: []layerHas{}}
	if v.listedLayer, err = s.describeLayer(catalog, n); errors.Is(err, layer.ErrUnknown) {
		return &problem{err: fmt.Errorf("%s: %w", n, err), hints: []string{"see: " + program + " layer list"}}
	} else if err == nil {
		err = s.layerEntries(catalog, n, &v)
	}
	if err != nil {
		return readable(fmt.Errorf("%s: %w", n, err))
	}
	if c.JSON {
		return s.printJSON(v)
	}
	var b strings.Builder
	b.WriteString(s.layerTable([]listedLayer{v.listedLayer}) + "\n")
	for _, e := range v.Entries {
		what := string(e.Type)
		switch e.Type {
		case layers.File:
			what = size(e.Size)
		case layers.Whiteout:
			what = "hides"
		}
		fmt.Fprintf(&b, "%9s  %s\n", what, visible(e.Path))
	}
	s.print(b.String())
	return nil
}

// layerEntries fills in what the layer holds, but for directories.
func (s *session) layerEntries(c *layer.Catalog, n instance.Name, v *shownLayer) error {
	l, err := c.Open(n)
	if err != nil {
		return err
	}
	defer l.Close()
	paths, err := layer.Paths(s.ctx, l)
	if err != nil {
		return err
	}
	for _, p := range paths {
		e, err := l.Stat(p)
		if err != nil {
			return err
		}
		if e.Type != layers.Directory {
			v.Entries = append(v.Entries, layerHas{p, e.Type, e.Size})
		}
	}
	return nil
}
