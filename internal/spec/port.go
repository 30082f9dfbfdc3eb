package spec

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"
)

// WithPort returns the spec data with another port, and otherwise as it is
// written there, comments and all; file is its name for errors.
func WithPort(file string, data []byte, port uint16) ([]byte, error) {
	before, err := Parse(file, data)
	if err != nil {
		return nil, err
	}
	root, err := decode(file, data)
	if err != nil {
		return nil, err
	}
	var changed []byte
	for i := 0; i < len(root.Content); i += 2 {
		if value := root.Content[i+1]; root.Content[i].Value == "port" {
			at := offset(data, value.Line, value.Column)
			changed = slices.Concat(data[:at], []byte(strconv.Itoa(int(port))), bytes.TrimPrefix(data[at:], []byte(value.Value)))
		}
	}
	// YAML has more ends of lines than one counts at first sight.
	after, err := Parse(file, changed)
	if err != nil || after.Port != port || !slices.Equal(after.Arguments, before.Arguments) ||
		!slices.Equal(after.Overlays, before.Overlays) || !slices.Equal(after.Config, before.Config) {
		return nil, fmt.Errorf("%s: the port stands where it cannot be replaced: write it as a line of its own", before.PortPosition())
	}
	return changed, nil
}

// offset returns where a line and a column are, both counted from 1, the latter
// in characters; the end of data if there is no such place.
func offset(data []byte, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := bytes.IndexByte(data[at:], '\n')
		if next < 0 {
			return len(data)
		}
		at += next + 1
	}
	for ; column > 1 && at < len(data); column-- {
		_, n := utf8.DecodeRune(data[at:])
		at += n
	}
	return at
}
