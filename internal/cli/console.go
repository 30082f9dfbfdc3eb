package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/listener"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/record"
	"l4d2-host/internal/servercfg"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type consoleCommand struct {
	Name    nameArg  `arg:"" help:"Instance whose console to use."`
	Command []string `arg:"" optional:"" passthrough:"" complete:"none" help:"Console command. One word is taken as it is, of several each that needs it is quoted. Without one: a prompt, or the lines of standard input."`
}

// Help is what --help prints besides.
func (*consoleCommand) Help() string {
	return "Uses RCON with the password that the server was started with. A wrong password is not tried again: " +
		"the server bans who fails too often. At the prompt, exit, quit and Ctrl-D leave the console, and the server goes on.\n\n" +
		"Example: l4d2ctl console versus status"
}

func (c *consoleCommand) Run(s *session) error {
	n := c.Name.Name
	command, err := consoleLine(c.Command)
	if err != nil {
		return fmt.Errorf("%s: %w", n, err)
	}
	port, password, err := s.consoleOf(n)
	if err != nil {
		return err
	}
	conn, err := s.dialConsole(n, port, password)
	if err != nil {
		return err
	}
	defer conn.Close()
	if command != "" {
		return s.execute(conn, n, command)
	}
	in, ok := s.In.(*os.File)
	out, also := s.Out.(*os.File)
	if ok && also && isTerminal(in) && isTerminal(out) {
		return s.prompt(conn, n, in, out)
	}
	return s.executeLines(conn, n, s.In)
}

// consoleLine makes a line of the console from words of a shell. Several words
// are words of one command, so that a semicolon or a blank in one stays there.
func consoleLine(words []string) (string, error) {
	if len(words) > 0 && words[0] == "--" {
		words = words[1:]
	}
	if len(words) == 1 {
		return words[0], nil
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		if strings.ContainsAny(w, "\"\n") {
			return "", fmt.Errorf("the console has no way to write %q within a command: give the whole line as one word", w)
		}
		if w == "" || strings.ContainsAny(w, " \t;{}()':") || strings.Contains(w, "//") {
			w = `"` + w + `"`
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " "), nil
}

// consoleOf returns where the running server's console is, and the password
// that it was started with.
func (s *session) consoleOf(n instance.Name) (port uint16, password string, err error) {
	st, err := s.open()
	if err != nil {
		return 0, "", err
	}
	if _, _, err := st.Load(n); errors.Is(err, store.ErrUnknown) {
		return 0, "", unknown(n)
	}
	m, err := s.Connect(s.ctx)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", n, err)
	}
	defer m.Close()
	u, err := s.unit(m, n)
	if err != nil {
		return 0, "", fmt.Errorf("%s: %w", n, err)
	}
	if s.foreign(u, n) {
		return 0, "", fmt.Errorf("%s: %s is of another root", n, unitName(n))
	}
	return s.consoleAt(n, u)
}

// consoleAt is consoleOf for an instance whose unit is known.
func (s *session) consoleAt(n instance.Name, u systemd.Unit) (port uint16, password string, err error) {
	if u.MainPID == 0 {
		return 0, "", &problem{err: fmt.Errorf("%s: not running, %s is %s", n, unitName(n), state(u)),
			hints: []string{fmt.Sprintf("start it with: %s start %s", program, n)}}
	}
	start, err := record.ReadStart(s.layout, n)
	if err != nil || start.At.Before(u.Begun) {
		// Started by a version that kept no record: the files of now.
		if start.Env, err = instance.ReadEnv(s.layout, n); err == nil {
			start.ServerConfig, err = instance.ReadFile(s.layout.ServerConfig(n), maxServerConfig)
		}
		if err != nil {
			return 0, "", readable(fmt.Errorf("%s: %w", n, err))
		}
	}
	password = rconPassword(start)
	if password == "" {
		return 0, "", &problem{err: fmt.Errorf("%s: its server.cfg sets no %s, and without one the game has no remote console", n, servercfg.RCONPassword),
			hints: []string{fmt.Sprintf("add a line such as '%s \"…\"' to config in its spec, with: %s edit %s; then: %s restart %s",
				servercfg.RCONPassword, program, n, program, n)}}
	}
	return start.Env.Port, password, nil
}

