package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/plan"
	"l4d2-host/internal/record"
	"l4d2-host/internal/systemd"
	"l4d2-host/internal/tree"
)

type planCommand struct {
	Name nameArg `arg:"" help:"Instance to look at."`
	All  bool    `short:"a" help:"Name all files, however many."`
	JSON bool    `help:"Print an object, for programs." name:"json"`
}

// Help is what --help prints besides.
func (*planCommand) Help() string {
	return "Compares with the start that it runs on or, while it is stopped, with the last one: release, layers, settings and files, " +
		"and which of its own files hide newer ones of a layer.\n\n" +
		"Example: l4d2ctl plan versus"
}

// planned is what the next start would bring, and its JSON: these keys are what
// programs may rely on.
type planned struct {
	Name    instance.Name `json:"name"`
	Running bool          `json:"running"`
	Since   *time.Time    `json:"since"` // RFC 3339, UTC: the start that it is compared with; null before the first
	// Unapplied says that the spec was edited since, and init not run: the next
	// start does not go by it.
	Unapplied *bool         `json:"unapplied"`
	Changes   []change      `json:"changes"` // of settings, release and layers, as those that status tells of
	Was       []planLayer   `json:"was"`     // the layers of that start, topmost first
	Will      []planLayer   `json:"will"`    // those of the next one
	Files     []plannedFile `json:"files"`   // of the layers, which differ
	Hiding    []hiding      `json:"hiding"`  // its own files that hide newer ones
	Unknown   unknowns      `json:"unknown"` // key: why it is not known, or not all of it
}

// planLayer is a directory of the tree.
type planLayer struct {
	Layer string `json:"layer"` // overlays/NAME, installation, or the tree of a release
	Same  bool   `json:"same"`  // it is in both lists, in the same order
}

// plannedFile is a file that the layers show otherwise after the next start.
type plannedFile struct {
	Path string `json:"path"`
	// Change is added, changed, removed, or rewritten: in place, so that nobody
	// knows how it was.
	Change string       `json:"change"`
	Type   layers.Type  `json:"type"`   // of what will be there, or was
	Size   int64        `json:"size"`   // in bytes
	Layer  *string      `json:"layer"`  // that it will come from; null if removed
	Before *string      `json:"before"` // that it came from; null if added
	Hidden bool         `json:"hidden"` // the server does not see it: its own files are above
	kind   layers.Found // what type and size are of
}

// hiding is one of the server's own files in the place of a newer one.
type hiding struct {
	Path  string    `json:"path"`
	Reset string    `json:"reset"` // what to give up to see the newer one
	Since time.Time `json:"since"` // when it was made
	Layer string    `json:"layer"` // that has the newer one
	Newer time.Time `json:"newer"` // when that was made
	Same  bool      `json:"same"`  // both hold the same
}

func (c *planCommand) Run(s *session) error {
	n := c.Name.Name
	if err := s.superuser(); err != nil {
		return err
	}
	if err := s.known([]instance.Name{n}); err != nil {
		return err
	}
	v, err := s.plan(n)
	if err != nil {
		return fmt.Errorf("%s: %w", n, interrupted(err))
	}
	if c.JSON {
		return s.printJSON(v)
	}
	most := planLines
	if c.All {
		most = math.MaxInt
	}
	s.print(s.describePlan(v, most))
	for _, hint := range v.hints() {
		s.hint("%s", hint)
	}
	return nil
}

// plan finds out all there is to say.
func (s *session) plan(n instance.Name) (*planned, error) {
	v := &planned{Name: n, Changes: []change{}, Was: []planLayer{}, Will: []planLayer{}, Files: []plannedFile{}, Hiding: []hiding{}, Unknown: unknowns{}}
	env, err := instance.ReadEnv(s.layout, n)
	if err != nil {
		return nil, err
	}
	u, err := s.stateForPlan(n)
	if err != nil {
		return nil, err
	}
	v.Running = !u.Stopped()
	names, err := chain.Expand(s.layout, env.Lowers)
	if err != nil {
		return nil, err
	}
	will, err := layers.Open(s.layout, names)
	if err != nil {
		return nil, fmt.Errorf("the next start would fail: %w", err)
	}
	defer will.Close()
	upper, err := s.upper(n)
	if err != nil {
		return nil, err
	}
	if upper != nil {
		defer upper.Close()
	}
	if err := s.addComparison(v, u, stack{upper, will}); err != nil {
		return nil, err
	}
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	spec := &status{Unknown: v.Unknown}
	spec.Name = n
	s.addUnapplied(spec, st)
	v.Unapplied = spec.Unapplied
	return v, s.addHiding(v, stack{upper, will})
}

// stateForPlan is the instance's unit; a stopped one where there is no systemd.
func (s *session) stateForPlan(n instance.Name) (systemd.Unit, error) {
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		return systemd.Unit{ActiveState: "inactive"}, nil
	}
	if err != nil {
		return systemd.Unit{}, err
	}
	defer m.Close()
	u, err := s.unit(m, n)
	if err == nil && s.foreign(u, n) {
		return systemd.Unit{ActiveState: "inactive"}, nil
	}
	return u, err
}

