package envfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Parse returns the variables of the file with the contents data; file is its
// name for errors, which name the line too and say what to write instead.
//
// A line is empty, a comment that starts with # in the first column, or
// NAME=value: plain, 'single-quoted' or "double-quoted" with the escapes \\,
// \", \$ and \`. Everything else is refused, and so is a name given twice. The
// grammar is so narrow that systemd and godotenv read the same in all it admits,
// which the tests hold against both.
func Parse(file string, data []byte) (map[string]string, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s: %d bytes long, at most %d are allowed", file, len(data), MaxFile)
	}
	vars, lines := map[string]string{}, map[string]int{}
	for i, line := range strings.Split(string(data), "\n") {
		name, value, err := parseLine(line)
		if before := lines[name]; err == nil && name != "" && before != 0 {
			err = fmt.Errorf("%s is already set in line %d: remove one of them", name, before)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
		if name != "" {
			vars[name], lines[name] = value, i+1
		}
	}
	return vars, nil
}

// parseLine returns the variable of one line, or no name for an empty line or
// a comment.
func parseLine(line string) (name, value string, err error) {
	if strings.HasPrefix(line, "\uFEFF") {
		return "", "", errors.New("a byte order mark: save the file without it")
	}
	if strings.HasSuffix(line, "\r") {
		return "", "", errors.New("the line ends in a carriage return: save the file with Unix line ends")
	}
	if err := CheckText(line); err != nil {
		return "", "", err
	}
	switch {
	case line == "":
		return "", "", nil
	case line[0] == '#':
		// systemd before v254 goes on with the comment in the next line.
		if strings.HasSuffix(line, `\`) {
			return "", "", errors.New(`the comment ends in a backslash: remove it`)
		}
		return "", "", nil
	}
	name, raw, found := strings.Cut(line, "=")
	if err := checkAssignment(line, name, raw, found); err != nil {
		return "", "", err
	}
	if value, err = decode(raw); err == nil {
		err = checkLength(name, value)
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", name, err)
	}
	return name, value, nil
}

// checkAssignment looks at everything up to the first character of the value.
func checkAssignment(line, name, raw string, found bool) error {
	switch {
	case line[0] == ' ':
		return errors.New("the line starts with a space: remove it")
	case line[0] == ';':
		return errors.New("a line that starts with ; is a comment to systemd only: start it with #")
	case strings.HasPrefix(line, "export "):
		return errors.New(`systemd does not know "export": write NAME=value`)
	case !found:
		return errors.New("no = in the line: write NAME=value, or # in front of a comment")
	case strings.HasSuffix(name, " "), strings.HasPrefix(raw, " "):
		return errors.New("a space beside the =: write NAME=value without it")
	case strings.Contains(name, ":"):
		return fmt.Errorf("a colon in the name %s: write NAME=value", strconv.Quote(name))
	}
	return checkName(name)
}

// decode returns what both readers make of the text behind the =.
func decode(raw string) (string, error) {
	if raw == "" {
		return "", nil
	}
	switch raw[0] {
	case '\'':
		return decodeSingle(raw[1:])
	case '"':
		return decodeDouble(raw[1:])
	}
	if !isPlain(raw) {
		return "", errors.New("without quotes only letters, digits and _./:,@%+=- are allowed: write '…' around the value")
	}
	return raw, nil
}

var (
	errOpen  = errors.New("the closing quote is missing: a value ends on its own line")
	errAfter = errors.New("text after the closing quote: write one quoted value, and comments on lines of their own")
	errEdge  = errors.New(`a quote or backslash before the closing quote is read differently by godotenv: put something behind it`)
)

// decodeSingle takes what follows the opening quote.
func decodeSingle(s string) (string, error) {
	value, rest, found := strings.Cut(s, "'")
	switch {
	case !found:
		return "", errOpen
	case strings.HasSuffix(value, `\`):
		return "", errEdge
	case rest != "":
		return "", errAfter
	}
	return value, nil
}

// decodeDouble takes what follows the opening quote.
func decodeDouble(s string) (string, error) {
	var b strings.Builder
	edge := false // the last character was an escaped quote or backslash
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			switch {
			case edge:
				return "", errEdge
			case i+1 < len(s):
				return "", errAfter
			}
			return b.String(), nil
		case '$':
			return "", errors.New(`godotenv expands $ within double quotes: write \$, or use single quotes`)
		case '\\':
			i++
			if i == len(s) {
				return "", errOpen
			}
			if !strings.ContainsRune("\\\"$`", rune(s[i])) {
				return "", errors.New("within double quotes a backslash stands only before \\, \", $ and `: write \\\\ for one backslash")
			}
			edge = s[i] == '"' || s[i] == '\\'
		default:
			edge = false
		}
		b.WriteByte(s[i])
	}
	return "", errOpen
}
