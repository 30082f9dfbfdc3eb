package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"
	"go.yaml.in/yaml/v3"

	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
)

// Parse reads a spec with the contents data; file is its name for errors. The
// error holds all that is wrong, one FILE:LINE: message on a line, in the
// order of the lines.
func Parse(file string, data []byte) (*Spec, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("%s: %d bytes long, at most %d are allowed", file, len(data), MaxFile)
	}
	root, err := decode(file, data)
	if err != nil {
		return nil, err
	}
	p := &parser{spec: &Spec{file: file}}
	p.document(root)
	if err := p.err(); err != nil {
		return nil, err
	}
	if _, err := p.spec.Env(); err != nil {
		return nil, err
	}
	return p.spec, nil
}

// decode returns the value of the only document.
func decode(file string, data []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(data))
	var document, next yaml.Node
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s:1: the spec is empty: port is missing", file)
	}
	if err != nil {
		return nil, syntaxError(file, err)
	}
	switch err := d.Decode(&next); {
	case errors.Is(err, io.EOF):
		return document.Content[0], nil
	case err != nil:
		return nil, syntaxError(file, err)
	}
	return nil, fmt.Errorf("%s:%d: a second document: a spec is one", file, next.Line)
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntaxError moves the line that the YAML package names to the front.
func syntaxError(file string, err error) error {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	text = text[len(m[0]):]
	if m[1] == "" {
		return fmt.Errorf("%s: not YAML: %s", file, text)
	}
	return fmt.Errorf("%s:%s: not YAML: %s", file, m[1], text)
}

type problem struct {
	line int
	text string
}

// parser fills spec and collects what is wrong.
type parser struct {
	spec     *Spec
	problems []problem
}

func (p *parser) add(line int, format string, a ...any) {
	p.problems = append(p.problems, problem{line, fmt.Sprintf(format, a...)})
}

func (p *parser) err() error {
	slices.SortStableFunc(p.problems, func(a, b problem) int { return a.line - b.line })
	var errs []error
	for _, q := range p.problems {
		errs = append(errs, fmt.Errorf("%s: %s", p.spec.position(q.line), q.text))
	}
	return errors.Join(errs...)
}

// key is one key of the spec, with what reads its value.
type key struct {
	name  string
	parse func(*parser, *yaml.Node)
}

var keys = []key{
	{"port", (*parser).port},
	{"arguments", (*parser).arguments},
	{"overlays", (*parser).overlays},
	{"release", (*parser).release},
	{"config", (*parser).config},
}

// Keys returns the names of all keys that a spec can have.
func Keys() []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

func keyNames() string { return strings.Join(Keys(), ", ") }

func (p *parser) document(root *yaml.Node) {
	if !p.plain("the spec", root) {
		return
	}
	if root.Kind != yaml.MappingNode {
		p.add(root.Line, "the spec must be a mapping with the keys %s", keyNames())
		return
	}
	lines := map[string]int{}
	for i := 0; i < len(root.Content); i += 2 {
		p.entry(root.Content[i], root.Content[i+1], lines)
	}
	if lines["port"] == 0 {
		p.add(root.Line, "port is missing")
	}
}

func (p *parser) entry(name, value *yaml.Node, lines map[string]int) {
	if !p.plain("the key", name) {
		return
	}
	if before := lines[name.Value]; before != 0 {
		p.add(name.Line, "%s: already given in line %d", name.Value, before)
		return
	}
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name.Value })
	if name.Kind != yaml.ScalarNode || i < 0 {
		p.add(name.Line, "unknown key %s; known are %s", strconv.Quote(name.Value), keyNames())
		return
	}
	lines[name.Value] = name.Line
	keys[i].parse(p, value)
}

// plain reports whether n uses nothing of YAML that could make it mean
// something else than is written there, and adds a problem otherwise.
func (p *parser) plain(what string, n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.add(n.Line, "%s: an alias (*%s): write the value out", what, n.Value)
	case n.Anchor != "":
		p.add(n.Line, "%s: an anchor (&%s): remove it", what, n.Anchor)
	case n.Style&yaml.TaggedStyle != 0:
		p.add(n.Line, "%s: a tag (%s): remove it", what, n.Tag)
	default:
		return true
	}
	return false
}

var decimal = regexp.MustCompile(`^-?[0-9]+$`)

func (p *parser) port(n *yaml.Node) {
	if !p.plain("port", n) {
		return
	}
	if n.Kind != yaml.ScalarNode || n.Style != 0 || !decimal.MatchString(n.Value) {
		p.add(n.Line, "port: %s, not a whole number in decimal digits", describe(n))
		return
	}
	port, err := instance.ParsePort(n.Value)
	if err != nil {
		p.add(n.Line, "port: %v", err)
		return
	}
	p.spec.Port, p.spec.portLine = port, n.Line
}

