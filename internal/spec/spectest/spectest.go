// Package spectest makes specs at random, with arguments as nasty as the
// grammar allows, for tests that follow an argument from the YAML through
// instance.env and systemd to the process. It is for tests only.
package spectest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"go.yaml.in/yaml/v3"
)

// pieces is what words are put together from: everything that a shell, YAML,
// godotenv, systemd or a path treats specially, and plain text between.
var pieces = []string{
	" ", "  ", `'`, `"`, `\`, `\\`, `"'`, `'"`, `\"`, `\'`, `\n`, `\x41`,
	"$", "$$", "$HOME", "${HOME}", "$L4D2_PORT", "${L4D2_ARGS}", "$(id)", `\$`, "`id`", "`",
	"%", "%i", "%%", "%h", "#", " # no comment", ";", " ; ", "=", ":", "-", "+", "--", "@", "!", "|", "&",
	"*", "?", "~", "<", ">", "[", "]", "{", "}", "(", ")", ",", "export ", "A=b",
	"é", "ß", "\u00a0", "\u2028", "\ufeff", "日本", "🎮", "e\u0301",
	"a", "b", "c1m1_hotel", "+map", "-tickrate", "100", "sv_tags", "Versus 1",
}

// Words returns up to ten words of a server's command line: each is valid
// UTF-8 without control characters, and some are empty.
func Words(r *rand.Rand) []string {
	words := make([]string, r.IntN(11))
	for i := range words {
		words[i] = word(r)
	}
	return words
}

func word(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(7) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// YAML returns a spec with the port and the words, several of them in one
// argument now and then, quoted in the ways that a shell allows.
func YAML(r *rand.Rand, port uint16, words []string) []byte {
	arguments := []string{}
	for i, w := range words {
		if q := quote(r, w); i > 0 && r.IntN(3) == 0 {
			arguments[len(arguments)-1] += " " + q
		} else {
			arguments = append(arguments, q)
		}
	}
	data, err := yaml.Marshal(map[string]any{"port": port, "arguments": arguments})
	if err != nil {
		panic(fmt.Sprintf("spectest: %v", err)) // strings and a number always marshal
	}
	return data
}

func quote(r *rand.Rand, word string) string {
	if r.IntN(2) == 0 {
		return `'` + strings.ReplaceAll(word, `'`, `'\''`) + `'`
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(word) + `"`
}
