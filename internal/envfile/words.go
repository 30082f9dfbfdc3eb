package envfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// JoinWords returns the value that systemd splits into words again where a
// lone $NAME stands in ExecStart=, and that Format accepts unless it is too
// long. It fails, quoting the word, for the characters of CheckText and for a
// word that the kernel would refuse as an argument (MaxString).
func JoinWords(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, word := range words {
		if err := CheckText(word); err != nil {
			return "", fmt.Errorf("word %s: %w", strconv.Quote(word), err)
		}
		if len(word) > MaxString {
			return "", fmt.Errorf("a word of %d bytes: at most %d are allowed", len(word), MaxString)
		}
		quoted[i] = quoteWord(word)
	}
	s := strings.Join(quoted, " ")
	if _, err := quote(s); err != nil {
		// A double quote at the end: a space behind it is only one more
		// separator to systemd.
		s += " "
	}
	return s, nil
}

func quoteWord(word string) string {
	if word != "" && !strings.ContainsAny(word, ` '"\`) {
		return word
	}
	return `"` + wordEscaper.Replace(word) + `"`
}

var wordEscaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// SplitWords returns the words that systemd makes of a lone $NAME in
// ExecStart= when NAME has the value s. It follows extract_first_word() with
// EXTRACT_RELAX|EXTRACT_UNQUOTE (systemd 252): spaces separate, quotes of both
// kinds keep words together and disappear, a backslash makes the next
// character literal inside quotes of both kinds as well as outside, and an
// empty pair of quotes is an empty word. What systemd would tolerate, an open
// quote or a backslash at the end, is an error here.
func SplitWords(s string) ([]string, error) {
	if err := CheckText(s); err != nil {
		return nil, err
	}
	var words []string
	var word strings.Builder
	inWord := false
	var open byte // the quote that is open, or 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\':
			if i++; i == len(s) {
				return nil, errors.New(`a backslash at the end: write \\ for a backslash`)
			}
			word.WriteByte(s[i])
		case open != 0 && c == open:
			open = 0
		case open == 0 && (c == '\'' || c == '"'):
			open = c
		case open == 0 && c == ' ':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord = false
			continue
		default:
			word.WriteByte(c)
		}
		inWord = true
	}
	if open != 0 {
		return nil, fmt.Errorf("the closing %c is missing", open)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}
