package cli

import (
	"path"
	"strings"

	"github.com/alecthomas/kong"

	"l4d2-host/internal/instance"
)

// pathsBelow are the files and directories that the instance of the command line
// sees in the directory that has been typed so far.
func (s *session) pathsBelow(t *kong.Context, typed string) []string {
	n, found := instanceOf(t)
	dir, begun := path.Split(typed)
	at := gamePath(".")
	if !found || dir != "" && at.UnmarshalText([]byte(dir)) != nil {
		return nil
	}
	there := *s
	there.layout = s.rootOf(t)
	k, err := there.lookInto(n)
	if err != nil {
		return nil
	}
	defer k.close()
	v := k.view()
	node, err := v.Lookup(string(at))
	if err != nil {
		return nil
	}
	names, err := v.Names(node)
	if err != nil {
		return nil
	}
	var lines []string
	for _, name := range names {
		if !strings.HasPrefix(name, begun) || strings.ContainsFunc(name, special) {
			continue
		}
		child, err := v.Child(node, name)
		if err != nil || child.Top() == nil {
			continue
		}
		if child.IsDir() {
			name += "/"
		}
		lines = append(lines, dir+name)
	}
	return lines
}

// special says that a shell, or one of its completions, would not take the
// character for itself: a server can give its files any name, and what is put on
// a command line gets executed. Names with such are to be typed.
func special(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+@,%", r))
}

// instanceOf is the instance that the command line names.
func instanceOf(t *kong.Context) (instance.Name, bool) {
	for _, p := range t.Path {
		if p.Positional == nil {
			continue
		}
		if name, ok := t.Value(p).Interface().(nameArg); ok {
			return name.Name, true
		}
	}
	return "", false
}
