package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"text/tabwriter"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

type diffCommand struct {
	Name nameArg  `arg:"" help:"Instance to look at."`
	Text gamePath `help:"Show how the text of this file differs from that beneath it." placeholder:"PATH" xor:"form"`
	All  bool     `short:"a" help:"Also list files that were copied and not changed, and the generated server.cfg."`
	JSON bool     `help:"Print an array of objects, for programs." xor:"form"`
}

func (c *diffCommand) Help() string {
	return "Works on a stopped and on a running server. Paths are relative to the game's root.\n\n" +
		"Example: " + program + " diff versus --text left4dead2/cfg/banned_user.cfg"
}

// changed is one line of the difference, and one object in its JSON: these keys
// are what programs may rely on. Bytes of a path that are no UTF-8 are U+FFFD
// there.
type changed struct {
	Path   string      `json:"path"`
	Change layers.Kind `json:"change"` // added, modified, deleted, same
	Type   layers.Type `json:"type"`   // of what was deleted, or is there now
	Size   int64       `json:"size"`   // bytes of files: there now, or deleted
	Files  int64       `json:"files"`  // how many were deleted, 0 if nothing was
	Opaque bool        `json:"opaque"` // a directory that hides all that layers have in it
	// Generated says that it is the server.cfg that each start writes.
	Generated bool `json:"generated"`
	// Beneath is what the server would see without its change.
	Beneath *original `json:"beneath"`
}

// original is what is beneath a change.
type original struct {
	Layer string      `json:"layer"` // overlays/NAME, releases/NAME/tree or installation
	Type  layers.Type `json:"type"`
	Size  int64       `json:"size"`
}

func (c *diffCommand) Run(s *session) error {
	n := c.Name.Name
	k, err := s.openStack(n)
	if err != nil {
		return err
	}
	defer k.close()
	if c.Text != "" {
		return s.diffText(n, k, string(c.Text))
	}
	list, err := s.changes(n, k, ".")
	if err != nil {
		return err
	}
	if !c.All {
		list = worthSaying(list)
	}
	if c.JSON {
		return s.printJSON(list)
	}
	s.print(changeTable(list))
	s.step(n, "%s", summary(list))
	return nil
}

// changes lists what upper changes at a path and below.
func (s *session) changes(n instance.Name, k stack, at string) ([]changed, error) {
	list := []changed{}
	if k.upper == nil {
		return list, nil
	}
	err := layers.ChangesAt(s.ctx, k.upper, k.lowers, at, func(c layers.Change) error {
		generated, err := s.isGenerated(n, c)
		list = append(list, describeChange(c, generated))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n, interrupted(err))
	}
	return list, nil
}

// interrupted says it in the words of the other commands.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted: %w", err)
	}
	return err
}

func describeChange(c layers.Change, generated bool) changed {
	d := changed{Path: c.Path, Change: c.Kind, Generated: generated}
	if c.Kind == layers.Deleted {
		d.Type, d.Size, d.Files = c.Beneath.Type, c.HiddenBytes, c.HiddenFiles
	} else {
		d.Type, d.Size, d.Opaque = c.Upper.Type, c.Upper.Size, c.Upper.Opaque
	}
	if c.Beneath != nil {
		d.Beneath = &original{c.Beneath.Layer.Name, c.Beneath.Type, c.Beneath.Size}
	}
	return d
}

// serverConfigPath is where a start puts the generated server.cfg.
const serverConfigPath = "left4dead2/cfg/" + instance.ServerConfigFile

func (s *session) isGenerated(n instance.Name, c layers.Change) (bool, error) {
	if c.Path != serverConfigPath || c.Upper == nil || c.Upper.Type != layers.File {
		return false, nil
	}
	ours, err := instance.ReadFile(s.layout.ServerConfig(n), maxText)
	if err != nil || int64(len(ours)) != c.Upper.Size {
		return false, nil
	}
	theirs, err := c.Upper.Layer.Read(c.Path, maxText)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return string(ours) == string(theirs), err
}

// worthSaying leaves out what is the same as beneath, or as at every start.
func worthSaying(list []changed) []changed {
	some := []changed{}
	for _, c := range list {
		if c.Change != layers.Same && !c.Generated {
			some = append(some, c)
		}
	}
	return some
}

// changeTable has a line for each change: what, how large, and where.
func changeTable(list []changed) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, c := range list {
		bytes := "-"
		if c.Type == layers.File || c.Files > 0 {
			bytes = size(c.Size)
		}
		name := visible(c.Path)
		if c.Type == layers.Directory {
			name += "/"
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", c.Change, bytes, name, c.remark())
	}
	_ = w.Flush() // a strings.Builder takes everything
	return text.String()
}

// remark says what the columns do not.
func (c changed) remark() string {
	var parts []string
	switch {
	case c.Generated:
		parts = append(parts, "written from the spec at each start")
	case c.Change == layers.Added && c.Type != layers.File && c.Type != layers.Directory:
		parts = append(parts, "a "+string(c.Type))
	case c.Change == layers.Deleted && c.Type == layers.Directory:
		parts = append(parts, fmt.Sprintf("%d files", c.Files))
	case c.Change == layers.Modified && c.Type != c.Beneath.Type:
		parts = append(parts, fmt.Sprintf("a %s in the place of a %s", c.Type, c.Beneath.Type))
	case c.Opaque:
		parts = append(parts, "opaque: hides all that layers have there")
	case c.Change == layers.Modified && c.Type == layers.File && c.Size != c.Beneath.Size:
		parts = append(parts, "was "+size(c.Beneath.Size))
	case c.Change == layers.Modified && c.Type == layers.Directory:
		parts = append(parts, "mode or owner")
	}
	if c.Beneath != nil {
		parts = append(parts, "from "+c.Beneath.Layer)
	}
	if len(parts) == 0 {
		return ""
	}
	return "  (" + strings.Join(parts, ", ") + ")"
}

// summary counts.
func summary(list []changed) string {
	if len(list) == 0 {
		return "no changes"
	}
	counts := map[layers.Kind]int{}
	bytes := int64(0)
	for _, c := range list {
		counts[c.Change]++
		if c.Change != layers.Deleted {
			bytes += c.Size
		}
	}
	var parts []string
	for _, kind := range []layers.Kind{layers.Added, layers.Modified, layers.Deleted, layers.Same} {
		if counts[kind] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[kind], kind))
		}
	}
	return strings.Join(parts, ", ") + "; " + size(bytes) + " in these files"
}
