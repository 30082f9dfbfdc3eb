// Package man holds the manual pages, in the markdown that go-md2man makes roff
// of; its tests hold them against the code. A page is NAME.SECTION.md: its first
// line is the title, "##" is a section, "###" a subsection, and a line with ": "
// in front explains the term on the line before it.
package man

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"l4d2-host/internal/cli"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
)

// page is the text of one page below its title.
type page string

func read(t *testing.T, name string) page {
	t.Helper()
	data, err := os.ReadFile(name + ".md")
	if err != nil {
		t.Fatal(err)
	}
	return page(data)
}

// headings returns the text behind the heading mark ("##", "###"), in order.
func (p page) headings(mark string) []string {
	var found []string
	for line := range strings.Lines(string(p)) {
		if text, ok := strings.CutPrefix(line, mark+" "); ok {
			found = append(found, strings.TrimSpace(text))
		}
	}
	return found
}

// section returns what stands below a heading, up to the next one that is no
// lower.
func (p page) section(mark, heading string) page {
	_, text, found := strings.Cut(string(p), "\n"+mark+" "+heading+"\n")
	if !found {
		return ""
	}
	next := regexp.MustCompile(`(?m)^#{1,` + string(rune('0'+len(mark))) + `} `)
	if i := next.FindStringIndex(text); i != nil {
		text = text[:i[0]]
	}
	return page(text)
}

// terms returns the terms that are explained.
func (p page) terms() []string {
	var found []string
	before := ""
	for line := range strings.Lines(string(p)) {
		if strings.HasPrefix(line, ": ") {
			found = append(found, strings.TrimSpace(before))
		}
		before = line
	}
	return found
}

// flags returns the explained terms that are flags.
func (p page) flags() []string {
	return slices.DeleteFunc(p.terms(), func(term string) bool { return !strings.HasPrefix(term, "**-") })
}

// same fails the test for each entry that only one of both has.
func same(t *testing.T, where string, documented, real []string) {
	t.Helper()
	for _, want := range real {
		if !slices.Contains(documented, want) {
			t.Errorf("%s: lacks %q", where, want)
		}
	}
	for _, got := range documented {
		if !slices.Contains(real, got) {
			t.Errorf("%s: has %q, which is not there", where, got)
		}
	}
}

func model() *kong.Application { return cli.New("").Model() }

// heading is how a command's subsection has to be called: "init *NAME* *SPEC*",
// "start *NAME…*", "console *NAME* [*COMMAND*]".
func heading(command *kong.Node) string {
	text := strings.TrimPrefix(command.FullPath(), "l4d2ctl ")
	for _, arg := range command.Positional {
		name := strings.ToUpper(arg.Name)
		if arg.IsCumulative() {
			name += "…"
		}
		name = "*" + name + "*"
		if !arg.Required {
			name = "[" + name + "]"
		}
		text += " " + name
	}
	return text
}

// terms is how flags have to stand there: "**-y**, **--yes**", "**--root**=*DIR*".
func terms(flags []*kong.Flag) []string {
	var found []string
	for _, flag := range flags {
		if flag.Hidden {
			continue
		}
		term := "**--" + flag.Name + "**"
		if flag.Short != 0 {
			term = "**-" + string(flag.Short) + "**, " + term
		}
		if !flag.IsBool() {
			term += "=*" + strings.Trim(flag.FormatPlaceHolder(), `"`) + "*"
		}
		found = append(found, term)
	}
	return found
}

func TestCommands(t *testing.T) {
	p := read(t, "l4d2ctl.1")
	same(t, "OPTIONS", p.section("##", "OPTIONS").flags(), terms(model().Flags))

	commands := p.section("##", "COMMANDS")
	var headings []string
	for _, command := range model().Leaves(true) {
		h := heading(command)
		headings = append(headings, h)
		same(t, h, commands.section("###", h).flags(), terms(command.Flags))
	}
	documented := commands.headings("###")
	same(t, "COMMANDS", documented, headings)
	if !slices.IsSorted(documented) {
		t.Errorf("COMMANDS: not in alphabetical order: %q", documented)
	}
}

func TestExitCodes(t *testing.T) {
	p := read(t, "l4d2ctl.1")
	same(t, "EXIT STATUS", p.section("##", "EXIT STATUS").terms(), []string{"**0**", "**1**", "**2**", "**130**"})
}

func TestSpecKeys(t *testing.T) {
	var keys []string
	for _, key := range spec.Keys() {
		keys = append(keys, "**"+key+"**")
	}
	same(t, "KEYS", read(t, "l4d2-instance.yaml.5").section("##", "KEYS").terms(), keys)
}

// The example must be one that is taken.
func TestSpecExample(t *testing.T) {
	_, example, _ := strings.Cut(string(read(t, "l4d2-instance.yaml.5").section("##", "EXAMPLES")), "```\n")
	example, _, found := strings.Cut(example, "```")
	s, err := spec.Parse("the example", []byte(example))
	if !found || err != nil {
		t.Fatalf("%v in:\n%s", err, example)
	}
	env, err := s.Env()
	if err != nil {
		t.Fatal(err)
	}
	text, err := env.Format()
	if err != nil {
		t.Fatal(err)
	}
	if p := read(t, "l4d2-instance.env.5"); !strings.Contains(string(p), "```\n"+string(text)+"```\n") {
		t.Errorf("l4d2-instance.env.5 has not what is generated from the example of l4d2-instance.yaml.5:\n%s", text)
	}
}

