package cli

import (
	"fmt"
	"strings"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

type whichCommand struct {
	Name  nameArg    `arg:"" help:"Instance to look at."`
	Paths []gamePath `arg:"" name:"path" help:"Files or directories, relative to the game's root."`
	JSON  bool       `help:"Print an array of objects, for programs."`
}

func (c *whichCommand) Help() string {
	return "Works on a stopped and on a running server. Fails if one of the paths is not there.\n\n" +
		"Example: " + program + " which versus left4dead2/addons/sourcemod/plugins/ready.smx"
}

// origin is one path, and its object in the JSON: these keys are what programs
// may rely on. Layers are upper, overlays/NAME, releases/NAME/tree and, where that
// is no release, installation.
type origin struct {
	Path string       `json:"path"`
	Type *layers.Type `json:"type"` // null if the server does not see it
	// From is the layer that it comes from, for a directory all that are merged.
	From []string `json:"from"`
	// DeletedBy is the layer that hides all below it; null if the path is there.
	DeletedBy *string `json:"deleted_by"`
	// DeletedAt is where: the path or a parent of it.
	DeletedAt *string `json:"deleted_at"`
	// Shadows is what lower layers have there, topmost first.
	Shadows []shadow `json:"shadows"`
}

type shadow struct {
	Layer string      `json:"layer"`
	Type  layers.Type `json:"type"`
	Size  int64       `json:"size"` // bytes
	Same  bool        `json:"same"` // as what shadows it
}

func (c *whichCommand) Run(s *session) error {
	n := c.Name.Name
	k, err := s.openStack(n)
	if err != nil {
		return err
	}
	defer k.close()
	list := make([]origin, len(c.Paths))
	var missing problems
	for i, path := range c.Paths {
		if list[i], err = s.origin(k.view(), string(path)); err != nil {
			return fmt.Errorf("%s: %w", n, interrupted(err))
		}
		if list[i].Type == nil {
			missing = append(missing, list[i].missing(n))
		}
	}
	if c.JSON {
		if err := s.printJSON(list); err != nil {
			return err
		}
	} else {
		for _, o := range list {
			s.print(o.line())
		}
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}

func (s *session) origin(v layers.View, path string) (origin, error) {
	o := origin{Path: path, From: []string{}, Shadows: []shadow{}}
	node, err := v.Lookup(path)
	if err != nil {
		return o, err
	}
	showing := map[*layers.Layer]bool{}
	for _, f := range node.Shown {
		showing[f.Layer] = true
		o.From = append(o.From, f.Layer.Name)
	}
	top := node.Top()
	if top != nil {
		o.Type = &top.Type
	} else if node.Hider != nil {
		o.DeletedBy, o.DeletedAt = &node.Hider.Layer.Name, &node.HiderPath
	}
	all, err := v.Raw(path)
	if err != nil {
		return o, err
	}
	for _, f := range all {
		if showing[f.Layer] || f.Type == layers.Whiteout {
			continue
		}
		same := false
		if top != nil {
			if same, err = layers.SameContent(s.ctx, path, *top, f); err != nil {
				return o, err
			}
		}
		o.Shadows = append(o.Shadows, shadow{f.Layer.Name, f.Type, f.Size, same})
	}
	return o, nil
}

// line is "PATH: from LAYER; shadows …", or nothing for what is not there.
func (o origin) line() string {
	if o.Type == nil {
		return ""
	}
	text := fmt.Sprintf("%s: %s from %s", visible(o.Path), *o.Type, strings.Join(o.From, ", "))
	if len(o.Shadows) > 0 {
		text += "; shadows " + o.shadows()
	}
	return text + "\n"
}

func (o origin) shadows() string {
	var parts []string
	for _, f := range o.Shadows {
		what := string(f.Type)
		if f.Type == layers.File {
			what = size(f.Size)
		}
		if f.Same && f.Type != layers.Directory {
			what += ", the same"
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", f.Layer, what))
	}
	return strings.Join(parts, ", ")
}

func (o origin) missing(n instance.Name) error {
	if o.DeletedBy == nil {
		return fmt.Errorf("%s: no layer has %s", n, visible(o.Path))
	}
	text := fmt.Sprintf("%s: %s is not there: hidden by %s in %s", n, visible(o.Path), visible(*o.DeletedAt), *o.DeletedBy)
	if len(o.Shadows) > 0 {
		text += ", which shadows " + o.shadows()
	}
	p := &problem{err: fmt.Errorf("%s", text)}
	if *o.DeletedBy == layers.UpperName {
		p.hints = []string{fmt.Sprintf("get it back with: %s reset %s %s", program, n, visible(*o.DeletedAt))}
	}
	return p
}
