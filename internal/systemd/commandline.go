package systemd

import (
	"strings"

	"l4d2-host/internal/envfile"
)

// Expand returns the arguments that the started process gets of c, with the
// variables of env: ${NAME} within a word is replaced by its value as it is, a
// word that is $NAME alone by the words that its value splits into, and $$ is
// a dollar sign. A variable that is not set counts as empty, and so does what
// can't be one's name (systemd.service(5), "Command lines"; replace_env_argv()
// in 252). The error is about a value that
// systemd would split otherwise than it looks (envfile.SplitWords).
func (c Command) Expand(env map[string]string) ([]string, error) {
	if c.Verbatim {
		return c.Words, nil
	}
	var words []string
	for _, word := range c.Words {
		name, alone := strings.CutPrefix(word, "$")
		if alone && !strings.HasPrefix(name, "{") && !strings.HasPrefix(name, "$") {
			split, err := envfile.SplitWords(env[name])
			if err != nil {
				return nil, err
			}
			words = append(words, split...)
			continue
		}
		words = append(words, expandWord(word, env))
	}
	return words, nil
}

// expandWord replaces ${NAME} and $$; any other dollar sign stays.
func expandWord(word string, env map[string]string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(word, "$")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		word = after
		if rest, ok := strings.CutPrefix(word, "$"); ok {
			b.WriteByte('$')
			word = rest
			continue
		}
		if braced, ok := strings.CutPrefix(word, "{"); ok {
			if name, rest, ok := strings.Cut(braced, "}"); ok {
				b.WriteString(env[name])
				word = rest
				continue
			}
		}
		b.WriteByte('$')
	}
}
