// Package protocol is what the host and the init of a virtual machine tell
// each other: the host gives commands in a file of the initial RAM file system,
// the guest answers in marked lines on its second serial port, between which
// the commands' own output appears.
package protocol

import (
	"fmt"
	"strconv"
	"strings"
)

// The places in the initial RAM file system.
const (
	CommandsFile = "commands.json" // a JSON array of argument lists
	ModulesDir   = "modules"       // modules, to be loaded in the order of their names
	SystemFile   = "system"        // if there: the disk has a first process of its own
)

// Answers is the serial port of the answers, as the guest calls it. The first
// port is the kernel's console, whose messages would break into lines.
const Answers = "/dev/ttyS1"

const mark = "\x01l4d2 "

// Line is one marked line of the guest.
type Line struct {
	Kind Kind
	Text string // why the guest gave up
	Code int    // a command's exit status; 128 and more when a signal ended it
}

// Kind says what a marked line is about.
type Kind string

// The kinds.
const (
	Exit  Kind = "exit"  // after each command
	Error Kind = "error" // instead of the rest
	Done  Kind = "done"  // after the last command, before the power goes off
)

// String returns the line as it is sent, with its end. It begins with one too,
// as a command may have left a line unfinished.
func (l Line) String() string {
	return fmt.Sprintf("\n%s%s %d %s\n", mark, l.Kind, l.Code, strings.ReplaceAll(l.Text, "\n", " "))
}

// Parse returns the marked line that text is, without its end.
func Parse(text string) (Line, bool) {
	rest, ok := strings.CutPrefix(text, mark)
	if !ok {
		return Line{}, false
	}
	fields := strings.SplitN(rest, " ", 3)
	if len(fields) != 3 {
		return Line{}, false
	}
	code, err := strconv.Atoi(fields[1])
	return Line{Kind(fields[0]), fields[2], code}, err == nil
}
