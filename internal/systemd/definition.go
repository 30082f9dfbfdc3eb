package systemd

import (
	"context"
)

// Definition is what systemd will do when it starts a unit, as it has read it.
type Definition struct {
	// Fragment is the unit file, and DropIns what changes it, in order. Both
	// are empty for a unit that is not installed.
	Fragment string
	DropIns  []string
	// Stale says that one of these files changed after systemd read it.
	Stale    bool
	Commands []Command
	// Environment is what Environment= sets, NAME=VALUE.
	Environment []string
	// EnvironmentFiles are read at each start, in order, and go before
	// Environment. One that is optional may be missing.
	EnvironmentFiles []EnvironmentFile
}

// Command is one ExecStart= line, its specifiers (%i) already replaced.
type Command struct {
	Words []string
	// Verbatim says that no variables are put into the words (":" in front).
	Verbatim bool
}

// EnvironmentFile is one EnvironmentFile= line.
type EnvironmentFile struct {
	Path     string
	Optional bool
}

// Definition returns what systemd knows of the service called name. A unit
// that is not installed has an empty one.
func (m *Manager) Definition(ctx context.Context, name string) (Definition, error) {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	p, err := m.conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Definition{}, onUnit("definition of", name, explain(err))
	}
	return definitionOf(p), nil
}

func definitionOf(p map[string]any) Definition {
	d := Definition{
		Fragment:    get[string](p, "FragmentPath"),
		DropIns:     get[[]string](p, "DropInPaths"),
		Stale:       get[bool](p, "NeedDaemonReload"),
		Environment: get[[]string](p, "Environment"),
	}
	// Of type a(sasasttttuii): the program, the words, the flags, times and
	// results of the last run (systemd 243).
	for _, c := range get[[][]any](p, "ExecStartEx") {
		if len(c) < 3 {
			continue
		}
		words, _ := c[1].([]string)
		flags, _ := c[2].([]string)
		command := Command{Words: words}
		for _, f := range flags {
			command.Verbatim = command.Verbatim || f == "no-env-expand"
		}
		d.Commands = append(d.Commands, command)
	}
	for _, file := range get[[][]any](p, "EnvironmentFiles") {
		if len(file) < 2 {
			continue
		}
		path, _ := file[0].(string)
		optional, _ := file[1].(bool)
		d.EnvironmentFiles = append(d.EnvironmentFiles, EnvironmentFile{path, optional})
	}
	return d
}

// Version returns systemd's own version, such as "252.39-1~deb12u1".
func (m *Manager) Version(ctx context.Context) (string, error) {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	v, err := m.calls.Object(systemdName, systemdPath).GetProperty(managerName + ".Version")
	if err != nil {
		return "", explain(err)
	}
	text, _ := v.Value().(string)
	return text, ctx.Err()
}
