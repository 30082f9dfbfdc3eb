package main

import "strings"

// commandLine is the game's: -switches, each with an optional value, and
// +commands with the words that follow. Unknown ones are accepted.
type commandLine struct {
	switches map[string]string // without the dash
	commands []command         // in order
}

type command struct {
	name string
	args string // the words after the name, joined by one space
}

func parseCommandLine(words []string) commandLine {
	line := commandLine{switches: map[string]string{}}
	for i := 0; i < len(words); {
		name := words[i]
		i++
		var values []string
		for i < len(words) && !strings.HasPrefix(words[i], "+") && !isSwitch(words[i]) {
			values = append(values, words[i])
			i++
		}
		switch {
		case strings.HasPrefix(name, "+"):
			line.commands = append(line.commands, command{name[1:], strings.Join(values, " ")})
		case isSwitch(name) && len(values) > 0:
			line.switches[name[1:]] = values[0]
		case isSwitch(name):
			line.switches[name[1:]] = ""
		}
	}
	return line
}

// isSwitch reports whether word begins a switch; a negative number is a value.
func isSwitch(word string) bool {
	return len(word) > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9')
}

// command returns the arguments of the first +name.
func (l commandLine) command(name string) (args string, ok bool) {
	for _, c := range l.commands {
		if c.name == name {
			return c.args, true
		}
	}
	return "", false
}

func (l commandLine) has(name string) bool {
	_, ok := l.switches[name]
	return ok
}