// describe says what n is, for an error that wants something else.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "no value"
	case n.ShortTag() == "!!str":
		return "the text " + strconv.Quote(n.Value)
	}
	return strconv.Quote(n.Value)
}

// texts calls f with each text of the list n. A number or a truth value counts
// as the text that is written there; no value at all is an empty list.
func (p *parser) texts(key string, n *yaml.Node, f func(line int, text string)) {
	if !p.plain(key, n) || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.add(n.Line, "%s: %s, not a list: write each entry on a line of its own behind a dash", key, describe(n))
		return
	}
	for _, item := range n.Content {
		if !p.plain(key, item) {
			continue
		}
		if item.Kind != yaml.ScalarNode || item.ShortTag() == "!!null" {
			p.add(item.Line, "%s: %s, not a text: put quotes around the entry", key, describe(item))
			continue
		}
		if err := envfile.CheckText(item.Value); err != nil {
			p.add(item.Line, "%s: %s: %v", key, strconv.Quote(item.Value), err)
			continue
		}
		f(item.Line, item.Value)
	}
}

// theUnits are the arguments that the unit's ExecStart= gives the server.
var theUnits = map[string]string{
	"-port":           "set the spec's port",
	"+port":           "set the spec's port",
	"-hostport":       "set the spec's port",
	"+hostport":       "set the spec's port",
	"-game":           "leave it out, the unit sets it",
	"-strictportbind": "leave it out, the unit sets it",
	"-ip":             needsLoopback,
	"+ip":             needsLoopback,
}

// needsLoopback: l4d2-watch and l4d2ctl ask the server at 127.0.0.1.
const needsLoopback = "leave it out, the unit has the server listen on all addresses, and asks it on loopback how it is"

func (p *parser) arguments(n *yaml.Node) {
	p.spec.argumentsLine = n.Line
	p.texts("arguments", n, func(line int, text string) {
		words, err := shellquote.Split(text)
		switch {
		case err != nil:
			p.add(line, "arguments: %s: %s", strconv.Quote(text), strings.ToLower(err.Error()))
			return
		case len(words) == 0:
			p.add(line, `arguments: an empty argument: remove it, or write '""' for an empty word`)
			return
		}
		for _, w := range words {
			// The engine compares its arguments without regard to case.
			if instead := theUnits[strings.ToLower(w)]; instead != "" {
				p.add(line, "arguments: %s is not yours to give: %s", w, instead)
			}
			if len(w) > envfile.MaxString {
				p.add(line, "arguments: a word of %d bytes, at most %d are allowed", len(w), envfile.MaxString)
			}
		}
		p.spec.Arguments = append(p.spec.Arguments, text)
		p.spec.argumentLine = append(p.spec.argumentLine, line)
		p.spec.words = append(p.spec.words, words)
	})
}

func (p *parser) overlays(n *yaml.Node) {
	lines := map[instance.Name]int{}
	p.texts("overlays", n, func(line int, text string) {
		name, err := instance.ParseName(text)
		if err != nil {
			p.add(line, "overlays: %v", err)
			return
		}
		if before := lines[name]; before != 0 {
			p.add(line, "overlays: %s is already named in line %d", name, before)
			return
		}
		lines[name] = line
		if len(lines) == instance.MaxLayers {
			p.add(line, "overlays: %s is one too many: the kernel allows %d layers above the installation", name, instance.MaxLayers-1)
		}
		p.spec.Overlays = append(p.spec.Overlays, name)
		p.spec.overlayLine = append(p.spec.overlayLine, line)
	})
}

func (p *parser) release(n *yaml.Node) {
	if !p.plain("release", n) {
		return
	}
	// A name such as 2026-11-25 is a date to YAML, and means what is written.
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		p.add(n.Line, "release: %s, not the name of a release", describe(n))
		return
	}
	name, err := instance.ParseName(n.Value)
	if err != nil {
		p.add(n.Line, "release: %v", err)
		return
	}
	p.spec.Release, p.spec.releaseLine = name, n.Line
}

func (p *parser) config(n *yaml.Node) {
	p.texts("config", n, func(_ int, text string) {
		p.spec.Config = append(p.spec.Config, text)
	})
	for _, item := range n.Content {
		if cutByComment(item) {
			p.add(item.Line, "config: %s, and a comment: the quote does not end; put ' around the entry, or YAML takes what follows # for a comment",
				strconv.Quote(item.Value))
		}
	}
}

// cutByComment says that an entry such as
//
//   - hostname "Versus #1"
//
// has lost its end.
func cutByComment(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.LineComment != "" && strings.Count(n.Value, `"`)%2 == 1
}
