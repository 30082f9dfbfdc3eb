package systemd

import (
	"context"
	"sync"

	sd "github.com/coreos/go-systemd/v22/dbus"
)

// Overview returns the state of the services called names, in their order, for
// a list of many: it asks for little of those that run and nothing of those
// that systemd has not even loaded. (All properties of a unit cost systemd some
// 3 ms, and loading one 1 ms: seconds for a few hundred.)
//
// The services are instances of one template that pattern fits, and target is
// what starts them at boot. Of each Unit there are Name, the states, Enabled
// (target wants it), and while it runs MainPID, NRestarts, Since and
// EnvironmentFiles.
func (m *Manager) Overview(ctx context.Context, pattern, target string, names []string) ([]Unit, error) {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	units := make([]Unit, len(names))
	if len(names) == 0 {
		return units, nil
	}
	// Asking for its property loads the target, and with it what it wants.
	wanted, err := m.wants(ctx, target)
	if err != nil {
		return nil, err
	}
	statuses, err := m.conn.ListUnitsByPatternsContext(ctx, nil, []string{pattern})
	if err != nil {
		return nil, onUnit("state of", pattern, explain(err))
	}
	loaded := make(map[string]Unit, len(statuses))
	for _, s := range statuses {
		loaded[s.Name] = Unit{Name: s.Name, LoadState: s.LoadState, ActiveState: s.ActiveState, SubState: s.SubState}
	}
	template := "loaded"
	if len(loaded) == 0 {
		first, err := m.unit(ctx, names[0])
		if err != nil {
			return nil, err
		}
		template = first.LoadState
	}
	var running []*Unit
	for i, name := range names {
		u, ok := loaded[name]
		if !ok {
			u = Unit{Name: name, LoadState: template, ActiveState: "inactive", SubState: "dead"}
		}
		u.Enabled = wanted[name]
		units[i] = u
		if !u.Stopped() {
			running = append(running, &units[i])
		}
	}
	return units, m.fill(ctx, running)
}

func (m *Manager) wants(ctx context.Context, target string) (map[string]bool, error) {
	p, err := m.conn.GetUnitPropertyContext(ctx, target, "Wants")
	if err != nil {
		return nil, onUnit("what starts with", target, explain(err))
	}
	names, _ := p.Value.Value().([]string)
	wanted := make(map[string]bool, len(names))
	for _, n := range names {
		wanted[n] = true
	}
	return wanted, nil
}

// fill asks for what Overview says of units that run, of several side by side.
func (m *Manager) fill(ctx context.Context, units []*Unit) error {
	errs := make([]error, len(units))
	slots := make(chan struct{}, asked)
	var all sync.WaitGroup
	for i, u := range units {
		all.Add(1)
		slots <- struct{}{}
		go func() {
			defer all.Done()
			errs[i] = m.fillOne(ctx, u)
			<-slots
		}()
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) fillOne(ctx context.Context, u *Unit) error {
	properties := map[string]any{"ActiveState": u.ActiveState}
	for _, key := range []string{"MainPID", "NRestarts", "EnvironmentFiles", "ActiveEnterTimestamp"} {
		var p *sd.Property
		var err error
		if key == "ActiveEnterTimestamp" {
			p, err = m.conn.GetUnitPropertyContext(ctx, u.Name, key)
		} else {
			p, err = m.conn.GetServicePropertyContext(ctx, u.Name, key)
		}
		if err != nil {
			return onUnit("state of", u.Name, explain(err))
		}
		properties[key] = p.Value.Value()
	}
	more := unitOf(u.Name, properties)
	u.MainPID, u.NRestarts, u.Since, u.EnvironmentFiles = more.MainPID, more.NRestarts, more.Since, more.EnvironmentFiles
	return nil
}
