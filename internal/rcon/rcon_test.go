package rcon

import (
	"bufio"
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4d2-host/internal/standin"
)

const password = "a secret"

// limited is a context that ends well before go test loses patience.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// start runs the stand-in until the test ends.
func start(t *testing.T) *standin.Process {
	t.Helper()
	root, binary := t.TempDir(), filepath.Join(t.TempDir(), "srcds_linux")
	if err := standin.Build(limited(t), binary); err != nil {
		t.Fatal(err)
	}
	if err := standin.Install(root, binary); err != nil {
		t.Fatal(err)
	}
	p, err := standin.Start(context.Background(), root, "-ip", "127.0.0.1", "-port", "0", "+rcon_password", password, "+map", "c1m1_hotel")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

func TestStandIn(t *testing.T) {
	p := start(t)
	c, err := Dial(limited(t), p.Addr.String(), password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	is := func(want string) func(string) bool { return func(got string) bool { return got == want } }
	tests := []struct {
		command string
		answers func(string) bool
	}{
		{"status", func(got string) bool { return strings.Contains(got, "\nmap     : c1m1_hotel\n") }},
		{"sv_tags x", is("")},
		{"echo after an empty answer", is("after an empty answer\n")},
		{"cvarlist", func(got string) bool { // some 80 packets
			return strings.Count(got, "z_standin_") == 3000 && strings.HasSuffix(got, " total convars/concommands\n")
		}},
		{"echo after a long answer", is("after a long answer\n")},
		{"nonsense", is("Unknown command \"nonsense\"\n")},
	}
	for _, tt := range tests {
		got, err := c.Exec(limited(t), tt.command)
		if err != nil || !tt.answers(got) {
			t.Errorf("%s: %d bytes %.200q, %v", tt.command, len(got), got, err)
		}
	}

	if _, err := Dial(limited(t), p.Addr.String(), "wrong"); !errors.Is(err, ErrPassword) {
		t.Errorf("wrong password: %v", err)
	}

	if _, err := c.Exec(limited(t), "quit"); !errors.Is(err, ErrClosed) {
		t.Errorf("quit: %v", err)
	}
	if _, err := c.Exec(limited(t), "status"); !errors.Is(err, ErrClosed) {
		t.Errorf("after quit: %v", err)
	}
	if _, err := p.Wait(limited(t)); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(p.Output(), "Bad Password"); got != 1 {
		t.Errorf("%d wrong passwords arrived, want 1", got)
	}
}

// answering runs a server for one connection: f is called with each packet
// that arrives and returns what to send. Nil closes the connection.
func answering(t *testing.T, f func(p packet) []packet) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		for r := bufio.NewReader(conn); ; {
			p, err := readPacket(r)
			if err != nil {
				return
			}
			answers := f(p)
			if answers == nil {
				return
			}
			for _, a := range answers {
				if _, err := conn.Write(a.encode()); err != nil {
					return
				}
			}
		}
	}()
	return l.Addr().String()
}

// accept answers a log-in as the game does, and leaves the rest to f.
func accept(f func(p packet) []packet) func(packet) []packet {
	return func(p packet) []packet {
		if p.kind == auth {
			return []packet{{p.id, responseValue, ""}, {p.id, authResponse, ""}}
		}
		return f(p)
	}
}

func TestLogin(t *testing.T) {
	tests := []struct {
		name   string
		answer func(packet) []packet
		want   error
	}{
		{"as the game does", accept(nil), nil},
		{"without the empty packet in front", func(p packet) []packet { return []packet{{p.id, authResponse, ""}} }, nil},
		{"refused", func(p packet) []packet { return []packet{{p.id, responseValue, ""}, {-1, authResponse, ""}} }, ErrPassword},
		{"closed", func(packet) []packet { return nil }, ErrClosed},
		{"a packet too long", func(p packet) []packet { return []packet{{p.id, responseValue, strings.Repeat("x", maxBody+1)}} }, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Dial(limited(t), answering(t, tt.answer), password)
			if !errors.Is(err, tt.want) || (err == nil) != (c != nil) {
				t.Fatalf("%v, want %v", err, tt.want)
			}
			if err == nil {
				c.Close()
			} else if strings.Contains(err.Error(), password) {
				t.Errorf("error tells the password: %v", err)
			}
		})
	}
}

func TestExec(t *testing.T) {
	mark := func(p packet) []packet {
		return []packet{{p.id, responseValue, ""}, {p.id, responseValue, "\x00\x01\x00\x00"}}
	}
	tests := []struct {
		name   string
		answer func(packet) []packet
		want   string
		err    error
	}{
		{"in pieces, others between", func(p packet) []packet {
			if p.kind == responseValue {
				return mark(p)
			}
			return []packet{{p.id, 0, "he"}, {p.id - 2, 0, "stale"}, {p.id, 4, "a log line"}, {p.id, 0, "llo"}}
		}, "hello", nil},
		{"closed before the end", func(p packet) []packet {
			if p.kind == responseValue {
				return nil
			}
			return []packet{{p.id, 0, "bye"}}
		}, "bye", ErrClosed},
		{"password changed meanwhile", func(packet) []packet { return []packet{{-1, authResponse, ""}} }, "", ErrPassword},
		{"answer without end", func(p packet) []packet {
			var flood []packet
			for range maxAnswer/maxBody + 1 {
				flood = append(flood, packet{p.id, 0, strings.Repeat("x", maxBody)})
			}
			return flood
		}, strings.Repeat("x", maxAnswer), ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Dial(limited(t), answering(t, accept(tt.answer)), password)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := c.Exec(limited(t), "command")
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%d bytes %.40q, %v; want %d bytes %.40q, %v", len(got), got, err, len(tt.want), tt.want, tt.err)
			}
			if tt.err != nil {
				if _, err := c.Exec(limited(t), "again"); !errors.Is(err, tt.err) {
					t.Errorf("second try: %v, want %v", err, tt.err)
				}
			}
		})
	}
}

func TestWaitsNoLongerThanItsContext(t *testing.T) {
	silent := func(packet) []packet { return []packet{} }
	t.Run("Dial", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, answering(t, silent), password); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("Exec", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		c, err := Dial(limited(t), answering(t, accept(func(packet) []packet { cancel(); return []packet{} })), password)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 { // the connection is of no more use
			if _, err := c.Exec(ctx, "command"); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			ctx = limited(t)
		}
	})
}

// An answer that comes as ctx ends is good, but the deadline that ctx leaves
// behind would fail the next Exec in some less telling way.
func TestAnswerJustInTime(t *testing.T) {
	c, err := Dial(limited(t), answering(t, accept(nil)), password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	if err := c.within(ctx, func() error { cancel(); return nil }); err != nil {
		t.Errorf("%v", err)
	}
	if _, err := c.Exec(limited(t), "command"); !errors.Is(err, context.Canceled) {
		t.Errorf("next command: %v", err)
	}
}

func TestRefusesWhatCannotBeSent(t *testing.T) {
	for _, body := range []string{"", "a\x00b", strings.Repeat("x", maxCommand+1)} {
		// Nobody listens there, so an attempt to connect would be told apart.
		if _, err := Dial(limited(t), "127.0.0.1:1", body); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("password of %d bytes: %v", len(body), err)
		}
	}
	c, err := Dial(limited(t), answering(t, accept(nil)), password)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Exec(limited(t), "a\x00b"); err == nil || errors.Is(err, ErrClosed) {
		t.Errorf("command with a NUL: %v", err)
	}
}
