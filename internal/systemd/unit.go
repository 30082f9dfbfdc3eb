package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Unit is the state of a service; the strings are systemd's words for it
// (org.freedesktop.systemd1(5)).
type Unit struct {
	Name        string
	LoadState   string // loaded, not-found, bad-setting, error, masked
	ActiveState string // active, reloading, inactive, failed, activating, deactivating
	SubState    string // running, dead, auto-restart, start-pre, …
	Result      string // of the last run: success, exit-code, signal, timeout, start-limit-hit, …
	MainPID     int    // 0 when there is none
	// Since is when the unit became active; zero when it is not.
	Since time.Time
	// NRestarts counts the automatic restarts since the last start by hand.
	NRestarts int
	// Enabled says that the unit is started at boot: for good, or only at
	// the next one.
	Enabled bool
	// InvocationID names the current or last run, 32 hexadecimal digits;
	// empty before the first.
	InvocationID string
	// ExecMainCode is how the main process ended (CLD_EXITED and so on,
	// waitid(2)), 0 while it runs or if there was none; ExecMainStatus is
	// its exit code or the signal's number.
	ExecMainCode   int
	ExecMainStatus int
	// EnvironmentFiles are the paths of EnvironmentFile=, in order.
	EnvironmentFiles []string
	// Begun is when the current or last run began, before its first
	// ExecStartPre=; Changed when ActiveState took its present value; Ended
	// when the last main process to end did. Zero if never.
	Begun, Changed, Ended time.Time
	// CPU is the processor time of all processes of the current or last run,
	// Memory in bytes what they hold now, page cache included. Nil where
	// systemd does not account for it.
	CPU    *time.Duration
	Memory *uint64
	// Stale says that a file of the unit changed after systemd read it.
	Stale bool
	// Queued says that a job of the unit runs or waits.
	Queued bool
	// StatusText is what the service last said of itself (sd_notify(3)):
	// anyone's text.
	StatusText string
}

// Active says that the unit runs, also while it reloads.
func (u Unit) Active() bool { return u.ActiveState == "active" || u.ActiveState == "reloading" }

// Stopped says that the unit neither runs nor is on its way up or down.
func (u Unit) Stopped() bool { return u.ActiveState == "inactive" || u.ActiveState == "failed" }

// Installed says that there is a unit file to start it from.
func (u Unit) Installed() bool { return u.LoadState != "not-found" }

// The si_code values of waitid(2) in ExecMainCode.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

// Exit says in words how the main process ended; empty if there is nothing
// to say.
func (u Unit) Exit() string {
	switch u.ExecMainCode {
	case cldExited:
		return fmt.Sprintf("the main process exited with %d", u.ExecMainStatus)
	case cldKilled:
		return fmt.Sprintf("the main process was killed by signal %d (%s)", u.ExecMainStatus, syscall.Signal(u.ExecMainStatus))
	case cldDumped:
		return fmt.Sprintf("the main process dumped core on signal %d (%s)", u.ExecMainStatus, syscall.Signal(u.ExecMainStatus))
	}
	return ""
}

// ExitWords says how the main process ended in the words that systemd has for
// $EXIT_CODE and $EXIT_STATUS (systemd.exec(5)).
func (u Unit) ExitWords() (code, status string) {
	switch u.ExecMainCode {
	case cldExited:
		return "exited", strconv.Itoa(u.ExecMainStatus)
	case cldKilled, cldDumped:
		code = "killed"
		if u.ExecMainCode == cldDumped {
			code = "dumped"
		}
		return code, strings.TrimPrefix(unix.SignalName(unix.Signal(u.ExecMainStatus)), "SIG")
	}
	return "", ""
}

// asked is how many units are asked about side by side: systemd answers one
// call at a time, this only hides the way to it and back.
const asked = 8

// Units returns the state of the services called names, in their order. One
// that no unit file is installed for is no error: see Installed.
func (m *Manager) Units(ctx context.Context, names []string) ([]Unit, error) {
	ctx, done := context.WithTimeout(ctx, answerLimit)
	defer done()
	units := make([]Unit, len(names))
	errs := make([]error, len(names))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(asked, len(names)) {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range next {
				units[i], errs[i] = m.unit(ctx, names[i])
			}
		}()
	}
	for i := range names {
		next <- i
	}
	close(next)
	workers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return units, nil
}

func (m *Manager) unit(ctx context.Context, name string) (Unit, error) {
	// Asking for a unit's properties loads it, if need be; the state of a
	// missing one is "not-found".
	p, err := m.conn.GetAllPropertiesContext(ctx, name)
	if err != nil {
		return Unit{}, onUnit("state of", name, explain(err))
	}
	return unitOf(name, p), nil
}

// unitOf reads the properties of a unit and its service; one that is missing,
// or of another type than this systemd's, counts as zero.
func unitOf(name string, p map[string]any) Unit {
	u := Unit{
		Name:           name,
		LoadState:      get[string](p, "LoadState"),
		ActiveState:    get[string](p, "ActiveState"),
		SubState:       get[string](p, "SubState"),
		Result:         get[string](p, "Result"),
		MainPID:        int(get[uint32](p, "MainPID")),
		NRestarts:      int(get[uint32](p, "NRestarts")),
		InvocationID:   hex.EncodeToString(get[[]byte](p, "InvocationID")),
		ExecMainCode:   int(get[int32](p, "ExecMainCode")),
		ExecMainStatus: int(get[int32](p, "ExecMainStatus")),
	}
	state := get[string](p, "UnitFileState")
	u.Enabled = state == "enabled" || state == "enabled-runtime"
	// Of type a(sb): the path, and whether it may be missing.
	for _, file := range get[[][]any](p, "EnvironmentFiles") {
		if len(file) > 0 {
			path, _ := file[0].(string)
			u.EnvironmentFiles = append(u.EnvironmentFiles, path)
		}
	}
	if u.Active() {
		u.Since = timestamp(p, "ActiveEnterTimestamp")
	}
	u.Begun = timestamp(p, "InactiveExitTimestamp")
	u.Changed = timestamp(p, "StateChangeTimestamp")
	u.Ended = timestamp(p, "ExecMainExitTimestamp")
	if ns, ok := p["CPUUsageNSec"].(uint64); ok && ns != unset {
		cpu := time.Duration(ns)
		u.CPU = &cpu
	}
	if bytes, ok := p["MemoryCurrent"].(uint64); ok && bytes != unset {
		u.Memory = &bytes
	}
	u.Stale = get[bool](p, "NeedDaemonReload")
	// Of type (uo): the number, 0 for none, and the path.
	if job := get[[]any](p, "Job"); len(job) > 0 {
		id, _ := job[0].(uint32)
		u.Queued = id != 0
	}
	u.StatusText = get[string](p, "StatusText")
	return u
}

// unset is systemd's word for a number that it does not have.
const unset = 1<<64 - 1

// timestamp reads a point in time, in µs since 1970; 0 is never.
func timestamp(p map[string]any, key string) time.Time {
	µs := get[uint64](p, key)
	if µs == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(µs))
}

func get[T any](p map[string]any, key string) T {
	v, _ := p[key].(T)
	return v
}
