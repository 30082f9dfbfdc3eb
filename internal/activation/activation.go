// Package activation brings the file tree of one instance up and down: it is
// what the two privileged steps of the unit do, in their order. The kernel's
// side of each step is package overlay's, the paths are package instance's.
//
// The rules behind the order: nothing is mounted over what is mounted already;
// nothing is mounted that is known to break; what appears at the mount point
// is complete; and whatever ends the process, at any point, the next run finds
// a state that it can either heal or refuse with a reason.
package activation

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/overlay"
	"l4d2-host/internal/record"
)

// Activation is one instance that is to be brought up or down.
type Activation struct {
	Layout instance.Layout
	Name   instance.Name
	Owner  Owner
	Method overlay.Method // Auto, but for tests
	Ended  *record.End    // for Unmount: how the run ended that it comes after, if any
	Log    *journal.Log
}

// source names the mount in mountinfo, so that a left-over of ours is known
// from anything else.
func (a *Activation) source() string { return "l4d2:" + string(a.Name) }

// Mount mounts the instance and puts its server.cfg in place, in the mount
// namespace of the calling thread. For the working directory see package
// overlay. On an error nothing of this run is mounted.
func (a *Activation) Mount() (err error) {
	defer func() { err = a.adviseDisk(err) }()
	if _, err := unixLstat(a.Layout.Instance(a.Name)); errors.Is(err, fs.ErrNotExist) {
		return advice.With(fmt.Errorf("%s: no such instance", a.Layout.Instance(a.Name)),
			"create it with: l4d2ctl init "+string(a.Name)+" SPEC")
	}
	dir, err := a.openRuntime(true)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()

	env, err := instance.ReadEnv(a.Layout, a.Name)
	if err != nil {
		return advice.With(err, "write the generated files again with: l4d2ctl init "+string(a.Name)+" "+a.Layout.Spec(a.Name))
	}
	config, err := instance.ReadFile(a.Layout.ServerConfig(a.Name), maxServerConfig)
	if err != nil {
		return err
	}
	target := a.target(dir)
	if err := a.clearLeftOver(target); err != nil {
		return err
	}
	if err := checkPort(env.Port); err != nil {
		return err
	}
	return a.mount(dir, target, env, config)
}

// mount does what follows once the mount point is known to be free.
func (a *Activation) mount(dir int, target overlay.Target, env instance.Env, config []byte) error {
	// Until this start is written down, nobody else knows what it is made of.
	releases, err := a.shareReleases()
	if err != nil {
		return err
	}
	defer releases.Unlock()
	at := time.Now()
	stack, err := a.openStack(dir, env, true)
	defer stack.close()
	if err != nil {
		return err
	}
	if err := stack.Check(target); err != nil {
		return stack.explain(err)
	}
	if err := a.prepareWork(stack.Work, stack.Upper); err != nil {
		return err
	}
	made, err := stack.made()
	if err != nil {
		return err
	}
	m, err := stack.Mount(target, a.Method)
	if err != nil {
		return stack.explain(err)
	}
	if err := a.complete(m, config); err != nil {
		return errors.Join(err, m.Abandon())
	}
	a.warnUnwritable(m.Root, stack)
	if err := m.Attach(); err != nil {
		return errors.Join(err, m.Abandon())
	}
	a.Log.Info("mounted %s: %d layers, by %s", target.Path, len(stack.Lowers), m.Method)
	a.warnHiding(stack, made)
	// For l4d2ctl alone: the server does not need it.
	if err := record.WriteStart(dir, a.Owner.GID, record.Start{At: at, Env: env, ServerConfig: config, Layers: made}); err != nil {
		a.Log.Warn("%s is not written, so nobody can tell later what this start was made of: %v", a.Layout.Started(a.Name), err)
		// The last start's would be taken for this one's, and what this one is made
		// of for nobody's.
		if err := unix.Unlinkat(dir, instance.StartedFile, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			a.Log.Warn("%s: %v", a.Layout.Started(a.Name), err)
		}
	}
	return nil
}

