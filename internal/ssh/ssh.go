// Package ssh makes the commands that run something on another machine. They
// are the operator's own ssh(1): its keys, agent, jump hosts and known hosts
// decide, as they do for "systemctl --host". Nothing of the protocol is here.
package ssh

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Host is another machine, as systemctl --host names it.
type Host struct {
	target string // [USER@]HOST, or an alias of ssh_config(5)
	port   string // or ""
}

// With a port as in systemctl's own --host; an address with colons of its own
// can be written ssh://HOST.
var withPort = regexp.MustCompile(`^([^:]+):([0-9]+)$`)

// ParseHost reads [USER@]HOST[:PORT]. An address of IPv6 takes no port, a URL of
// ssh's does.
func ParseHost(s string) (Host, error) {
	switch {
	case s == "":
		return Host{}, fmt.Errorf("the host is empty")
	case strings.HasPrefix(s, "-"), strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return Host{}, fmt.Errorf("host %q: want [USER@]HOST[:PORT]", s)
	}
	if m := withPort.FindStringSubmatch(s); m != nil {
		if port, err := strconv.ParseUint(m[2], 10, 16); err != nil || port == 0 {
			return Host{}, fmt.Errorf("host %q: port %s is not 1 to 65535", s, m[2])
		}
		return Host{m[1], m[2]}, nil
	}
	_, name, found := strings.Cut(s, "@")
	if !found {
		name = s
	}
	if _, err := netip.ParseAddr(name); err != nil && strings.Contains(name, ":") && !strings.HasPrefix(s, "ssh://") {
		return Host{}, fmt.Errorf("host %q: want [USER@]HOST[:PORT], an IPv6 address, or ssh://[USER@]HOST[:PORT]", s)
	}
	return Host{s, ""}, nil
}

// String returns the host without its port.
func (h Host) String() string { return h.target }

// Zero says that it is no host: this machine.
func (h Host) Zero() bool { return h == Host{} }

// Command returns the command that runs argv, word for word, on the host; with
// a terminal there if asked. When ctx ends, ssh is ended, and on the host what
// it ran loses its streams.
func (h Host) Command(ctx context.Context, terminal bool, argv ...string) *exec.Cmd {
	args := h.arguments(terminal, argv)
	return ended(exec.CommandContext(ctx, args[0], args[1:]...))
}

// Channel is Command for what has to outlive a Ctrl-C: the terminal sends that
// to ssh as well, which would end, and with it the way to undo what was begun.
func (h Host) Channel(ctx context.Context, argv ...string) *exec.Cmd {
	// A signal that is ignored stays so when a program is replaced, and ssh
	// leaves it at that (its clientloop.c).
	args := append([]string{"-c", `trap "" INT; exec "$@"`, "sh"}, h.arguments(false, argv)...)
	return ended(exec.CommandContext(ctx, "sh", args...))
}

func ended(cmd *exec.Cmd) *exec.Cmd {
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (h Host) arguments(terminal bool, argv []string) []string {
	args := []string{"ssh", "-x", "-T"}
	if terminal {
		args[2] = "-t"
	}
	if h.port != "" {
		args = append(args, "-p", h.port)
	}
	words := make([]string, len(argv))
	for i, word := range argv {
		words[i] = quote(word)
	}
	// ssh joins its arguments with spaces and a shell takes them apart there.
	return append(args, "--", h.target, strings.Join(words, " "))
}

// plain words need no quotes in any shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// quote makes one word of a shell (sh, bash, zsh, fish) of s.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	// Outside of the quotes a backslash keeps both itself and a quote.
	return "'" + strings.NewReplacer(`'`, `'\''`, `\`, `'\\'`).Replace(s) + "'"
}
