// Package systemd is what the operator's tool asks of systemd: queue a job and
// wait for its end, the state of units, their last words in the journal.
//
// It is not for the privileged helper, which systemd calls and which must not
// call back, and it knows nothing of instances: its callers name units.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"l4d2-host/internal/ssh"
)

// What a caller can tell apart; all are matched with errors.Is.
var (
	// ErrNotRunning: systemd is not this machine's first process, as in a
	// container or while an image is built.
	ErrNotRunning = errors.New("systemd is not running on this machine")
	// ErrDenied: systemd or polkit refuses this user.
	ErrDenied = errors.New("access denied: needs root or a polkit rule: try sudo")
	// ErrNoUnit: no unit file of that name, or of its template, is installed.
	ErrNoUnit = errors.New("no such unit is installed")
	// ErrLost: the connection to systemd ended before the answer came.
	ErrLost = errors.New("lost the connection to systemd")
)

const (
	// answerLimit bounds one call. systemd answers at once unless it is
	// reloading its units; 25 s is also what sd-bus grants a call.
	answerLimit = 25 * time.Second
	// cancelLimit bounds cancelling a job, after the caller has given up.
	cancelLimit = 10 * time.Second

	// bootedDir is how sd_booted(3) tells that systemd is running.
	bootedDir      = "/run/systemd/system"
	privateAddress = "unix:path=/run/systemd/private"

	systemdName = "org.freedesktop.systemd1"
	systemdPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerName = systemdName + ".Manager"
)

// Manager is a connection to the system's systemd. It may be used by several
// goroutines at once; close it when done.
type Manager struct {
	conn *sd.Conn
	// calls is conn's own connection for calls. A job belongs to the
	// connection that queued it, and its owner may cancel it without asking
	// polkit, so CancelJob has to go the same way.
	calls *dbus.Conn
	lost  <-chan struct{}
	end   context.CancelFunc
	host  ssh.Host // zero: this machine
}

// Connect returns a Manager, or ErrNotRunning. It goes through the system bus,
// which asks polkit what a user may do; for root also past it, so that a
// machine without a bus daemon will do.
//
// Cancelling ctx ends connecting only: the connection outlives it, because
// cancelling a job takes a connection.
func Connect(ctx context.Context) (*Manager, error) {
	if _, err := os.Stat(bootedDir); err != nil {
		return nil, fmt.Errorf("%w: %s is missing", ErrNotRunning, bootedDir)
	}
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	m, err := connectBus(ctx, dialSystemBus)
	if err != nil && ctx.Err() == nil && os.Geteuid() == 0 {
		var direct error
		if m, direct = connectBus(ctx, dialPrivate); direct == nil {
			return m, nil
		}
		err = fmt.Errorf("%w; %w", err, direct)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	return m, nil
}

// connectBus makes a Manager of the two connections that go-systemd wants: one
// for calls, which it dials first, and one for signals. The connections live
// until either of them ends or the Manager is closed.
func connectBus(ctx context.Context, dial func(context.Context) (*dbus.Conn, error)) (*Manager, error) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	connected := context.AfterFunc(ctx, end)
	var dialled []*dbus.Conn
	conn, err := sd.NewConnection(func() (*dbus.Conn, error) {
		c, err := dial(life)
		if err == nil {
			dialled = append(dialled, c)
		}
		return c, err
	})
	if !connected() {
		end()
		return nil, ctx.Err()
	}
	if err != nil {
		end()
		return nil, err
	}
	// godbus ends a connection's context when the other side hangs up.
	for _, c := range dialled {
		context.AfterFunc(c.Context(), end)
	}
	return &Manager{conn: conn, calls: dialled[0], lost: life.Done(), end: end}, nil
}

func dialSystemBus(ctx context.Context) (*dbus.Conn, error) {
	c, err := dbus.SystemBusPrivate(dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	err = authenticate(c)
	if err == nil {
		err = c.Hello()
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func dialPrivate(ctx context.Context) (*dbus.Conn, error) {
	c, err := dbus.Dial(privateAddress, dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := authenticate(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// authenticate names the user by number: a lookup of its name may go over the
// network.
func authenticate(c *dbus.Conn) error {
	return c.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(os.Getuid()))})
}

// Close ends the connection. Jobs already queued go on.
func (m *Manager) Close() {
	m.conn.Close()
	m.end()
}

// ResetFailed makes systemd forget that unit failed, and how often it was
// started of late. A unit that is not loaded has nothing to forget.
func (m *Manager) ResetFailed(ctx context.Context, unit string) error {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	err := m.conn.ResetFailedUnitContext(ctx, unit)
	if err = explain(err); errors.Is(err, ErrNoUnit) {
		return nil
	}
	return onUnit("reset", unit, err)
}

// Disable takes unit out of the boot, whether it was enabled for good or until
// the next boot. A unit that is not enabled or not installed is left alone.
func (m *Manager) Disable(ctx context.Context, unit string) error {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	changed := false
	for _, untilBoot := range []bool{false, true} {
		changes, err := m.conn.DisableUnitFilesContext(ctx, []string{unit}, untilBoot)
		if err = explain(err); err != nil && !errors.Is(err, ErrNoUnit) {
			return onUnit("disable", unit, err)
		}
		changed = changed || len(changes) > 0
	}
	if !changed {
		return nil
	}
	// Until it reloads, the target that wanted the unit goes on wanting it.
	return onUnit("disable", unit, explain(m.conn.ReloadContext(ctx)))
}

func onUnit(verb, unit string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", verb, unit, err)
}

// explain turns the D-Bus errors that an operator can do something about into
// this package's.
func explain(err error) error {
	var e dbus.Error
	if !errors.As(err, &e) {
		if errors.Is(err, dbus.ErrClosed) {
			return ErrLost
		}
		return err
	}
	switch e.Name {
	case "org.freedesktop.DBus.Error.AccessDenied",
		"org.freedesktop.DBus.Error.AuthFailed",
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired":
		return ErrDenied
	case systemdName + ".NoSuchUnit":
		return ErrNoUnit
	}
	return errors.New(e.Error())
}
