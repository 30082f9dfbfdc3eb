package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/printable"
)

// output keeps lines whole while several instances are worked on side by side.
type output struct {
	mu       sync.Mutex
	out, err io.Writer
	colour   bool  // on out
	lost     error // the first result that could not be written
}

// result says on stdout what has become of an instance.
func (o *output) result(n instance.Name, format string, args ...any) {
	o.print(fmt.Sprintf("%s: %s\n", n, fmt.Sprintf(format, args...)))
}

// print writes text to stdout as it is.
func (o *output) print(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := io.WriteString(o.out, text); err != nil && o.lost == nil {
		o.lost = err
	}
}

// printJSON writes v to stdout, for programs.
func (o *output) printJSON(v any) error {
	text, err := jsonText(v)
	if err == nil {
		o.print(text)
	}
	return err
}

// jsonText is v for programs, without anything that a terminal would obey.
func jsonText(v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return string(printable.JSON(text)) + "\n", err
}

// written is the error of writing a result: a script that reads them must not
// take a full disk for an answer.
func (o *output) written() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lost != nil {
		return fmt.Errorf("write the result: %w", o.lost)
	}
	return nil
}

// step says on stderr what is about to be done to an instance.
func (o *output) step(n instance.Name, format string, args ...any) {
	o.note(fmt.Sprintf("%s: %s\n", n, fmt.Sprintf(format, args...)))
}

// warn says on stderr what does not stop the command.
func (o *output) warn(format string, args ...any) {
	o.note(fmt.Sprintf("%s: warning: %s\n", program, fmt.Sprintf(format, args...)))
}

// hint says on stderr what the operator can do.
func (o *output) hint(format string, args ...any) {
	o.note(fmt.Sprintf("%s: hint: %s\n", program, fmt.Sprintf(format, args...)))
}

func (o *output) note(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.err, text)
}

// problem is an error with what helps to solve it.
type problem struct {
	err    error
	detail []string // lines of someone else, such as the journal's
	hints  []string // lines of advice
}

func (p *problem) Error() string { return p.err.Error() }
func (p *problem) Unwrap() error { return p.err }

// problems are the errors of several instances, each reported by itself.
type problems []error

func (p problems) Error() string {
	texts := make([]string, len(p))
	for i, err := range p {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (p problems) Unwrap() []error { return p }

// report writes err to stderr, with the name of the command in front unless
// that is empty.
func (o *output) report(verb string, err error) {
	var all problems
	if errors.As(err, &all) {
		for _, err := range all {
			o.report(verb, err)
		}
		return
	}
	prefix := program + ": "
	if verb != "" {
		prefix += verb + ": "
	}
	var text strings.Builder
	for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		// Not every package quotes what is anyone's: a tag in a backup's spec, say.
		fmt.Fprintf(&text, "%s%s\n", prefix, printable.Line(line))
	}
	var p *problem
	if !errors.As(err, &p) {
		p = &problem{}
	}
	for _, line := range p.detail {
		fmt.Fprintf(&text, "    %s\n", line)
	}
	if hint := advice.For(err); hint != "" {
		fmt.Fprintf(&text, "%s: hint: %s\n", program, hint)
	}
	for _, hint := range p.hints {
		fmt.Fprintf(&text, "%s: hint: %s\n", program, hint)
	}
	o.note(text.String())
}
