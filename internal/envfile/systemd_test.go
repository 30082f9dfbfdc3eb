package envfile

import "strings"

// This is a second model of systemd's readers, written as the state machine
// that systemd has, so that it shares nothing with the code under test.

type systemdState int

const (
	preKey systemdState = iota
	key
	preValue
	value
	valueEscape
	singleQuote
	doubleQuote
	doubleQuoteEscape
	comment
	commentEscape
)

// systemdLoad is load_env_file() of systemd 252, or of 254 and later, which
// end a comment with its line even after a backslash. The later of two values
// wins.
func systemdLoad(data string, v254 bool) map[string]string {
	vars := map[string]string{}
	state := preKey
	var k, v []byte
	var spaceFrom int // where the trailing white space of v starts, or -1
	push := func(chomp bool) {
		if chomp && spaceFrom >= 0 {
			v = v[:spaceFrom]
		}
		vars[strings.TrimRight(string(k), " \t")] = string(v)
		k, v, spaceFrom, state = nil, nil, -1, preKey
	}
	for _, c := range []byte(data) {
		newline, space := c == '\n' || c == '\r', c == ' ' || c == '\t' || c == '\n' || c == '\r'
		switch state {
		case preKey:
			if c == '#' || c == ';' {
				state = comment
			} else if !space {
				state, k = key, []byte{c}
			}
		case key:
			switch {
			case newline:
				state, k = preKey, nil
			case c == '=':
				state, spaceFrom = preValue, -1
			default:
				k = append(k, c)
			}
		case preValue:
			switch {
			case newline:
				push(false)
			case c == '\'':
				state = singleQuote
			case c == '"':
				state = doubleQuote
			case c == '\\':
				state = valueEscape
			case !space:
				state, v = value, append(v, c)
			}
		case value:
			switch {
			case newline:
				push(true)
			case c == '\\':
				state, spaceFrom = valueEscape, -1
			default:
				if !space {
					spaceFrom = -1
				} else if spaceFrom < 0 {
					spaceFrom = len(v)
				}
				v = append(v, c)
			}
		case valueEscape:
			if state = value; !newline {
				v = append(v, c)
			}
		case singleQuote:
			if c == '\'' {
				state = preValue
			} else {
				v = append(v, c)
			}
		case doubleQuote:
			switch c {
			case '"':
				state = preValue
			case '\\':
				state = doubleQuoteEscape
			default:
				v = append(v, c)
			}
		case doubleQuoteEscape:
			state = doubleQuote
			if strings.IndexByte("\"\\`$", c) >= 0 {
				v = append(v, c)
			} else if c != '\n' {
				v = append(v, '\\', c)
			}
		case comment:
			if c == '\\' {
				state = commentEscape
			} else if newline {
				state = preKey
			}
		case commentEscape:
			if state = comment; newline && v254 {
				state = preKey
			}
		}
	}
	switch state {
	case value:
		push(true)
	case preValue, valueEscape, singleQuote, doubleQuote, doubleQuoteEscape:
		push(false)
	}
	return vars
}

// systemdSplit is strv_split_full(…, EXTRACT_RELAX|EXTRACT_UNQUOTE).
func systemdSplit(s string) []string {
	var words []string
	for {
		s = strings.TrimLeft(s, " \t\n\r")
		if s == "" {
			return words
		}
		word, quote := []byte{}, byte(0)
		for s != "" {
			c := s[0]
			if quote == 0 && strings.IndexByte(" \t\n\r", c) >= 0 {
				break
			}
			s = s[1:]
			if c == '\\' {
				if s != "" {
					word, s = append(word, s[0]), s[1:]
				}
			} else if c == quote {
				quote = 0
			} else if quote == 0 && (c == '\'' || c == '"') {
				quote = c
			} else {
				word = append(word, c)
			}
		}
		words = append(words, string(word))
	}
}
