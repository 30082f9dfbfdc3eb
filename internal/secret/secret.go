// Package secret hides passwords and tokens in what is shown of an instance:
// its spec, its generated files, its command line.
//
// It knows a secret by the name in front of it, as the game's console variables
// have them, and errs towards hiding: what stands behind such a name up to the
// end of the line goes too. It protects against onlookers, not against who may
// read the files.
package secret

import (
	"regexp"
	"slices"
	"strings"
)

// Mask stands where a secret was.
const Mask = "********"

// name matches console variables and options such as rcon_password,
// sv_password, +sv_setsteamaccount (a login token of Steam), -authkey.
const name = `[-+]?[A-Za-z0-9_.]*(?i:password|passwd|secret|token|api_?key|auth_?key|steamaccount)[A-Za-z0-9_.]*`

var (
	exactly  = regexp.MustCompile(`^` + name + `$`)
	anywhere = regexp.MustCompile(`(` + name + `["']?[\s:=,]+)(\S.*)`)
)

// Words returns words with the secrets among them masked: the word behind a
// name, and the rest of a word that holds the name itself.
func Words(words []string) []string {
	masked := make([]string, len(words))
	hide := false
	for i, w := range words {
		if hide {
			masked[i], hide = Mask, false // a value is no name, whatever it looks like
			continue
		}
		masked[i], hide = Line(w), exactly.MatchString(w)
	}
	return masked
}

// Line returns the line with everything behind a secret's name masked. A name
// without a value, or with an empty one, has nothing to hide.
func Line(line string) string {
	m := anywhere.FindStringSubmatchIndex(line)
	if m == nil || strings.Trim(line[m[4]:m[5]], `"' ]`) == "" {
		return line
	}
	return line[:m[4]] + Mask
}

// Values returns the secrets in the words of a command line and in the lines
// of a server.cfg.
func Values(words, config []string) []string {
	var values []string
	named := false
	for _, w := range words {
		if named && w != "" {
			values = append(values, w)
		}
		named = !named && exactly.MatchString(w)
	}
	for _, line := range append(config, words...) {
		if m := anywhere.FindStringSubmatch(line); m != nil {
			if v := strings.Trim(strings.TrimSpace(m[2]), `"`); v != "" {
				values = append(values, v)
			}
		}
	}
	return values
}

// Text returns text, a file of several lines, with its secrets masked: behind
// their names, and, as a value may stand on another line than its name, each
// values wherever it is a word. It returns false when it cannot be sure to have
// found all of own, the values that are known to stand in this text somehow.
func Text(text string, own, values []string) (string, bool) {
	lines := strings.Split(text, "\n")
	named := 0
	for i, line := range lines {
		if lines[i] = Line(line); lines[i] != line {
			named++
		}
	}
	masked := strings.Join(lines, "\n")
	hidden := 0 // not written as they are: escaped, say
	for _, v := range own {
		if !strings.Contains(text, v) {
			hidden++
		}
	}
	for _, v := range slices.Concat(own, values) {
		word := regexp.MustCompile(`(^|[\s"'\[,])` + regexp.QuoteMeta(v) + `($|[\s"'\],])`)
		masked = word.ReplaceAllString(masked, "${1}"+Mask+"${2}")
	}
	return masked, hidden <= named && !remains(masked, slices.Concat(own, values))
}

// short values are likely to be found by chance.
const short = 4

// remains says that one of values is still there, perhaps folded over lines.
func remains(text string, values []string) bool {
	text = strings.Join(strings.Fields(text), " ")
	for _, v := range values {
		if v = strings.Join(strings.Fields(v), " "); len(v) >= short && strings.Contains(text, v) {
			return true
		}
	}
	return false
}
