package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/record"
	"l4d2-host/internal/secret"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
	"l4d2-host/internal/tree"
)

// change is one thing that a restart would change.
type change struct {
	What   string `json:"what"`   // port, arguments, release, layers, layer NAME, server.cfg, unit
	Detail string `json:"detail"` // in words, passwords masked
}

// addUnapplied tells whether the spec says something else than the files that
// were generated from it, which are what the next start uses.
func (s *session) addUnapplied(v *status, st *store.Store) {
	sp, env, err := st.Load(v.Name)
	var config []byte
	if err == nil {
		config, err = instance.ReadFile(s.layout.ServerConfig(v.Name), maxServerConfig)
	}
	if err != nil {
		v.Unknown.because("unapplied", err)
		return
	}
	wanted, err := sp.Env()
	unapplied := err != nil || !sameEnv(wanted, env) || !bytes.Equal(sp.ServerConfig(), config)
	v.Unapplied = &unapplied
}

// maxServerConfig is what the helper takes for a server.cfg, in bytes.
const maxServerConfig = 1 << 20

func sameEnv(a, b instance.Env) bool {
	return a.Port == b.Port && a.Args == b.Args && slices.Equal(a.Lowers, b.Lowers)
}

// addPending compares what the server was started with to what the next start
// would use. A start of nil is not known.
func (s *session) addPending(ctx context.Context, v *status, u systemd.Unit, start *record.Start) {
	if start == nil {
		return
	}
	env, err := instance.ReadEnv(s.layout, v.Name)
	var config []byte
	if err == nil {
		config, err = instance.ReadFile(s.layout.ServerConfig(v.Name), maxServerConfig)
	}
	if err != nil {
		v.Unknown.because("pending", err)
		return
	}
	v.Pending = []change{}
	add := func(what, format string, args ...any) {
		v.Pending = append(v.Pending, change{what, fmt.Sprintf(format, args...)})
	}
	if env.Port != start.Env.Port {
		add("port", "%d instead of %d", env.Port, start.Env.Port)
	}
	if env.Args != start.Env.Args {
		add("arguments", "%s instead of %s", commandLineOf(env.Args), commandLineOf(start.Env.Args))
	}
	if was, will := operators(start.Env.Lowers), operators(env.Lowers); !slices.Equal(will, was) {
		add("layers", "%s", describeLayers(was, will))
	}
	if detail, err := s.changedBase(start, env); err != nil {
		v.Unknown.because("pending", err)
	} else if detail != "" {
		add("release", "%s", detail)
	}
	if !bytes.Equal(config, start.ServerConfig) {
		add(instance.ServerConfigFile, "%s", describeLines(string(start.ServerConfig), string(config)))
	}
	if detail := s.copyOfConfig(v.Name, start); detail != "" {
		add(instance.ServerConfigFile, "%s", detail)
	}
	if u.Stale {
		add("unit", "its files changed; systemctl daemon-reload has systemd read them")
	}
	s.addChangedLayers(ctx, v, start, env)
}

// copyOfConfig says what became of the server.cfg in the server's tree, which
// the game can replace.
func (s *session) copyOfConfig(n instance.Name, start *record.Start) string {
	upper, err := layers.Upper(s.layout, n)
	if err != nil {
		return "" // the disk's size, which is asked for next, says it
	}
	defer upper.Close()
	switch text, err := upper.Read(serverConfigPath, maxServerConfig); {
	case errors.Is(err, fs.ErrPermission):
		return ""
	case err != nil:
		return "the server has removed or replaced its own; the generated one comes back"
	case !bytes.Equal(text, start.ServerConfig):
		return "the server has changed its own; the generated one comes back"
	}
	return ""
}

// commandLineOf shows L4D2_ARGS, without what is secret in it.
func commandLineOf(args string) string {
	words, err := envfile.SplitWords(args)
	if err != nil {
		return "what cannot be read"
	}
	if len(words) == 0 {
		return "none"
	}
	// To be read and not typed: the asterisks of what is masked as they are.
	return strings.ReplaceAll(shellquote.Join(secret.Words(words)...), `\*`, "*")
}

// describeLayers says what differs between two lists of layers.
func describeLayers(was, will []string) string {
	var parts []string
	for _, l := range will {
		if !slices.Contains(was, l) {
			parts = append(parts, "with "+layerName(l))
		}
	}
	for _, l := range was {
		if !slices.Contains(will, l) {
			parts = append(parts, "without "+layerName(l))
		}
	}
	if len(parts) == 0 {
		return "in another order"
	}
	return strings.Join(parts, ", ")
}

