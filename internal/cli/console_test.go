package cli

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"l4d2-host/internal/record"
)

// consoleServer is a game's remote console.
type consoleServer struct {
	password string
	answer   func(command string) string // "CLOSE" closes the connection

	mu     sync.Mutex
	logins []string // passwords that were tried
}

// start listens on a free port of the loopback interface until the test ends.
func (c *consoleServer) start(t *testing.T) (port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Add(1)
	go func() {
		defer all.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Add(1)
			go func() {
				defer all.Done()
				defer conn.Close()
				conn.SetDeadline(time.Now().Add(time.Minute))
				c.serve(conn)
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func (c *consoleServer) serve(conn net.Conn) {
	send := func(id, kind int32, body string) {
		binary.Write(conn, binary.LittleEndian, []int32{int32(len(body) + 10), id, kind})
		io.WriteString(conn, body+"\x00\x00")
	}
	for {
		var head [3]int32 // size, id, kind
		if binary.Read(conn, binary.LittleEndian, &head) != nil {
			return
		}
		rest := make([]byte, head[0]-8)
		if _, err := io.ReadFull(conn, rest); err != nil {
			return
		}
		body := strings.TrimRight(string(rest), "\x00")
		switch head[2] {
		case 3:
			c.mu.Lock()
			c.logins = append(c.logins, body)
			c.mu.Unlock()
			send(head[1], 0, "")
			if body != c.password {
				send(-1, 2, "")
				continue
			}
			send(head[1], 2, "")
		case 2:
			answer := c.answer(body)
			if answer == "CLOSE" {
				return
			}
			for ; len(answer) > 4000; answer = answer[4000:] {
				send(head[1], 0, answer[:4000])
			}
			send(head[1], 0, answer)
		case 0:
			send(head[1], 0, "")
		}
	}
}

func (c *consoleServer) tried() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.logins
}

// consoleHost is a host with an instance "a" that was started with the
// server's port and password.
func consoleHost(t *testing.T, c *consoleServer) *host {
	t.Helper()
	h := newHost(t, "a")
	h.onPort("a", c.start(t), fmt.Sprintf("config: ['rcon_password \"%s\"']\n", c.password))
	h.writeStart("a")
	h.set("a", up)
	return h
}

func TestConsole(t *testing.T) {
	long := strings.Repeat("0123456789", 2000)
	c := &consoleServer{password: "a secret", answer: func(command string) string {
		switch command {
		case "long":
			return long
		case "hostile":
			return "a\x1b[2J\r\nb\tc\n"
		case "quit":
			return "CLOSE"
		case "silent":
			return ""
		}
		return "got " + command + "\n"
	}}
	h := consoleHost(t, c)
	// The password is that of the start, whatever the spec says by now.
	h.onPort("a", h.listedPort("a"), "config: [rcon_password new]\n")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"status"}, "got status\n"},
		{[]string{"say hi; status"}, "got say hi; status\n"},
		{[]string{"say", "hi; quit"}, "got say \"hi; quit\"\n"},
		{[]string{"sv_gravity", "-800"}, "got sv_gravity -800\n"},
		{[]string{"--", "sv_x", "--flag", ""}, "got sv_x --flag \"\"\n"},
		{[]string{"long"}, long + "\n"},
		{[]string{"hostile"}, "a\\x1b[2J\nb\tc\n"},
		{[]string{"silent"}, ""},
		{[]string{"quit"}, ""},
	} {
		h.run(ExitDone, append([]string{"console", "a"}, tt.args...)...)
		if h.out.String() != tt.want {
			t.Errorf("%q: got %.80q, want %.80q", tt.args, h.out.String(), tt.want)
		}
	}
	h.says(&h.err, "a: the server has ended; systemd starts it again")
	h.run(ExitFailed, "console", "a", "say", "\"quoted\"")
	h.says(&h.err, "give the whole line as one word")

	h.program.In = strings.NewReader("one\n\n  two \nthree")
	h.run(ExitDone, "console", "a")
	if h.out.String() != "got one\ngot two\ngot three\n" {
		t.Errorf("lines: %q", &h.out)
	}
}

func TestConsoleClosed(t *testing.T) {
	h := consoleHost(t, &consoleServer{password: "x", answer: func(string) string { return "CLOSE" }})
	h.run(ExitFailed, "console", "a", "status")
	h.says(&h.err, "l4d2ctl: console: a: rcon 127.0.0.1:", "the server closed the connection\n")
}

// A wrong password is explained, tried once, and not shown.
func TestConsoleWrongPassword(t *testing.T) {
	c := &consoleServer{password: "right"}
	h := consoleHost(t, c)
	c.password = "changed"
	h.run(ExitFailed, "console", "a", "status")
	h.says(&h.err, "wrong rcon password\n", "hint: the server was started with the password that was tried", "the server bans who fails too often", "l4d2ctl restart a\n")
	h.saysNot(&h.err, "right")
	if tried := c.tried(); len(tried) != 1 || tried[0] != "right" {
		t.Errorf("tried %q", tried)
	}
}