// addComparison compares with the last start, if that is known.
func (s *session) addComparison(v *planned, u systemd.Unit, next stack) error {
	start, err := record.ReadStart(s.layout, v.Name)
	switch {
	case errors.Is(err, record.ErrNone) && !v.Running:
		for _, l := range next.lowers {
			v.Will = append(v.Will, planLayer{l.Name, false})
		}
		return nil
	case err == nil && v.Running && start.At.Before(u.Begun):
		err = errors.New("what was written down is of an earlier start")
		fallthrough
	case err != nil:
		v.Unknown.because("changes", err)
		v.Unknown.because("files", err)
		return nil
	}
	at := start.At.UTC().Truncate(time.Second)
	v.Since = &at
	pending := &status{Unknown: unknowns{}}
	pending.Name = v.Name
	s.addPending(s.ctx, pending, u, &start)
	v.Changes = append(v.Changes, pending.Pending...)
	if why := pending.Unknown["pending"]; why != "" {
		v.Unknown["changes"] = why
	}
	was, err := plan.Was(s.layout, start)
	if errors.Is(err, plan.ErrGone) {
		v.Unknown.because("files", err)
		for _, l := range start.Layers {
			v.Was = append(v.Was, planLayer{l.Name, false})
		}
		for _, l := range next.lowers {
			v.Will = append(v.Will, planLayer{l.Name, false})
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer was.Close()
	return s.addFiles(v, start, was, next)
}

// addFiles adds what differs in the layers.
func (s *session) addFiles(v *planned, start record.Start, was layers.View, next stack) error {
	same, err := plan.Common(was, next.lowers)
	if err != nil {
		return err
	}
	for _, l := range was {
		v.Was = append(v.Was, planLayer{l.Name, same.Has(l)})
	}
	for _, l := range next.lowers {
		v.Will = append(v.Will, planLayer{l.Name, same.Has(l)})
	}
	err = plan.Files(s.ctx, was, next.lowers, same, func(f plan.File) error {
		d := plannedFile{Path: f.Path, Change: string(f.Kind)}
		if f.Was != nil {
			d.Before, d.kind = &f.Was.Layer.Name, *f.Was
		}
		if f.Will != nil {
			d.Layer, d.kind = &f.Will.Layer.Name, *f.Will
		}
		return s.addFile(v, next, d)
	})
	if err != nil {
		return err
	}
	for _, l := range next.lowers {
		// Nobody writes to a release, and folding one into another links its files.
		if _, isRelease := chain.Of(l.Name); isRelease || !same.Has(l) {
			continue
		}
		changes := tree.ChangedSince(s.ctx, l.Dir, start.At, math.MaxInt)
		if changes.Missed != nil {
			v.Unknown["files"] = fmt.Sprintf("layer %s was not looked through: %s", layerName(l.Name), changes.Missed)
		}
		slices.Sort(changes.Paths)
		for _, p := range changes.Paths {
			e, err := l.Stat(p)
			if errors.Is(err, fs.ErrNotExist) || err == nil && e.Type == layers.Directory {
				continue
			}
			if err != nil {
				return err
			}
			d := plannedFile{Path: p, Change: "rewritten", Layer: &l.Name, Before: &l.Name, kind: layers.Found{Layer: l, Entry: e}}
			if err := s.addFile(v, next, d); err != nil {
				return err
			}
		}
	}
	return s.ctx.Err()
}

func (s *session) addFile(v *planned, next stack, d plannedFile) error {
	d.Type, d.Size = d.kind.Type, d.kind.Size
	if next.upper != nil {
		n, err := next.view().Lookup(d.Path)
		if err != nil {
			return err
		}
		top := n.Top()
		d.Hidden = top != nil && top.Layer == next.upper && top.Type != layers.Directory ||
			top == nil && n.Hider != nil && n.Hider.Layer == next.upper
	}
	v.Files = append(v.Files, d)
	return nil
}

// addHiding adds the server's own files that hide newer ones, but for the
// server.cfg, which each start writes.
func (s *session) addHiding(v *planned, next stack) error {
	if next.upper == nil {
		return nil
	}
	err := layers.Newer(s.ctx, next.upper, next.lowers, 0, func(f layers.Stale) error {
		if f.Path == serverConfigPath {
			return nil
		}
		same, err := layers.SameContent(s.ctx, f.Path, f.Upper, f.Newer)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		v.Hiding = append(v.Hiding, hiding{f.Path, f.Reset, f.UpperBorn.UTC().Truncate(time.Second), f.Newer.Layer.Name, f.NewerBorn.UTC().Truncate(time.Second), same})
		return err
	})
	slices.SortFunc(v.Hiding, func(a, b hiding) int { return strings.Compare(a.Path, b.Path) })
	return err
}
