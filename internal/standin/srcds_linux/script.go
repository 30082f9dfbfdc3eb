package main

import "strings"

// splitCommands cuts console text into commands: at line ends, and at
// semicolons outside of quotes. Comments (// outside of quotes) are dropped.
func splitCommands(text string) []string {
	var commands []string
	for _, line := range strings.Split(text, "\n") {
		quoted, start := false, 0
		end := len(line)
		for i := 0; i < end; i++ {
			switch {
			case line[i] == '"':
				quoted = !quoted
			case quoted:
			case line[i] == ';':
				commands = append(commands, line[start:i])
				start = i + 1
			case strings.HasPrefix(line[i:], "//"):
				end = i
			}
		}
		commands = append(commands, line[start:end])
	}
	var kept []string
	for _, c := range commands {
		if c = strings.TrimSpace(c); c != "" {
			kept = append(kept, c)
		}
	}
	return kept
}

// parseCommand separates a command's name from its arguments. As the game
// does for a variable, it takes the whole rest as one value, and its outer
// quotes off.
func parseCommand(text string) command {
	name, args := text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		name, args = text[:i], text[i+1:]
	}
	name = strings.Trim(name, `"`)
	args = strings.TrimSpace(args)
	if strings.HasPrefix(args, `"`) {
		args = strings.TrimSuffix(args[1:], `"`)
	}
	return command{strings.ToLower(name), args}
}
