package steam

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Progress is how far an update is, as steamcmd last said.
type Progress struct {
	Phase       string // downloading, verifying update, …; "updating steamcmd" for its own
	Percent     float64
	Done, Total uint64 // bytes; 0 where it is not known
}

// Lines of progress, for a Windows or Linux of any language: some print a comma
// in numbers.
//
//	Update state (0x61) downloading, progress: 12.34 (123 / 1000)
//	[ 12%] Downloading update (2,819 of 50,772 KB)...
var (
	stateLine = regexp.MustCompile(`Update state \(0x[0-9a-fA-F]{1,8}\) ([a-z ]{1,32}), progress: ([0-9]{1,3})[.,]([0-9]{1,2}) \(([0-9]{1,19}) / ([0-9]{1,19})\)`)
	ownLine   = regexp.MustCompile(`^\[ *([0-9]{1,3})%\] ([A-Z][a-z ]{1,32})`)
)

// ParseProgress reads one line of steamcmd's.
func ParseProgress(line string) (Progress, bool) {
	if m := stateLine.FindStringSubmatch(line); m != nil {
		p := Progress{Phase: m[1]}
		p.Percent, _ = strconv.ParseFloat(m[2]+"."+m[3], 64)
		var err1, err2 error
		p.Done, err1 = strconv.ParseUint(m[4], 10, 63)
		p.Total, err2 = strconv.ParseUint(m[5], 10, 63)
		return p, p.Percent <= 100 && err1 == nil && err2 == nil
	}
	if m := ownLine.FindStringSubmatch(line); m != nil {
		percent, _ := strconv.ParseFloat(m[1], 64)
		return Progress{Phase: "updating steamcmd", Percent: percent}, percent <= 100
	}
	return Progress{}, false
}

// String is what systemctl status shows; ParseStatus reads it.
func (p Progress) String() string {
	text := fmt.Sprintf("%s: %.2f%%", p.Phase, p.Percent)
	if p.Total > 0 {
		text += fmt.Sprintf(" (%d of %d bytes)", p.Done, p.Total)
	}
	return text
}

var statusText = regexp.MustCompile(`^([a-z ]{1,32}): ([0-9]{1,3}\.[0-9]{2})%(?: \(([0-9]{1,19}) of ([0-9]{1,19}) bytes\))?`)

// ParseStatus reads what String wrote.
func ParseStatus(text string) (Progress, bool) {
	m := statusText.FindStringSubmatch(text)
	if m == nil {
		return Progress{}, false
	}
	p := Progress{Phase: m[1]}
	p.Percent, _ = strconv.ParseFloat(m[2], 64)
	if m[3] != "" {
		var err1, err2 error
		p.Done, err1 = strconv.ParseUint(m[3], 10, 63)
		p.Total, err2 = strconv.ParseUint(m[4], 10, 63)
		if err1 != nil || err2 != nil {
			return Progress{}, false
		}
	}
	return p, p.Percent <= 100
}

// verdict is what a run's output says of its end.
type verdict struct {
	success bool
	failure *Failure
}

var (
	stateError   = regexp.MustCompile(`Error! App '` + App + `' state is 0x([0-9a-fA-F]{1,8}) after update job`)
	installError = regexp.MustCompile(`ERROR! Failed to install app '` + App + `' \(([^()]{1,100})\)`)
	loginError   = regexp.MustCompile(`(?:FAILED \(([^()]{1,100})\)|FAILED login with result code ([A-Za-z ]{1,100})|Login Failure: ([A-Za-z \-]{1,100})|FAILED with result code ([0-9]{1,4}))`)
)

// judge reads one line. The last verdict of a run counts: steamcmd goes on
// after some errors and succeeds.
func (v *verdict) judge(line string) {
	switch {
	case strings.Contains(line, "Success! App '"+App+"' fully installed"),
		strings.Contains(line, "Success! App '"+App+"' already up to date"):
		*v = verdict{success: true}
		return
	}
	if f := failureOf(line); f != nil {
		*v = verdict{failure: f}
	}
}

func failureOf(line string) *Failure {
	if m := stateError.FindStringSubmatch(line); m != nil {
		state, _ := strconv.ParseUint(m[1], 16, 32)
		return &Failure{Kind: kindOfState(state), Text: line}
	}
	if m := installError.FindStringSubmatch(line); m != nil {
		return &Failure{Kind: kindOf(m[1]), Text: line}
	}
	if m := loginError.FindStringSubmatch(line); m != nil {
		kind := Login
		if transientLogin(m[1] + m[2] + m[3]) {
			kind = Transient
		}
		return &Failure{Kind: kind, Text: line}
	}
	for _, known := range sentences {
		if strings.Contains(line, known.text) {
			return &Failure{Kind: known.kind, Text: line}
		}
	}
	return nil
}

// maxLine bounds what is kept of one line, in bytes.
const maxLine = 1024

// splitter cuts steamcmd's output into lines. On a terminal it moves to the
// start of the line for new progress, and colours some lines.
type splitter struct {
	line   []byte
	escape escapeState
	emit   func(line string)
}

type escapeState int

const (
	plain   escapeState = iota
	escaped             // behind ESC
	control             // behind ESC [
)

func (s *splitter) Write(data []byte) (int, error) {
	for _, c := range data {
		s.take(c)
	}
	return len(data), nil
}

func (s *splitter) take(c byte) {
	switch {
	case s.escape == escaped:
		s.escape = plain
		if c == '[' {
			s.escape = control
		}
	case s.escape == control:
		// ECMA-48: parameters and intermediates lie below 0x40.
		if c >= 0x40 || c == '\n' {
			s.escape = plain
		}
	case c == 0x1b:
		s.escape = escaped
	case c == '\n' || c == '\r':
		s.flush()
	case len(s.line) < maxLine:
		s.line = append(s.line, c)
	}
}

// flush ends the line that has begun.
func (s *splitter) flush() {
	line := string(bytes.TrimSpace(bytes.ToValidUTF8(s.line, []byte("?"))))
	s.line = s.line[:0]
	if line != "" {
		s.emit(line)
	}
}
