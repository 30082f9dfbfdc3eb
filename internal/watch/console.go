package watch

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"l4d2-host/internal/rcon"
	"l4d2-host/internal/servercfg"
)

// maxServerConfig, in bytes, is far more than any server.cfg has.
const maxServerConfig = 1 << 20

// maxPasswords: more different ones than an operator sets while a server runs
// are no operator's work.
const maxPasswords = 8

// console logs in on RCON to see whether the server answers. The server bans
// who fails too often, so a password that is not known to be right is tried
// once, even when no answer came.
type console struct {
	config string // the server.cfg in the game's tree
	tried  map[string]bool
	right  string
}

// answers says whether the server at addr lets us in before ctx ends.
func (c *console) answers(ctx context.Context, addr string) bool {
	password := c.password()
	if password == "" || password != c.right && (c.tried[password] || len(c.tried) >= maxPasswords) {
		return false
	}
	if c.tried == nil {
		c.tried = map[string]bool{}
	}
	c.tried[password] = true
	conn, err := rcon.Dial(ctx, addr, password)
	if err == nil {
		conn.Close()
		c.right = password
		return true
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		delete(c.tried, password) // nobody has seen it
	}
	if errors.Is(err, rcon.ErrPassword) && password == c.right {
		c.right = ""
	}
	return false
}

// password is what server.cfg says now; empty if it can't be read.
func (c *console) password() string {
	// The game owns the directory: not to wait for a FIFO's other end.
	f, err := os.OpenFile(c.config, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(f, maxServerConfig))
	if err != nil {
		return ""
	}
	password, _ := servercfg.Value(string(text), servercfg.RCONPassword)
	return password
}
