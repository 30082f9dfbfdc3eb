package man

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"l4d2-host/internal/steam"
)

// program is the source of one of the programs that units call.
type program string

func source(t *testing.T, name string) program {
	t.Helper()
	data, err := os.ReadFile("../../cmd/" + name + "/main.go")
	if err != nil {
		t.Fatal(err)
	}
	return program(data)
}

// matches returns what the pattern, which has one group, finds in the source.
func (p program) matches(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(p), -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("the source has nothing like %s", pattern)
	}
	return found
}

// usage returns the command lines of the usage, without the directory.
func (p program) usage(t *testing.T) []string {
	t.Helper()
	text, _, _ := strings.Cut(p.matches(t, "(?s)const usage = `usage: (.*?)`")[0], "\n\n")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return lines
}

// plain is the text of a page's line without its emphasis.
func plain(text string) string { return strings.ReplaceAll(text, "*", "") }

// synopsis returns the page's command lines that call the program itself.
func (p page) synopsis() []string {
	var found []string
	for line := range strings.Lines(string(p.section("##", "SYNOPSIS"))) {
		if text, ok := strings.CutPrefix(plain(strings.TrimSpace(line)), "/usr/libexec/l4d2-host/"); ok {
			found = append(found, text)
		}
	}
	return found
}

// TestPrograms holds the pages of the programs that units call against these.
func TestPrograms(t *testing.T) {
	for name, tt := range map[string]struct{ page, verbs, behind string }{
		"l4d2-overlay": {"l4d2-overlay.8", `args\[0\] != "([a-z]+)"`, " *NAME*"},
		"l4d2-update":  {"l4d2-update.service.8", `(?m)^\t"([a-z]+)": +[a-z]+,$`, ""},
	} {
		p, main := read(t, tt.page), source(t, name)
		same(t, tt.page+": SYNOPSIS", p.synopsis(), main.usage(t))
		var verbs, flags []string
		for _, verb := range main.matches(t, tt.verbs) {
			verbs = append(verbs, "**"+verb+"**"+tt.behind)
			if !strings.Contains(strings.Join(main.usage(t), " "), verb) {
				t.Errorf("%s: the usage lacks %s", name, verb)
			}
		}
		same(t, tt.page+": DESCRIPTION", p.section("##", "DESCRIPTION").terms(), verbs)
		for _, term := range p.section("##", "OPTIONS").flags() {
			flags = append(flags, strings.Split(plain(term), ", ")...)
		}
		same(t, tt.page+": OPTIONS", flags, main.matches(t, `"(-{1,2}[a-z]+)"`))
		same(t, tt.page+": EXIT STATUS", p.section("##", "EXIT STATUS").terms(), []string{"**0**", "**1**", "**2**"})
	}
}

// The steps of an update: the page has them in the unit's order, and says of
// those with "+", and no others, that root does them.
func TestUpdateUnit(t *testing.T) {
	unit, err := os.ReadFile("../../units/l4d2-update.service")
	if err != nil {
		t.Fatal(err)
	}
	timer, err := os.ReadFile("../../units/l4d2-update.timer")
	if err != nil {
		t.Fatal(err)
	}
	p := read(t, "l4d2-update.service.8")
	var want, got []string
	for _, m := range regexp.MustCompile(`(?m)^Exec[A-Za-z]+=(\+?)/usr/libexec/l4d2-host/l4d2-update ([a-z]+)$`).FindAllStringSubmatch(string(unit), -1) {
		by := map[string]string{"+": "root", "": "the user l4d2"}[m[1]]
		want = append(want, m[2]+": As "+by)
	}
	for _, m := range regexp.MustCompile(`(?m)^\*\*([a-z]+)\*\*\n: (As (?:root|the user l4d2))`).FindAllStringSubmatch(string(p), -1) {
		got = append(got, m[1]+": "+m[2])
	}
	if len(want) != 4 || !slices.Equal(got, want) {
		t.Errorf("the page has %q, the unit %q", got, want)
	}
	// The settings that it names are the unit's, the timer's, or what the unit says
	// that it leaves out.
	named := regexp.MustCompile(`\b([A-Z][a-z]+[A-Za-z]*=)`).FindAllString(string(p), -1)
	for _, key := range named {
		if !strings.Contains(string(unit), key) && !strings.Contains(string(timer), key) {
			t.Errorf("the page names %s, the units do not", key)
		}
	}
	if len(named) < 3 {
		t.Errorf("the page names only the settings %q", named)
	}
	if !strings.Contains(string(timer), "\nOnCalendar=Wed 05:00\nRandomizedDelaySec=2h\n") || !strings.Contains(string(p), "on Wednesday between 5 and 7") {
		t.Error("when the timer starts an update, and what the page says of it, have to be the same")
	}
}

func TestUpdateSettings(t *testing.T) {
	var keys []string
	for _, key := range steam.Keys() {
		keys = append(keys, "**"+key+"=**")
	}
	same(t, "l4d2-update.conf.5: KEYS", read(t, "l4d2-update.conf.5").section("##", "KEYS").terms(), keys)
	file, err := os.ReadFile("../update.conf")
	if err != nil {
		t.Fatal(err)
	}
	var settings []string
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(string(file), -1) {
		settings = append(settings, "**"+m[1]+"=**")
	}
	same(t, "update.conf", settings, keys)
}