func TestVariables(t *testing.T) {
	var variables []string
	for _, name := range instance.Variables {
		variables = append(variables, "**"+name+"**")
	}
	same(t, "VARIABLES", read(t, "l4d2-instance.env.5").section("##", "VARIABLES").terms(), variables)
}

// setting is one "Key=value" of a unit, or one "**Key=**value" of its page.
var setting = regexp.MustCompile(`(?m)^([A-Z][A-Za-z]*)=(.*)$`)
var documentedSetting = regexp.MustCompile(`\*\*([A-Z][A-Za-z]*)=\*\*(\S*[^\s,])?`)

func TestUnit(t *testing.T) {
	p := string(read(t, "l4d2@.service.8"))
	unit, err := os.ReadFile("../../units/l4d2@.service")
	if err != nil {
		t.Fatal(err)
	}
	values := map[string][]string{}
	for _, m := range setting.FindAllStringSubmatch(string(unit), -1) {
		values[m[1]] = append(values[m[1]], m[2])
	}
	for key := range values {
		if !strings.Contains(p, key+"=") {
			t.Errorf("the page does not mention %s=", key)
		}
	}
	found := documentedSetting.FindAllStringSubmatch(p, -1)
	for _, m := range found {
		if !slices.Contains(values[m[1]], m[2]) {
			t.Errorf("the page has %s=%s, the unit has %q", m[1], m[2], values[m[1]])
		}
	}
	if len(found) < 9 {
		t.Errorf("the page has %d settings with their values", len(found))
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	sources, _ := filepath.Glob("*.md")
	if len(sources) < 6 {
		t.Fatalf("pages %q", sources)
	}
	for i, source := range sources {
		sources[i] = strings.TrimSuffix(source, ".md")
	}
	return sources
}

// Every page that one refers to, of ours, is there.
func TestReferences(t *testing.T) {
	all := pages(t)
	reference := regexp.MustCompile(`(l4d2[a-z0-9@.-]*)\(([1-8])\)`)
	for _, name := range all {
		for _, m := range reference.FindAllStringSubmatch(string(read(t, name)), -1) {
			if page := m[1] + "." + m[2]; !slices.Contains(all, page) {
				t.Errorf("%s refers to %s, which is no page", name, m[0])
			}
		}
	}
}

var emphasis = regexp.MustCompile(`\*\*|\*[A-Za-z…]+\*`)

var block = regexp.MustCompile("(?s)\n```\n(.*?)```\n")

// wantBlocks fails the test unless the lines of the code blocks are lines of
// the page: right behind an explained term, go-md2man runs them together.
func wantBlocks(t *testing.T, name string, source page, text string) {
	t.Helper()
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		lines[strings.TrimSpace(line)] = true
	}
	for _, m := range block.FindAllStringSubmatch(string(source), -1) {
		for line := range strings.Lines(m[1]) {
			if want := strings.TrimSpace(line); !lines[want] {
				t.Errorf("%s: %q is no line of its own: put a sentence in front of the code", name, want)
			}
		}
	}
}

// groff finds nothing to complain about, and the page says what it is.
func TestRoff(t *testing.T) {
	tool, err := exec.Command("go", "tool", "-modfile=../../internal/tools/go.mod", "-n", "go-md2man").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages(t) {
		base, section := strings.TrimSuffix(name, filepath.Ext(name)), strings.TrimPrefix(filepath.Ext(name), ".")
		if title, _, _ := strings.Cut(string(read(t, name)), "\n"); !strings.HasPrefix(title, "# "+base+" "+section+` "" l4d2-host "`) {
			t.Errorf("%s: the title is %q", name, title)
		}
		roff := filepath.Join(t.TempDir(), name)
		if out, err := exec.Command(strings.TrimSpace(string(tool)), "-in", name+".md", "-out", roff).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: go-md2man: %v: %s", name, err, out)
			continue
		}
		man := exec.Command("man", "--warnings", "--encoding=utf8", "--local-file", roff)
		man.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANWIDTH=80", "MAN_KEEP_STDERR=1")
		var text, complaints strings.Builder
		man.Stdout, man.Stderr = &text, &complaints
		if err := man.Run(); err != nil || complaints.Len() > 0 {
			t.Errorf("%s: man --warnings: %v: %s", name, err, &complaints)
		}
		if left := emphasis.FindString(text.String()); left != "" {
			t.Errorf("%s: %q is left of the markdown: emphasis must begin and end beside a space or punctuation", name, left)
		}
		wantBlocks(t, name, read(t, name), text.String())
		if !strings.Contains(text.String(), base+"("+section+")") || !strings.Contains(text.String(), "NAME\n       l4d2") {
			t.Errorf("%s: the page is:\n%.300s", name, &text)
		}
	}
}
