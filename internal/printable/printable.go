// Package printable makes text that someone else chose safe to show: names of
// files, servers and players can hold escape sequences that a terminal obeys,
// or a newline that makes a line of its own.
package printable

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line returns s as one line: what does not print (control characters, marks
// that turn the direction of writing, bytes that are no UTF-8) is written as
// Go writes it in a string, such as \x1b.
func Line(s string) string { return escape(s, "") }

// Text is Line for text of several lines: newlines and tabs stay, and the
// carriage return of a line end goes.
func Text(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n"), "\n\t") }

func escape(s, kept string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r), strings.ContainsRune(kept, r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII alone, as nearly all text is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Cut is Line, but at most width characters of it, the last one an ellipsis
// where more was there.
func Cut(s string, width int) string {
	line := []rune(Line(s))
	if len(line) > width {
		line = append(line[:max(width-1, 0)], '…')
	}
	return string(line)
}

// JSON escapes in a JSON text what does not print: encoding/json lets through
// C1 controls, such as U+009B, which some terminals take for the start of an
// escape sequence. What the text means is unchanged.
func JSON(text []byte) []byte {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r), r == '\n':
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default: // only strings have such
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}
