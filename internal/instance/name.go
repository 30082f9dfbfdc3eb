// Package instance says what an instance is called and where its files lie.
//
// It is the only package that turns a name into a path: everything else
// receives a Name or a Layout. It knows nothing of YAML (package spec) nor of
// what the kernel does with the directories (package overlay), so that the
// privileged helper can import it.
package instance

import (
	"fmt"
	"strconv"
)

// MaxName is the greatest length of a Name, in bytes.
const MaxName = 63

// Name is the checked name of an instance or a layer: 1 to 63 characters of
// a-z, 0-9, dot, underscore and dash, the first one a letter or a digit. Such
// a name needs no escaping in a unit name, a path, a shell or overlayfs
// options. Make one with ParseName only.
type Name string

// ParseName returns s as a Name, or an error that quotes s and states the
// rule it breaks.
func ParseName(s string) (Name, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("the name is empty: use 1 to %d characters of a-z, 0-9, '.', '_' and '-'", MaxName)
	case len(s) > MaxName:
		return "", fmt.Errorf("name %s: %d bytes long, at most %d are allowed", strconv.Quote(s), len(s), MaxName)
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if i == 0 && !alnum {
			return "", fmt.Errorf("name %s: the first character must be one of a-z and 0-9", strconv.Quote(s))
		}
		if !alnum && c != '.' && c != '_' && c != '-' {
			return "", fmt.Errorf("name %s: only a-z, 0-9, '.', '_' and '-' are allowed", strconv.Quote(s))
		}
	}
	return Name(s), nil
}
