package activation

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/overlay"
)

// Inspect returns what the next Mount would refuse or warn of, and changes
// nothing. It looks at the tree: not at the port, nor at whether an overlay of
// this instance is mounted already. Root only.
func (a *Activation) Inspect() []error {
	env, err := instance.ReadEnv(a.Layout, a.Name)
	if err != nil {
		return []error{err}
	}
	dir, err := a.openRuntime(false)
	if errors.Is(err, fs.ErrNotExist) {
		if dir, err = unix.Open(a.Layout.RuntimeDir(), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return []error{err}
		}
		defer unix.Close(dir)
		return some(a.inspectLayers(env), overlay.CheckPlace(dir))
	}
	if err != nil {
		return []error{err}
	}
	defer unix.Close(dir)
	return a.inspect(dir, env)
}

// inspectLayers looks at the layers of an instance that never ran.
func (a *Activation) inspectLayers(env instance.Env) error {
	s := stack{Stack: overlay.Stack{Upper: -1, Work: -1}, overlays: -1}
	defer s.close()
	if err := a.openLayers(&s, env.Lowers); err != nil {
		return err
	}
	return a.checkWritable(s, a.merged(s))
}

func (a *Activation) inspect(dir int, env instance.Env) []error {
	target := a.target(dir)
	occupant, err := target.Occupant()
	if err != nil {
		return []error{err}
	}
	if occupant != nil && !occupant.IsOverlay(a.source()) {
		return []error{a.foreign(target, occupant)}
	}
	s, err := a.openStack(dir, env, false)
	defer s.close()
	if err != nil {
		return []error{err}
	}
	if s.Upper < 0 || s.Work < 0 {
		return some(overlay.CheckPlace(dir), a.checkWritable(s, a.merged(s)))
	}
	var used error
	if occupant == nil {
		_, used = a.checkUnused(s.Work, s.Upper)
	}
	return some(s.explain(s.Check(target)), used, a.checkWritable(s, a.merged(s)))
}

func some(errs ...error) []error {
	var found []error
	for _, err := range errs {
		if err != nil {
			found = append(found, err)
		}
	}
	return found
}