func TestConsoleWithoutPassword(t *testing.T) {
	c := &consoleServer{}
	for _, config := range []string{"", "config: ['rcon_password \"\"']\n", "arguments: [+rcon_password x]\nconfig: ['rcon_password \"\"']\n"} {
		h := consoleHost(t, c)
		h.onPort("a", h.listedPort("a"), config)
		h.writeStart("a")
		h.run(ExitFailed, "console", "a", "status")
		h.says(&h.err, "a: its server.cfg sets no rcon_password", "hint: add a line", "l4d2ctl edit a")
	}
	if tried := c.tried(); len(tried) > 0 {
		t.Errorf("tried %q", tried)
	}
	c.password, c.answer = "of the line", func(string) string { return "yes" }
	h := consoleHost(t, c)
	h.onPort("a", h.listedPort("a"), "arguments: ['+rcon_password \"of the line\"']\n")
	h.writeStart("a")
	h.run(ExitDone, "console", "a", "status")
}

func TestConsoleOfNoServer(t *testing.T) {
	h := newHost(t, "a")
	h.run(ExitFailed, "console", "a", "status")
	h.says(&h.err, "a: not running, l4d2@a.service is inactive\n", "hint: start it with: l4d2ctl start a\n")
	h.run(ExitFailed, "console", "b", "status")
	h.says(&h.err, "b: no such instance")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	h.onPort("a", uint16(l.Addr().(*net.TCPAddr).Port), "config: [rcon_password x]\n")
	l.Close()
	h.set("a", up) // and no record: the files of now
	h.run(ExitFailed, "console", "a", "status")
	h.says(&h.err, "connection refused", "hint: the server may still be starting")
}

// The port can be anyone's while the server does not have it.
func TestConsoleOfSomeoneElse(t *testing.T) {
	c := &consoleServer{password: "x"}
	h := consoleHost(t, c)
	h.program.GameUser = func() (int, error) { return os.Getuid() + 1, nil }
	h.run(ExitFailed, "console", "a", "status")
	h.says(&h.err, "/tcp belongs to a program of user 0, not of l4d2: the password is not sent there", "hint: see who has it")
	if tried := c.tried(); len(tried) > 0 {
		t.Errorf("tried %q", tried)
	}
}

func TestConsolePrompt(t *testing.T) {
	h := consoleHost(t, &consoleServer{password: "x", answer: func(command string) string { return "got <" + command + ">" }})
	ours, programs := terminal(t)
	h.program.In, h.program.Out = programs, programs
	for _, leave := range []string{"exit\r", "quit\r", "\x04", "\x03"} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.run(ExitDone, "console", "a")
		}()
		until(t, ours, "a> ")
		// The cursor to the left, a letter there, and to the end of the line.
		io.WriteString(ours, "ay\x1b[D\x1b[Ds\x05 hi\r")
		until(t, ours, "got <say hi>\r\n", "a> ")
		io.WriteString(ours, "\x1b[A\r") // the line before
		until(t, ours, "got <say hi>\r\n", "a> ")
		io.WriteString(ours, leave)
		<-ended
		if strings.HasPrefix(leave, "q") {
			h.says(&h.err, "a: left; this would end the server: l4d2ctl stop a\n")
		}
	}
}

// Interrupted while it waits for an answer, and while it waits for a line; the
// terminal is as it was.
func TestConsoleInterrupted(t *testing.T) {
	asked := make(chan struct{}, 1)
	release := make(chan struct{})
	defer close(release)
	h := consoleHost(t, &consoleServer{password: "x", answer: func(string) string { asked <- struct{}{}; <-release; return "" }})
	ctx, interrupt := context.WithCancel(context.Background())
	go func() { <-asked; interrupt() }()
	h.runIn(ctx, ExitInterrupted, "console", "a", "status")
	h.says(&h.err, "l4d2ctl: console: a: interrupted")

	ours, programs := terminal(t)
	h.program.In, h.program.Out = programs, programs
	ctx, interrupt = context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.runIn(ctx, ExitInterrupted, "console", "a")
	}()
	until(t, ours, "a> ")
	interrupt()
	<-ended
	io.WriteString(ours, "x\n")
	until(t, ours, "x\r\n") // echoed: no longer raw
}

// portOf is where the server of the instance "a" listens.
func (c *consoleServer) portOf(h *host) uint16 {
	h.t.Helper()
	start, err := record.ReadStart(h.layout, "a")
	must(h.t, err)
	return start.Env.Port
}