// layerName is what the operator calls a layer.
func layerName(lower string) string {
	if _, isRelease := chain.Of(lower); isRelease {
		return path.Dir(lower)
	}
	return strings.TrimPrefix(lower, instance.OverlaysDir+"/")
}

// operators are the layers above the game.
func operators(lowers []string) []string {
	return slices.DeleteFunc(slices.Clone(lowers), chain.IsBase)
}

// changedBase says what becomes of the game beneath the layers. What counts is
// the directories: an installation that was made a release is still the same.
func (s *session) changedBase(start *record.Start, next instance.Env) (string, error) {
	names, err := chain.Expand(s.layout, next.Lowers)
	if err != nil {
		return "", err
	}
	was := slices.DeleteFunc(slices.Clone(s.named(*start).Layers), func(l record.Layer) bool { return !chain.IsBase(l.Name) })
	will := slices.DeleteFunc(names, func(name string) bool { return !chain.IsBase(name) })
	same := len(was) == len(will)
	for i := 0; same && i < len(will); i++ {
		var st unix.Stat_t
		p := filepath.Join(s.layout.Root(), will[i])
		if err := unix.Stat(p, &st); err != nil {
			return "", &fs.PathError{Op: "stat", Path: p, Err: err}
		}
		same = was[i].Directory == record.Directory{Dev: st.Dev, Ino: st.Ino}
	}
	switch {
	case same, was[0].Name == instance.InstallationLayer && will[0] == was[0].Name:
		return "", nil // or said with the layers
	case layerName(was[0].Name) == layerName(will[0]):
		return "another directory is at " + layerName(will[0]) + " now", nil
	}
	return baseName(will[0]) + " instead of " + baseName(was[0].Name), nil
}

// baseName is the name of a release, or "installation".
func baseName(layer string) string { return path.Base(layerName(layer)) }

// describeLines counts; the lines can hold passwords.
func describeLines(was, will string) string {
	count := map[string]int{}
	for _, line := range strings.Split(was, "\n") {
		count[line]--
	}
	for _, line := range strings.Split(will, "\n") {
		count[line]++
	}
	added, removed := 0, 0
	for _, n := range count {
		added, removed = added+max(n, 0), removed+max(-n, 0)
	}
	if added+removed == 0 {
		return "its lines in another order"
	}
	return fmt.Sprintf("lines added: %d, removed: %d", added, removed)
}

// addChangedLayers looks for layers that are not what they were at the start:
// another directory, or other files in it. What a server sees of the latter
// before a restart is undefined.
func (s *session) addChangedLayers(ctx context.Context, v *status, start *record.Start, next instance.Env) {
	overlays, err := unix.Open(s.layout.Overlays(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		v.Unknown.because("pending", &fs.PathError{Op: "open", Path: s.layout.Overlays(), Err: err})
		return
	}
	defer unix.Close(overlays)
	for _, l := range start.Layers {
		// Nobody writes to a release, but folding one into another links its files,
		// and that shows as a change.
		lower := l.Name
		if _, isRelease := chain.Of(lower); isRelease || !slices.Contains(next.Lowers, lower) {
			continue
		}
		if now, err := chain.Current(s.layout); err == nil && now != "" && lower == instance.InstallationLayer {
			continue
		}
		detail, err := s.changedLayer(ctx, overlays, lower, start, l.Directory)
		if detail != "" {
			v.Pending = append(v.Pending, change{"layer " + layerName(lower), detail})
		}
		if err != nil {
			v.Unknown["pending"] = fmt.Sprintf("layer %s was not looked through: %s", layerName(lower), missed(err))
		}
	}
}

// pathsNamed is how many of the paths in which a layer changed are named.
const pathsNamed = 3

func (s *session) changedLayer(ctx context.Context, overlays int, lower string, start *record.Start, was record.Directory) (string, error) {
	fd, _, err := layers.OpenDir(overlays, lower, filepath.Join(s.layout.Root(), lower))
	if errors.Is(err, unix.ENOENT) {
		return "it is gone", nil
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	now, err := record.DirectoryOf(fd)
	if err != nil {
		return "", err
	}
	if now != was {
		return "another directory has its name now", nil
	}
	c := tree.ChangedSince(ctx, fd, start.At, pathsNamed)
	if c.Count == 0 {
		return "", c.Missed
	}
	names := make([]string, len(c.Paths))
	for i, p := range c.Paths {
		names[i] = visible(p)
	}
	if c.Count > len(names) {
		names = append(names, "…")
	}
	return fmt.Sprintf("changed since the start: %d (%s)", c.Count, strings.Join(names, ", ")), c.Missed
}
