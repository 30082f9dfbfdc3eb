package cli

import (
	"regexp"
	"strings"
	"testing"
)

// The help of every command ends with an example, which is one of that command
// and could be typed.
func TestHelpHasExample(t *testing.T) {
	p := New("1.2.3")
	example := regexp.MustCompile(`(?:^|\n\n)Example: (?:[A-Z_]+=\S+ )?l4d2ctl (.*)$`)
	for _, command := range p.Model().Leaves(true) {
		m := example.FindStringSubmatch(command.Detail)
		if m == nil {
			t.Errorf("%s: the help does not end with a paragraph \"Example: %s …\": %q", command.FullPath(), command.FullPath(), command.Detail)
			continue
		}
		parsed, err := p.newParser(new(commandLine)).Parse(strings.Fields(m[1]))
		if err != nil || parsed.Selected().Path() != command.Path() {
			t.Errorf("%s: the example %q: %v", command.FullPath(), m[1], err)
		}
	}
}
