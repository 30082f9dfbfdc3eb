// Package servercfg reads what a server.cfg sets, as the console of the Source
// engine would understand it.
//
// It is for the few settings that another program needs to know, such as the
// RCON password. It does not run the file: what a file that is called by exec
// sets, or an alias, is not seen.
//
// The rules were read in Valve's published Source SDK (CCommandBuffer,
// CCommand::Tokenize, CUtlBuffer::ParseToken) and are not documented elsewhere.
package servercfg

import "strings"

// The variables that others ask for.
const (
	RCONPassword = "rcon_password"
	Hostname     = "hostname"
)

// maxCommand, in bytes, is what the engine's tokenizer takes; it skips a longer
// command whole.
const maxCommand = 510

// Value returns what text, the content of a server.cfg, sets the variable name
// to, and whether it sets it at all. The last one wins; names are compared as
// the engine does, without regard to the case of ASCII letters. An empty
// rcon_password is no password: RCON is off.
//
// The value is as the operator or a mod wrote it: it need not be UTF-8 and may
// hold control characters, so quote it before showing it.
func Value(text, name string) (value string, ok bool) {
	// The engine has the file in memory as a C string.
	text, _, _ = strings.Cut(text, "\x00")
	for text != "" {
		var command string
		command, text = next(text)
		if len(command) > maxCommand {
			continue
		}
		word, rest := split(command)
		if rest != "" && equalFold(word, name) {
			value, ok = unquote(rest), true
		}
	}
	return value, ok
}

// next cuts the first command off text. It ends with its line, quoted or not,
// or at a semicolon that is not quoted. A comment is left out; a semicolon
// within does not end it.
func next(text string) (command, rest string) {
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\n', c == ';' && !quoted:
			return text[:i], text[i+1:]
		case c == '"':
			quoted = !quoted
		case c == '/' && !quoted && strings.HasPrefix(text[i:], "//"):
			_, rest, _ = strings.Cut(text[i:], "\n")
			return text[:i], rest
		}
	}
	return text, ""
}

// split separates a command's first word from what follows it.
func split(command string) (word, rest string) {
	command = trim(command)
	if quoted, found := strings.CutPrefix(command, `"`); found {
		word, rest, _ = strings.Cut(quoted, `"`)
		return word, trim(rest)
	}
	end := strings.IndexFunc(command, func(r rune) bool {
		return r <= ' ' || strings.ContainsRune(`"{}()':`, r)
	})
	if end < 0 {
		return command, ""
	}
	return command[:end], trim(command[end:])
}

// unquote takes the outer quotes off. All that follows a variable's name is its
// value, quotes within included: the engine knows no escape.
func unquote(value string) string {
	if inner, found := strings.CutPrefix(value, `"`); found {
		value = strings.TrimSuffix(inner, `"`)
	}
	return value
}

// trim takes off what the engine takes for space: every byte up to a blank.
func trim(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
}

func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
