// Package envfile writes and reads environment files that all their readers
// must understand alike: systemd (EnvironmentFile=), godotenv, which stands for
// scripts of the operator's (package dotenv), and this package itself, for the
// privileged helper. It also models how systemd splits a lone $NAME in ExecStart=.
//
// The other two disagree on `$NAME`, trailing comments, `;` lines, `export`,
// line continuation and on quotes and backslashes at the end of a value. So
// the package writes only what both read alike, and refuses to read what they
// would read differently. It is no reader for env files at large, and knows
// nothing of what the variables mean (package instance).
package envfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxFile is the greatest size of a file, in bytes.
	MaxFile = 256 << 10
	// MaxString is the greatest length of NAME=value and of one argument, in
	// bytes: the kernel's MAX_ARG_STRLEN (32 pages of 4 KiB) without the
	// final NUL. Beyond it execve(2) fails with E2BIG.
	MaxString = 128<<10 - 1
)

// Var is one variable.
type Var struct{ Name, Value string }

// Format returns the file that both readers read as vars, one line each and
// in their order. It fails, naming the variable, for what has no such form:
// see CheckText for the characters; besides, a value that ends in a backslash,
// or that holds a single quote and ends in a double quote.
func Format(vars []Var) ([]byte, error) {
	var b strings.Builder
	seen := make(map[string]bool, len(vars))
	for _, v := range vars {
		if err := checkName(v.Name); err != nil {
			return nil, err
		}
		if seen[v.Name] {
			return nil, fmt.Errorf("variable %s: given twice", v.Name)
		}
		seen[v.Name] = true
		quoted, err := quote(v.Value)
		if err == nil {
			err = checkLength(v.Name, v.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		b.WriteString(v.Name + "=" + quoted + "\n")
	}
	if b.Len() > MaxFile {
		return nil, fmt.Errorf("%d bytes of variables, at most %d are allowed", b.Len(), MaxFile)
	}
	return []byte(b.String()), nil
}

// CheckText returns an error if s holds a control character, an invalid UTF-8
// sequence or a code point that Unicode reserves as no character (systemd
// discards the whole file for one of those, U+FFFE for example).
func CheckText(s string) error {
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			return fmt.Errorf("invalid UTF-8 (byte 0x%02x)", s[i])
		case r == '\n':
			return errors.New("a newline is not allowed")
		case unicode.IsControl(r):
			return fmt.Errorf("control character %U is not allowed", r)
		case r >= 0xFDD0 && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
			return fmt.Errorf("%U is not a character", r)
		}
	}
	return nil
}

// quote returns value in the simplest form that both readers decode to it.
//
// Neither knows an escape within single quotes, but godotenv v1.5.1 takes a
// closing quote of either kind that follows a backslash for an escaped one,
// and trims every quote character off the end of a double-quoted value.
func quote(value string) (string, error) {
	if err := CheckText(value); err != nil {
		return "", err
	}
	single := !strings.Contains(value, "'")
	switch {
	case isWordOnly(value):
		return value, nil
	case strings.HasSuffix(value, `\`):
		return "", errors.New(`a backslash at the end has no form that systemd and godotenv read alike: put something behind it`)
	case single:
		return "'" + value + "'", nil
	case strings.HasSuffix(value, `"`):
		return "", errors.New(`a double quote at the end of a value that also holds a single quote has no form that systemd and godotenv read alike: put something behind it`)
	}
	return `"` + escaper.Replace(value) + `"`, nil
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`")

// isWordOnly says which values are written without quotes. Many more could be,
// see isPlain, but godotenv looks for variables in what is not quoted, with a
// regular expression: milliseconds for the list of some hundred layers.
func isWordOnly(value string) bool {
	for i := range len(value) {
		if !isWord(value[i]) {
			return false
		}
	}
	return true
}

// isPlain reports whether value needs no quotes for either reader.
func isPlain(value string) bool {
	for i := range len(value) {
		if !isWord(value[i]) && !strings.ContainsRune("./:,@%+=-", rune(value[i])) {
			return false
		}
	}
	return true
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// checkName allows what systemd accepts as the name of a variable.
func checkName(name string) error {
	if name == "" {
		return errors.New("the name of a variable is missing in front of the =")
	}
	for i := range len(name) {
		if !isWord(name[i]) || i == 0 && '0' <= name[0] && name[0] <= '9' {
			return fmt.Errorf("%s is not a variable's name: use letters, digits and _, and no digit first", strconv.Quote(name))
		}
	}
	return nil
}

func checkLength(name, value string) error {
	if n := len(name) + 1 + len(value); n > MaxString {
		return fmt.Errorf("%d bytes long with its name, at most %d are allowed", n, MaxString)
	}
	return nil
}
