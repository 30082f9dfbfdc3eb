package cli

import (
	"fmt"
	"strings"

	"l4d2-host/internal/layers"
)

type conflictsCommand struct {
	Name nameArg `arg:"" help:"Instance whose layers to compare."`
	All  bool    `short:"a" help:"Also list files that are the same in all layers that bring them."`
	JSON bool    `help:"Print an array of objects, for programs."`
}

func (c *conflictsCommand) Help() string {
	return "The installation counts as a layer; the layer that wins comes first. " +
		"What the server itself has written is not looked at: see " + program + " diff.\n\n" +
		"Example: " + program + " conflicts versus"
}

// conflict is one path, and its object in the JSON: these keys are what
// programs may rely on.
type conflict struct {
	Path   string     `json:"path"`
	Layers []claimant `json:"layers"` // topmost first
	Same   bool       `json:"same"`   // all hold the same
	// HiddenBy is a layer above all of these, that has deleted or replaced a
	// directory on the way; null if the first of these wins.
	HiddenBy *string `json:"hidden_by"`
}

type claimant struct {
	Layer string      `json:"layer"` // overlays/NAME, releases/NAME/tree or installation
	Type  layers.Type `json:"type"`  // whiteout: it deletes the file
	Size  int64       `json:"size"`  // bytes
}

func (c *conflictsCommand) Run(s *session) error {
	n := c.Name.Name
	k, err := s.openStack(n)
	if err != nil {
		return err
	}
	defer k.close()
	list := []conflict{}
	err = layers.Conflicts(s.ctx, k.lowers, func(found layers.Conflict) error {
		if found.Same && !c.All {
			return nil
		}
		one := conflict{Path: found.Path, Same: found.Same}
		for _, f := range found.Claimants {
			one.Layers = append(one.Layers, claimant{f.Layer.Name, f.Type, f.Size})
		}
		if found.HiddenBy != nil {
			one.HiddenBy = &found.HiddenBy.Name
		}
		list = append(list, one)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", n, interrupted(err))
	}
	if c.JSON {
		return s.printJSON(list)
	}
	for _, one := range list {
		s.print(one.line())
	}
	if len(list) == 0 {
		s.step(n, "no conflicts between its %d layers", len(k.lowers))
	}
	return nil
}

func (c conflict) line() string {
	var parts []string
	for _, l := range c.Layers {
		what := string(l.Type)
		switch l.Type {
		case layers.File:
			what = size(l.Size)
		case layers.Whiteout:
			what = "deletes it"
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", l.Layer, what))
	}
	text := visible(c.Path) + ": " + strings.Join(parts, " over ")
	if c.Same {
		text += "; the same"
	}
	if c.HiddenBy != nil {
		text += "; all hidden by " + *c.HiddenBy
	}
	return text + "\n"
}
