// Package inuse tells which directories the mounted instances are made of, so
// that nothing is removed or changed beneath a running server. The kernel does
// not tell; the records of starts do (package record).
package inuse

import (
	"strings"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/record"
)

// Use is what is mounted at one moment.
type Use struct {
	// Starts are the records of the mounted instances.
	Starts map[instance.Name]record.Start
	// Unclear are mounted too, and were not written down in a form that can be
	// read: each counts as a user of everything.
	Unclear []instance.Name

	with map[record.Directory][]instance.Name
}

// Find looks at the mounts of process 1, where the helper makes them, and at
// those that this process sees.
func Find(l instance.Layout) (Use, error) {
	mounts, err := mountinfo.PID(1)
	if err != nil {
		return Use{}, err
	}
	own, err := mountinfo.Self()
	if err != nil {
		return Use{}, err
	}
	u := Use{Starts: map[instance.Name]record.Start{}, with: map[record.Directory][]instance.Name{}}
	seen := map[string]bool{}
	for _, m := range append(mounts, own...) {
		name, ours := strings.CutPrefix(m.Source, "l4d2:")
		n, err := instance.ParseName(name)
		if m.FSType != "overlay" || !ours || err != nil || seen[name] {
			continue
		}
		seen[name] = true
		start, err := record.ReadStart(l, n)
		if err != nil {
			u.Unclear = append(u.Unclear, n)
			continue
		}
		u.Starts[n] = start
		for _, layer := range start.Layers {
			u.with[layer.Directory] = append(u.with[layer.Directory], n)
		}
	}
	return u, nil
}

// Of returns the instances that are mounted with this directory, or may be.
func (u Use) Of(dir record.Directory) []instance.Name {
	return append(append([]instance.Name{}, u.with[dir]...), u.Unclear...)
}