// rconPassword is what server.cfg sets, which the game executes after its
// command line, and with each map.
func rconPassword(start record.Start) string {
	if value, ok := servercfg.Value(string(start.ServerConfig), servercfg.RCONPassword); ok {
		return value
	}
	words, err := envfile.SplitWords(start.Env.Args)
	if err != nil {
		return ""
	}
	password := ""
	for i, w := range words[:max(len(words)-1, 0)] {
		if strings.EqualFold(w, "+"+servercfg.RCONPassword) {
			password = words[i+1]
		}
	}
	return password
}

// gameUser looks up the game's user.
func gameUser() (int, error) {
	u, err := user.Lookup(instance.User)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(u.Uid)
}

// dialConsole logs in, once.
func (s *session) dialConsole(n instance.Name, port uint16, password string) (*rcon.Conn, error) {
	if err := s.checkListener(port); err != nil {
		return nil, fmt.Errorf("%s: %w", n, err)
	}
	conn, err := rcon.Dial(s.ctx, loopback(port), password)
	if err == nil {
		return conn, nil
	}
	p := &problem{err: fmt.Errorf("%s: %w", n, interrupted(err))}
	switch {
	case errors.Is(err, rcon.ErrPassword):
		p.hints = append(p.hints,
			"the server was started with the password that was tried, so another configuration file, a plug-in or someone at the console has changed it since; it is not tried again: the server bans who fails too often",
			fmt.Sprintf("a restart sets it as in the spec: %s restart %s", program, n))
	case errors.Is(err, rcon.ErrClosed):
		p.hints = append(p.hints, fmt.Sprintf("a ban of this machine ends with: %s restart %s", program, n))
	case errors.Is(err, syscall.ECONNREFUSED):
		p.hints = append(p.hints, fmt.Sprintf("the server may still be starting, or not listen on the loopback interface; see: %s status %s", program, n))
	case errors.Is(err, context.DeadlineExceeded):
		p.hints = append(p.hints, fmt.Sprintf("it may be loading a map, or hang; see: %s status %s", program, n))
	}
	return nil, p
}

// checkListener makes sure that the password does not go to a program of
// someone else who has the port.
func (s *session) checkListener(port uint16) error {
	game, err := s.GameUser()
	if err != nil {
		return fmt.Errorf("user %s: %w", instance.User, err)
	}
	owners, err := listener.Owners(port)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(owners, func(uid int) bool { return uid != game }); i >= 0 {
		return &problem{err: fmt.Errorf("port %d/tcp belongs to a program of user %d, not of %s: the password is not sent there", port, owners[i], instance.User),
			hints: []string{fmt.Sprintf("see who has it with: ss -ltnp 'sport = :%d'", port)}}
	}
	return nil
}

// endsServer are the commands after which no answer comes.
var endsServer = []string{"quit", "exit", "crash", "_restart"}

// execute runs one line and shows all of its answer.
func (s *session) execute(conn *rcon.Conn, n instance.Name, line string) error {
	answer, err := conn.Exec(s.ctx, line)
	if answer = printable.Text(answer); answer != "" {
		s.print(strings.TrimRight(answer, "\n") + "\n")
	}
	first, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if errors.Is(err, rcon.ErrClosed) && slices.Contains(endsServer, strings.ToLower(first)) {
		s.step(n, "the server has ended; systemd starts it again unless it is stopped")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", n, interrupted(err))
	}
	return nil
}

// executeLines runs the lines of a file or a pipe.
func (s *session) executeLines(conn *rcon.Conn, n instance.Name, r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := interruptible(s.ctx, func() (string, error) { return lines.ReadString('\n') })
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", n, err)
		}
		if command := strings.TrimSpace(line); command != "" {
			if err := s.execute(conn, n, command); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}
