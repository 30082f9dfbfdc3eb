package systemd

import (
	"context"
	"errors"

	sd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

// ErrExists says that a unit of that name is there already.
var ErrExists = errors.New("a unit of that name is there already")

// Transient is a service without a file, which systemd forgets when it has
// ended well.
type Transient struct {
	Name, Description string
	// Command is the program, by its absolute path, and its arguments, word for
	// word: no variable is put into them.
	Command []string
	// Settings are by their names in org.freedesktop.systemd1(5), where those
	// of units and of services are described with their types.
	Settings map[string]any
}

// The types of some settings that D-Bus takes as structures.
type (
	// Allowed is a list of what is allowed, or of what is not:
	// SystemCallFilter=, RestrictAddressFamilies=.
	Allowed struct {
		Only  bool
		Names []string
	}
	// Network is one of IPAddressAllow= and IPAddressDeny=.
	Network struct {
		Family  int32 // AF_INET, AF_INET6
		Address []byte
		Prefix  uint32
	}
)

// execCommand is (sasas), of which ExecStartEx is made (systemd 243).
type execCommand struct {
	Path         string
	Words, Flags []string
}

// StartTransient starts a service and waits until it has started. The errors are
// those of Start, and ErrExists.
func (m *Manager) StartTransient(ctx context.Context, t Transient) error {
	properties := []sd.Property{
		property("Description", t.Description),
		property("ExecStartEx", []execCommand{{t.Command[0], t.Command, []string{"no-env-expand"}}}),
	}
	for name, value := range t.Settings {
		properties = append(properties, property(name, value))
	}
	queue := func(ctx context.Context, unit, _ string, ch chan<- string) (int, error) {
		id, err := m.conn.StartTransientUnitContext(ctx, unit, "fail", properties, ch)
		var e dbus.Error
		if errors.As(err, &e) && e.Name == systemdName+".UnitExists" {
			err = ErrExists
		}
		return id, err
	}
	return m.runJob(ctx, "start", t.Name, queue)
}

func property(name string, value any) sd.Property {
	return sd.Property{Name: name, Value: dbus.MakeVariant(value)}
}