// Unmount takes the instance's overlay away; nothing mounted is success. The
// error is overlay.ErrBusy when someone uses the mount.
func (a *Activation) Unmount() error {
	dir, err := a.openRuntime(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if a.Ended != nil {
		if err := record.WriteEnd(dir, *a.Ended); err != nil {
			a.Log.Warn("%s is not written, so nobody can tell later how this run ended: %v", a.Layout.Ended(a.Name), err)
		}
	}
	target := a.target(dir)
	for {
		occupant, err := target.Occupant()
		if err != nil || occupant == nil {
			return err
		}
		if !occupant.IsOverlay(a.source()) {
			return a.foreign(target, occupant)
		}
		if err := a.unmount(dir, target, occupant); err != nil {
			return err
		}
		a.Log.Info("unmounted %s", target.Path)
	}
}

// unmount takes away one overlay of ours.
func (a *Activation) unmount(dir int, target overlay.Target, occupant *overlay.Occupant) error {
	if err := target.Unmount(); err != nil {
		return err
	}
	if next, err := target.Occupant(); err != nil || next != nil {
		return err // another one lies beneath: it is seen to first
	}
	// The copies that other mount namespaces may have keep the superblock.
	look := target.Renew
	if overlay.Gone(occupant.Dev) {
		look = target.Empty
	}
	empty, err := look()
	if err != nil {
		return err
	}
	if !empty {
		a.Log.Warn("%s is not empty although nothing is mounted there: the files in it are hidden while the instance runs; move them away", target.Path)
	}
	return a.settle(dir, occupant)
}

// clearLeftOver makes sure that nothing is mounted at target: an overlay of
// this instance that an earlier run left, and that nobody uses, is taken away.
func (a *Activation) clearLeftOver(target overlay.Target) error {
	for {
		occupant, err := target.Occupant()
		if err != nil || occupant == nil {
			return err
		}
		if !occupant.IsOverlay(a.source()) {
			return a.foreign(target, occupant)
		}
		holders, err := occupant.Holders()
		if err != nil {
			return err
		}
		if len(holders) > 0 {
			return advice.With(
				fmt.Errorf("%s is still mounted from an earlier run, and in use: %s", target.Path, overlay.List(holders)),
				"end these processes or leave the directory, then start the instance again")
		}
		if err := a.unmount(target.Dir, target, occupant); err != nil {
			return err
		}
		a.Log.Warn("unmounted %s, left over from an earlier run", target.Path)
	}
}

// foreign is the refusal to touch a mount that is not ours.
func (a *Activation) foreign(target overlay.Target, occupant *overlay.Occupant) error {
	err := fmt.Errorf("%s is mounted at %s, and it is not the overlay of instance %s", occupant, target.Path, a.Name)
	if holders, herr := occupant.Holders(); herr == nil && len(holders) > 0 {
		err = fmt.Errorf("%w; %s", err, overlay.List(holders))
	}
	return advice.With(err, "find out who mounted it, then: umount "+target.Path)
}

func (a *Activation) target(dir int) overlay.Target {
	return overlay.Target{Dir: dir, Name: mergedDir, Path: a.Layout.Merged(a.Name)}
}

func (a *Activation) lock() (*lockfile.Lock, error) {
	path := a.Layout.Lock(a.Name)
	lock, err := lockfile.TryLock(path)
	if errors.Is(err, lockfile.ErrHeld) {
		a.Log.Info("waiting for another process that holds %s", path)
		return lockfile.Acquire(path)
	}
	return lock, err
}

// shareReleases keeps the releases from being removed. Without a directory of
// releases, as under a root of a version that had none, there are none.
func (a *Activation) shareReleases() (*lockfile.Lock, error) {
	lock, err := lockfile.Share(a.Layout.ReleasesLock())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return lock, err
}

func unixLstat(path string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return st, err
}
