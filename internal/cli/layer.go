package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layer"
)

// layerCommand is the commands about layers.
type layerCommand struct {
	Add    layerAddCommand    `cmd:"" help:"Make a layer from an archive or a directory."`
	Hide   layerHideCommand   `cmd:"" help:"Let a layer hide files of the layers below it."`
	List   layerListCommand   `cmd:"" help:"Show all layers, their size and who uses them."`
	Remove layerRemoveCommand `cmd:"" help:"Remove a layer that nobody uses."`
	Show   layerShowCommand   `cmd:"" help:"Show what is in a layer."`
	Update layerUpdateCommand `cmd:"" help:"Put a new version of a layer in the place of the present one."`
}

type layerAddCommand struct {
	Name    nameArg `arg:"" complete:"none" help:"Layer to make."`
	Archive string  `arg:"" complete:"file" help:"A zip, a tar (plain, gzip, bzip2, xz, zstd), a .vpk or a directory."`
	Under   string  `placeholder:"DIR" help:"Where in the game's root its contents belong, instead of finding out; . is the root itself." complete:"none"`
	Yes     bool    `short:"y" help:"Do not ask; without a terminal, it never does."`
}

// Help is what --help prints besides.
func (*layerAddCommand) Help() string {
	return "The contents are unpacked beside the other layers, shown, and become the layer in one step, owned by the game's user. " +
		"An archive with paths that lead out, devices, links that leave the layer or names that differ in case alone is refused whole.\n\n" +
		"Example: l4d2ctl layer add sourcemod sourcemod-1.12-linux.tar.gz"
}

func (c *layerAddCommand) Run(s *session) error {
	return s.putLayer(c.Name.Name, c.Archive, c.Under, c.Yes, false)
}

type layerUpdateCommand struct {
	Name    nameArg `arg:"" complete:"layer" help:"Layer to change."`
	Archive string  `arg:"" complete:"file" help:"As with add."`
	Under   string  `placeholder:"DIR" help:"Where in the game's root its contents belong, instead of finding out; . is the root itself." complete:"none"`
	Yes     bool    `short:"y" help:"Do not ask; without a terminal, it never does."`
}

// Help is what --help prints besides.
func (*layerUpdateCommand) Help() string {
	return "The new version holds what the archive holds and nothing of the present one. Running servers keep theirs until their next start. " +
		"The version before is kept; older ones are removed when no running server has them.\n\n" +
		"Example: l4d2ctl layer update sourcemod sourcemod-1.13-linux.tar.gz"
}

func (c *layerUpdateCommand) Run(s *session) error {
	return s.putLayer(c.Name.Name, c.Archive, c.Under, c.Yes, true)
}

type layerRemoveCommand struct {
	Name nameArg `arg:"" complete:"layer" help:"Layer to remove."`
	Yes  bool    `short:"y" help:"Do not ask; without a terminal, it never does."`
}

// Help is what --help prints besides.
func (*layerRemoveCommand) Help() string {
	return "Refused while an instance names the layer or runs with a version of it.\n\nExample: l4d2ctl layer remove old-maps"
}

func (c *layerRemoveCommand) Run(s *session) error {
	n := c.Name.Name
	catalog, err := s.changeLayers()
	if err != nil {
		return err
	}
	if err := s.confirmLayer(n, c.Yes, "this removes the layer with all its versions"); err != nil {
		return err
	}
	err = catalog.Remove(n)
	if errors.Is(err, layer.ErrUnknown) {
		s.result(n, "no such layer, nothing to remove")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	s.result(n, "removed")
	return nil
}

type layerHideCommand struct {
	Name  nameArg  `arg:"" complete:"layer" help:"Layer that hides them; it is made if it is not there."`
	Paths []string `arg:"" complete:"none" name:"path" help:"What to hide, relative to the game's root."`
}

// Help is what --help prints besides.
func (*layerHideCommand) Help() string {
	return "An instance with the layer does not see these files of the layers below, as if they were deleted, also after the game was updated. " +
		"The game's own libstdc++ and libgcc, which break some extensions, are hidden for good with the example; name the layer in the specs then.\n\n" +
		"Example: l4d2ctl layer hide system-libraries bin/libstdc++.so.6 bin/libgcc_s.so.1"
}

func (c *layerHideCommand) Run(s *session) error {
	n := c.Name.Name
	catalog, err := s.changeLayers()
	if err != nil {
		return err
	}
	if err := catalog.Hide(n, c.Paths); err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	s.result(n, "hides %s", strings.Join(c.Paths, ", "))
	s.tellUsers(catalog, n)
	return nil
}

// changeLayers returns the layers for a command that changes them.
func (s *session) changeLayers() (*layer.Catalog, error) {
	if err := s.superuser(); err != nil {
		return nil, err
	}
	c, err := s.catalog()
	if err != nil {
		return nil, err
	}
	c.Owner, err = s.LookUpOwner()
	return c, err
}

func (s *session) catalog() (*layer.Catalog, error) {
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	return &layer.Catalog{Layout: s.layout, Store: st, Owner: activation.Owner{}}, nil
}

func (s *session) putLayer(n instance.Name, archive, under string, yes, update bool) error {
	catalog, err := s.changeLayers()
	if err != nil {
		return err
	}
	src, err := layer.OpenSource(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	defer src.Close()
	s.step(n, "unpacking %s", archive)
	err = catalog.Put(s.ctx, n, src, under, update, func(p layer.Plan) error {
		s.step(n, "%s", describePlan(p))
		return s.confirmLayer(n, yes, "")
	})
	switch {
	case errors.Is(err, layer.ErrExists):
		return &problem{err: fmt.Errorf("%s: %w", n, err), hints: []string{fmt.Sprintf("a new version of it: %s layer update %s %s", program, n, archive)}}
	case errors.Is(err, layer.ErrUnknown):
		return &problem{err: fmt.Errorf("%s: %w", n, err), hints: []string{fmt.Sprintf("make it with: %s layer add %s %s", program, n, archive)}}
	case err != nil:
		return fmt.Errorf("%s: %s: %w", n, archive, err)
	}
	s.result(n, "%s", map[bool]string{true: "updated", false: "added"}[update])
	s.tellUsers(catalog, n)
	return nil
}

func describePlan(p layer.Plan) string {
	where := "to the game's root"
	if p.Under != layer.Root {
		where = "under " + p.Under + "/"
	}
	what := "its contents go"
	if p.From != layer.Root {
		what = fmt.Sprintf("the contents of %q in it go", p.From)
	}
	return fmt.Sprintf("%d files, %s: %s %s", p.Files, size(p.Bytes), what, where)
}

// tellUsers says what takes up the changed layer.
func (s *session) tellUsers(c *layer.Catalog, n instance.Name) {
	users, err := c.Users(n)
	switch {
	case err != nil:
		s.warn("%s: cannot tell who uses it: %v", n, err)
	case len(users) == 0:
		s.hint("name it under overlays: in a spec: %s edit NAME", program)
	default:
		for _, u := range users {
			s.step(n, "%s takes it up at its next start: %s restart %s", u, program, u)
		}
	}
}

// confirmLayer asks the operator, if there is one at a terminal; what says what
// is about to happen, if that was not shown.
func (s *session) confirmLayer(n instance.Name, yes bool, what string) error {
	in, ok := s.In.(*os.File)
	if yes || !ok || !isTerminal(in) {
		return nil
	}
	if what != "" {
		s.step(n, "%s", what)
	}
	return s.goOn(in, n)
}
