package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/ssh"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// Manager is what the commands ask of systemd; package systemd says what each
// call does.
type Manager interface {
	Start(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	Restart(ctx context.Context, unit string) error
	Units(ctx context.Context, names []string) ([]systemd.Unit, error)
	Overview(ctx context.Context, pattern, target string, names []string) ([]systemd.Unit, error)
	Version(ctx context.Context) (string, error)
	Definition(ctx context.Context, unit string) (systemd.Definition, error)
	ResetFailed(ctx context.Context, unit string) error
	Disable(ctx context.Context, unit string) error
	Journal(ctx context.Context, unit, invocationID string, n int) ([]string, error)
	StartTransient(ctx context.Context, t systemd.Transient) error
	FollowRun(ctx context.Context, invocationID string, line func(string)) error
	Close()
}

// session is one command's run: what the command line settled, and where to
// write.
type session struct {
	*Program
	*output
	ctx    context.Context
	layout instance.Layout
	host   ssh.Host // whose systemd to ask; zero: this machine's
}

// nameArg is a name on the command line: one that is not a name is wrong
// usage.
type nameArg struct{ instance.Name }

func (a *nameArg) UnmarshalText(text []byte) (err error) {
	a.Name, err = instance.ParseName(string(text))
	return err
}

// unitName is the unit that runs an instance.
func unitName(n instance.Name) string { return "l4d2@" + string(n) + ".service" }

func unitNames(names []instance.Name) []string {
	units := make([]string, len(names))
	for i, n := range names {
		units[i] = unitName(n)
	}
	return units
}

// allUnits is the target that starts all instances.
const allUnits = "l4d2.target"

// superuser refuses a command that only root can do, before it does the half
// of it.
func (s *session) superuser() error {
	if !s.Superuser {
		return errors.New("must be root: run it with sudo")
	}
	return nil
}

// open opens the instances.
func (s *session) open() (*store.Store, error) {
	st, err := s.OpenStore(s.layout)
	return st, readable(err)
}

// readable adds what to do when this user may not read the instances.
func readable(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &problem{err: err, hints: []string{
			fmt.Sprintf("instances can be read by root and by members of the group %s: run it with sudo", instance.User),
		}}
	}
	return err
}

// unknown is the error about an instance that is not there.
func unknown(n instance.Name) error {
	return &problem{err: fmt.Errorf("%s: no such instance", n), hints: []string{
		fmt.Sprintf("make it with: %s init %s SPEC", program, n),
	}}
}

// known returns an error for each of names that is no instance, or only what
// an interrupted command has left of one. A spec that cannot be read or is
// broken passes: systemd can start and stop its unit, and the unit says what
// is wrong.
func (s *session) known(names []instance.Name) error {
	if !s.host.Zero() {
		return nil // its files are not here: an assertion of the unit says so
	}
	st, err := s.open()
	if err != nil {
		return err
	}
	var missing problems
	for _, n := range names {
		_, _, err := st.Load(n)
		if errors.Is(err, store.ErrUnknown) {
			missing = append(missing, unknown(n))
		} else if _, gone := os.Lstat(s.layout.Instance(n)); err != nil && errors.Is(gone, fs.ErrNotExist) {
			missing = append(missing, fmt.Errorf("%s: %w", n, err))
		}
	}
	if len(missing) > 0 {
		return missing
	}
	return nil
}

// unit asks for the state of one instance, also when the command has been
// interrupted: the answer is for the operator who did it.
func (s *session) unit(m Manager, n instance.Name) (systemd.Unit, error) {
	units, err := m.Units(context.WithoutCancel(s.ctx), []string{unitName(n)})
	if err != nil {
		return systemd.Unit{}, err
	}
	return units[0], nil
}

// foreign says that the unit called like instance n runs another one: of
// another root than --root. A unit file says in EnvironmentFile= whose it is.
func (s *session) foreign(u systemd.Unit, n instance.Name) bool {
	if len(u.EnvironmentFiles) == 0 {
		return false
	}
	ours := s.layout.Env(n)
	return !slices.ContainsFunc(u.EnvironmentFiles, func(theirs string) bool {
		return theirs == ours || s.host.Zero() && sameFile(theirs, ours)
	})
}

// sameFile says that two paths lead to one file, such as through a symbolic
// link in place of the root.
func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// eachUnit does work for all instances called names side by side, if all of
// them exist, and returns their errors. work receives the unit's state.
func (s *session) eachUnit(args []nameArg, work func(Manager, instance.Name, systemd.Unit) error) error {
	names := distinct(args)
	if err := s.known(names); err != nil {
		return err
	}
	m, err := s.connect()
	if err != nil {
		return err
	}
	defer m.Close()
	before, err := m.Units(s.ctx, unitNames(names))
	if err != nil {
		return err
	}
	for i, n := range names {
		if s.foreign(before[i], n) {
			return fmt.Errorf("%s: %s runs with %s, not with the instance in %s",
				n, unitName(n), strings.Join(before[i].EnvironmentFiles, " and "), s.layout.Instance(n))
		}
	}
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, n := range names {
		all.Add(1)
		go func() {
			defer all.Done()
			errs[i] = work(m, n, before[i])
		}()
	}
	all.Wait()
	return gather(errs)
}

// gather drops the nils; it returns nil if nothing is left.
func gather(errs []error) error {
	var some problems
	for _, err := range errs {
		if err != nil {
			some = append(some, err)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some
}

// distinct returns the names once each, in the order given.
func distinct(args []nameArg) []instance.Name {
	seen := map[instance.Name]bool{}
	var names []instance.Name
	for _, a := range args {
		if !seen[a.Name] {
			seen[a.Name] = true
			names = append(names, a.Name)
		}
	}
	return names
}

// mounted says whether anything is mounted at the instance's merged directory,
// for this process or, when asked, for systemd: the helper mounts in the mount
// namespace of process 1, which need not be ours.
func (s *session) mounted(n instance.Name, systemdRuns bool) (bool, error) {
	point := s.layout.Merged(n)
	if real, err := filepath.EvalSymlinks(point); err == nil {
		point = real // the kernel lists mounts by their real paths
	}
	mounts, err := mountinfo.Self()
	if err != nil {
		return false, err
	}
	if systemdRuns {
		theirs, err := mountinfo.PID(1)
		if err != nil && !errors.Is(err, fs.ErrPermission) {
			return false, err
		}
		mounts = append(mounts, theirs...)
	}
	for _, m := range mounts {
		if m.Point == point {
			return true, nil
		}
	}
	return false, nil
}
