package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/release"
	"l4d2-host/internal/store"
)

// completeCommand answers the shells' completions (packaging/completions): all
// of them ask it, so that they know what this program knows.
//
// Each line of the answer is a word, and behind a tab what it means. A line
// that begins with a colon has the shell complete files or directories itself.
//
// What a value can be is told by its field: a nameArg is an instance, unless
// the tag complete says "layer", "release", "file", "dir" or "none"; a string is nothing
// without the tag.
type completeCommand struct {
	Words []string `arg:"" optional:"" passthrough:"" help:"The command line, without the program; its last word is the one to complete."`
}

// Lines that have the shell complete by itself.
const (
	completeFiles       = ":file"
	completeDirectories = ":dir"
)

// Run never fails: whoever may not read the instances has no names, and an
// error would end up in the middle of the command line.
func (c *completeCommand) Run(s *session) error {
	words := c.Words
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 0 {
		return nil
	}
	for _, line := range s.complete(words[:len(words)-1], words[len(words)-1]) {
		s.print(line + "\n")
	}
	return nil
}

// complete returns the lines for the word current behind the words before.
func (s *session) complete(before []string, current string) []string {
	before = joinedWords(before)
	var line commandLine
	parser := s.newParser(&line)
	trace := func(words []string) *kong.Context {
		// what is wrong so far shows in Error
		t, _ := kong.Trace(parser, words)
		return t
	}
	if n := len(before); n > 0 && strings.HasPrefix(before[n-1], "-") {
		t := trace(before[:n-1])
		if flag := flagCalled(t, before[n-1]); flag != nil && !flag.IsBool() {
			return beginning(current, s.values(t, flag.Value, current))
		}
	}
	t := trace(before)
	if t.Error != nil {
		return nil
	}
	if name, value, found := strings.Cut(current, "="); found && strings.HasPrefix(name, "--") {
		flag := flagCalled(t, name)
		if flag == nil || flag.IsBool() {
			return nil
		}
		lines := beginning(value, s.values(t, flag.Value, value))
		for i, line := range lines {
			if !strings.HasPrefix(line, ":") {
				lines[i] = name + "=" + line
			}
		}
		return lines
	}
	if strings.HasPrefix(current, "-") {
		return beginning(current, flags(t))
	}
	node := t.Selected()
	if node == nil {
		node = t.Model.Node
	}
	if value := nextPositional(t, node); value != nil {
		return beginning(current, s.values(t, value, current))
	}
	var lines []string
	for _, child := range node.Children {
		if !child.Hidden {
			lines = append(lines, child.Name+"\t"+child.Help)
		}
	}
	return beginning(current, lines)
}

// joinedWords drops the "=" of --flag=value, which bash makes a word of its own.
func joinedWords(words []string) []string {
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool { return w == "=" })
}

// beginning returns the lines that begin with what has been typed.
func beginning(typed string, lines []string) []string {
	return slices.DeleteFunc(lines, func(line string) bool {
		return !strings.HasPrefix(line, typed) && !strings.HasPrefix(line, ":")
	})
}

// flagCalled is the flag that a word like --yes or -y gives, or nil.
func flagCalled(t *kong.Context, word string) *kong.Flag {
	for _, f := range t.Flags() {
		if word == "--"+f.Name || f.Short != 0 && word == "-"+string(f.Short) {
			return f
		}
	}
	return nil
}

// flags are those that can still be given.
func flags(t *kong.Context) []string {
	var lines []string
	for _, f := range t.Flags() {
		if !f.Hidden && (!given(t, f) || f.IsCumulative()) {
			lines = append(lines, "--"+f.Name+"\t"+f.Help)
		}
	}
	return lines
}

// nextPositional is the argument of node that the next word would be, or nil.
func nextPositional(t *kong.Context, node *kong.Node) *kong.Positional {
	next := 0
	for _, p := range t.Path {
		if p.Positional != nil {
			next = p.Positional.Position + 1
		}
	}
	if last := len(node.Positional); next == last && last > 0 && node.Positional[last-1].IsCumulative() {
		next--
	}
	if next < len(node.Positional) {
		return node.Positional[next]
	}
	return nil
}

// values are the lines for what v can be; some only those that begin with what
// has been typed.
func (s *session) values(t *kong.Context, v *kong.Value, typed string) []string {
	if v.Enum != "" {
		return v.EnumSlice()
	}
	kind := v.Tag.Get("complete")
	switch {
	case kind != "":
	case isOf[nameArg](v.Target.Type()):
		kind = "instance"
	case isOf[gamePath](v.Target.Type()):
		kind = "path"
	}
	names := kind == "instance" || kind == "layer" || kind == "release" || kind == "path"
	if elsewhere := flagCalled(t, "--host"); names && elsewhere != nil && given(t, elsewhere) {
		return nil // they are another machine's
	}
	switch kind {
	case "instance":
		instances, _ := (&store.Store{Layout: s.rootOf(t)}).List()
		return notYet(t, v, instances)
	case "layer":
		return notYet(t, v, layerNames(s.rootOf(t)))
	case "release":
		releases, _ := release.Names(s.rootOf(t))
		return notYet(t, v, releases)
	case "path":
		return s.pathsBelow(t, typed)
	case "file":
		return []string{completeFiles}
	case "dir":
		return []string{completeDirectories}
	}
	return nil
}

func given(t *kong.Context, flag *kong.Flag) bool {
	return slices.ContainsFunc(t.Path, func(p *kong.Path) bool { return p.Flag == flag })
}

// isOf says that a value is one of type T, or several.
func isOf[T any](typ reflect.Type) bool {
	if typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	return typ == reflect.TypeFor[T]()
}

// rootOf is where the command line that is being typed will look.
func (s *session) rootOf(t *kong.Context) instance.Layout {
	if flag := flagCalled(t, "--root"); flag != nil {
		if root, _ := t.FlagValue(flag).(string); root != "" {
			if layout, err := instance.NewLayout(root); err == nil {
				return layout
			}
		}
	}
	return s.layout
}

// layerNames are the names in overlays/; a symbolic link may be one.
func layerNames(l instance.Layout) []instance.Name {
	entries, _ := os.ReadDir(l.Overlays())
	var names []instance.Name
	for _, e := range entries {
		info, err := os.Stat(l.Overlays() + "/" + e.Name())
		if n, nameErr := instance.ParseName(e.Name()); nameErr == nil && err == nil && info.IsDir() {
			names = append(names, n)
		}
	}
	return names
}

// notYet leaves out the names that were typed already for an argument that
// takes several.
func notYet(t *kong.Context, v *kong.Value, names []instance.Name) []string {
	var lines []string
	for _, n := range names {
		if !v.IsCumulative() || !slices.Contains(t.Args, string(n)) {
			lines = append(lines, string(n))
		}
	}
	return lines
}
