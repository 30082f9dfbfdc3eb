// Package rcon runs commands on a Source game server's remote console, over
// TCP.
//
// It never tries a password twice: a server bans the address that fails too
// often. It sends what it is given; which commands are wise is its caller's
// business. Nothing is encrypted, so use it on the loopback interface.
//
// The format is Valve's, https://developer.valvesoftware.com/wiki/Source_RCON_Protocol.
package rcon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Errors that a caller can tell apart, besides ctx's own, ErrMalformed and
// those of the network (syscall.ECONNREFUSED: nobody listens there).
var (
	// ErrPassword: the server refused the password. Do not try again with the
	// same one.
	ErrPassword = errors.New("wrong rcon password")
	// ErrClosed: the server closed the connection. After a command that ends
	// the server this is what to expect; while logging in it means that the
	// server has banned this address.
	ErrClosed = errors.New("the server closed the connection")
)

const (
	// patience limits one Dial or Exec whose ctx has no deadline of its own.
	patience = 30 * time.Second
	// maxAnswer, in bytes, is several times a real server's longest answer
	// (cvarlist, some 400 KiB).
	maxAnswer = 4 << 20
)

// Conn is a connection that has logged in. It is for one goroutine at a time.
type Conn struct {
	conn net.Conn
	r    *bufio.Reader
	id   int32 // the last one used
	err  error // why no further Exec is possible
}

// Dial connects to the server at addr (host:port) and logs in. It waits until
// ctx ends, at most 30 seconds. The errors a caller can tell apart are listed
// above.
func Dial(ctx context.Context, addr, password string) (*Conn, error) {
	if err := check(password); err != nil {
		return nil, fmt.Errorf("rcon %s: password: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("rcon %s: %w", addr, err)
	}
	c := &Conn{conn: conn, r: bufio.NewReader(conn)}
	err = c.within(ctx, func() error { return c.login(password) })
	if err != nil {
		conn.Close()
		if errors.Is(err, ErrClosed) {
			err = fmt.Errorf("while logging in, %w: it may have banned this address", err)
		}
		return nil, fmt.Errorf("rcon %s: %w", addr, err)
	}
	return c, nil
}

// Exec runs a line of console commands and returns what they print, all of
// it. It waits until ctx ends, at most 30 seconds. After an error the
// connection is of no more use, and what had arrived by then is returned with
// the error.
func (c *Conn) Exec(ctx context.Context, command string) (string, error) {
	addr := c.conn.RemoteAddr()
	if c.err != nil {
		return "", fmt.Errorf("rcon %s: earlier: %w", addr, c.err)
	}
	if err := check(command); err != nil {
		return "", fmt.Errorf("rcon %s: command: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out string
	err := c.within(ctx, func() (err error) {
		out, err = c.exec(command)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("rcon %s: %w", addr, err)
	}
	return out, nil
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.err = net.ErrClosed
	return c.conn.Close()
}

// within calls f, ends its waiting when ctx ends, and keeps its error.
func (c *Conn) within(ctx context.Context, f func() error) error {
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	err := f()
	if !stop() {
		// ctx has ended: the connection's deadline lies in the past, or is
		// about to. An answer that came just in time is still good.
		c.err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("no answer: %w", ctx.Err())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		err = ErrClosed
	}
	c.err = err
	return err
}

func (c *Conn) send(id, kind int32, body string) error {
	_, err := c.conn.Write(packet{id, kind, body}.encode())
	return err
}

func (c *Conn) login(password string) error {
	c.id++
	if err := c.send(c.id, auth, password); err != nil {
		return err
	}
	for {
		// An empty RESPONSE_VALUE comes before the AUTH_RESPONSE.
		p, err := readPacket(c.r)
		switch {
		case err != nil:
			return err
		case p.kind == authResponse && p.id == -1:
			return ErrPassword
		case p.kind == authResponse && p.id == c.id:
			return nil
		}
	}
}

func (c *Conn) exec(command string) (string, error) {
	// Nothing says which packet of an answer is its last. The server sends an
	// empty RESPONSE_VALUE back, in order, so that one marks the end.
	id, mark := c.id+1, c.id+2
	c.id = mark
	if err := c.send(id, execCommand, command); err != nil {
		return "", err
	}
	// A server that the command ends may be gone by now, its answer still
	// here: so read before judging this error.
	markErr := c.send(mark, responseValue, "")
	var out strings.Builder
	for {
		p, err := readPacket(c.r)
		switch {
		case err != nil:
			return out.String(), errors.Join(err, markErr)
		case p.kind == authResponse && p.id == -1:
			return out.String(), ErrPassword // the password has changed meanwhile
		case p.kind != responseValue:
		case p.id == mark:
			// One more packet with this id follows; the next Exec passes over it.
			return out.String(), nil
		case p.id == id:
			if out.Len()+len(p.body) > maxAnswer {
				return out.String(), fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxAnswer)
			}
			out.WriteString(p.body)
		}
	}
}

// check refuses what a packet cannot carry, and the empty string: as a
// password it would only count as a failed try.
func check(body string) error {
	switch {
	case body == "":
		return errors.New("empty")
	case len(body) > maxCommand:
		return fmt.Errorf("%d bytes long, at most %d are possible", len(body), maxCommand)
	case strings.Contains(body, "\x00"):
		return errors.New("has a NUL byte in it")
	}
	return nil
}
