package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"l4d2-host/internal/ssh"
)

// dialLimit bounds reaching another machine; a person may have to type a
// password meanwhile.
const dialLimit = 2 * time.Minute

// ConnectTo is Connect for the systemd of another machine, in the way of
// "systemctl --host": over ssh to systemd-stdio-bridge(1), which is there on
// every machine with systemd. What the Manager may do is for polkit there to
// say, of the user that ssh logs in.
func ConnectTo(ctx context.Context, host ssh.Host) (*Manager, error) {
	ctx, done := context.WithTimeout(ctx, dialLimit)
	defer done()
	b := &bridge{}
	var conn *dbus.Conn
	// One login for both: go-systemd's two connections may be one, as nobody
	// here waits in the handling of a signal.
	m, err := connectBus(ctx, func(ctx context.Context) (_ *dbus.Conn, err error) {
		if conn == nil {
			conn, err = b.dial(ctx, host)
		}
		return conn, err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to systemd on %s: %w", host, b.explain(err))
	}
	m.host = host
	return m, nil
}

// bridge is a running ssh.
type bridge struct {
	io.WriteCloser               // to the bus
	answers        io.ReadCloser // from the bus
	cmd            *exec.Cmd
	said           bytes.Buffer // by ssh; complete after close
	once           sync.Once
}

// dial starts ssh and says hello to the bus. The end of ctx ends both.
func (b *bridge) dial(ctx context.Context, host ssh.Host) (*dbus.Conn, error) {
	b.cmd = host.Channel(ctx, "systemd-stdio-bridge")
	b.cmd.Stderr = &b.said
	var err error
	if b.WriteCloser, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if b.answers, err = b.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	c, err := dbus.NewConn(b, dbus.WithContext(ctx))
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	// Who we are ssh has proved already; the bridge asks for nothing.
	if err = c.Auth([]dbus.Auth{dbus.AuthAnonymous()}); err == nil {
		err = c.Hello()
	}
	if err != nil {
		c.Close()
		b.Close() // also before the first word, when c has nothing to close
		return nil, err
	}
	return c, nil
}

func (b *bridge) Read(p []byte) (int, error) { return b.answers.Read(p) }

// Close ends ssh: at the end of its input the bridge ends, and then ssh.
func (b *bridge) Close() error {
	b.once.Do(func() {
		b.WriteCloser.Close()
		late := time.AfterFunc(b.cmd.WaitDelay, func() { b.cmd.Process.Kill() })
		defer late.Stop()
		b.cmd.Wait() // how it ended is told by what it said
	})
	return nil
}

// explain returns what ssh said in place of an error that it caused.
func (b *bridge) explain(err error) error {
	if b.cmd == nil || b.cmd.Process == nil {
		return err
	}
	b.Close() // or wait for who does it
	if said := bytes.TrimSpace(b.said.Bytes()); len(said) > 0 {
		return errors.New(string(said))
	}
	return err
}
