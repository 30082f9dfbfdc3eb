package cli

import (
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

// transientAfterUpdate is transient for the servers that an update has left
// behind: the unit finds them out once the update, which it starts or joins, has
// succeeded.
func (s *session) transientAfterUpdate(o roll.Order) (systemd.Transient, error) {
	o.Names = nil
	t, err := s.transient(o)
	if err == nil {
		t.Settings["Requires"] = []string{updateUnit}
		t.Settings["After"] = []string{updateUnit}
	}
	return t, err
}

// transient is the unit that does what o says, for these instances or, with no
// list of them, for those that run on another release than they would take: this
// program, in a sandbox. It is root for systemd to obey it and for the instances'
// passwords, and has no privilege besides.
func (s *session) transient(o roll.Order) (systemd.Transient, error) {
	path, err := self()
	if err != nil {
		return systemd.Transient{}, err
	}
	command := []string{path, "--root", s.layout.Root(), "restart", "--when-empty", "--in-unit", "--at-once", strconv.Itoa(o.AtOnce)}
	if o.Within > 0 {
		command = append(command, "--within", o.Within.String())
	}
	if o.Force {
		command = append(command, "--force")
	}
	if o.Warn != "" {
		command = append(command, "--warn="+o.Warn) // which may begin with a dash
	}
	if o.Names == nil {
		command = append(command, "--outdated")
	}
	command = append(command, "--")
	for _, n := range o.Names {
		command = append(command, string(n))
	}
	return systemd.Transient{
		Name:        rollUnit,
		Description: "Rolling restart of Left 4 Dead 2 servers",
		Command:     command,
		Settings:    sandbox(),
	}, nil
}

// rollStop is how long a restart that has begun may take, when the unit is
// stopped: more than l4d2@.service gives itself to stop and to start.
const rollStop = 10 * time.Minute

func sandbox() map[string]any {
	everywhere := []systemd.Network{{Family: unix.AF_INET, Address: make([]byte, 4)}, {Family: unix.AF_INET6, Address: make([]byte, 16)}}
	loopback := []systemd.Network{{Family: unix.AF_INET, Address: []byte{127, 0, 0, 0}, Prefix: 8}}
	settings := map[string]any{
		"Type":         "exec",
		"NotifyAccess": "main", // for its status
		// Left there when it has ended, so that one can see how.
		"RuntimeDirectory":         []string{"l4d2-restart"},
		"RuntimeDirectoryPreserve": "yes",
		"TimeoutStopUSec":          uint64(rollStop / time.Microsecond),
		"UMask":                    uint32(0o022),

		"CapabilityBoundingSet":   uint64(0),
		"AmbientCapabilities":     uint64(0),
		"ProtectSystem":           "strict",
		"ProtectHome":             "yes",
		"ProtectProc":             "invisible", // not ProcSubset=pid: whose a port is stands in /proc/net
		"RestrictNamespaces":      uint64(0),
		"KeyringMode":             "private",
		"SystemCallArchitectures": []string{"native"},
		"SystemCallFilter":        systemd.Allowed{Only: true, Names: []string{"@system-service"}},
		"SystemCallErrorNumber":   int32(unix.EPERM),
		"RestrictAddressFamilies": systemd.Allowed{Only: true, Names: []string{"AF_INET", "AF_UNIX"}},
		"IPAddressDeny":           everywhere,
		"IPAddressAllow":          loopback,
		"TasksMax":                uint64(256),
		"MemoryMax":               uint64(256 << 20),
		"LimitCORE":               uint64(0),
	}
	for _, name := range []string{
		"PrivateTmp", "PrivateDevices", "PrivateIPC", "NoNewPrivileges", "RestrictSUIDSGID", "RestrictRealtime",
		"LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC", "ProtectClock", "ProtectControlGroups",
		"ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
	} {
		settings[name] = true
	}
	return settings
}
