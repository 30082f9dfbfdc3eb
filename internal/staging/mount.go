package staging

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/overlay"
)

// kernelWorkDir is what the kernel makes in the work directory of a mount and
// leaves there.
const kernelWorkDir = "work"

func (s *Staging) target(dir int) overlay.Target {
	return overlay.Target{Dir: dir, Name: mergedDir, Path: Merged(s.Layout)}
}

// mount mounts the tree over base; nothing is mounted in the open directory dir.
func (s *Staging) mount(dir int, base []instance.Name) error {
	upper, err := beneath.OpenDir(dir, upperDir)
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	work, err := beneath.OpenDir(dir, workDir)
	if err != nil {
		return err
	}
	defer unix.Close(work)
	if err := s.prepareWork(work, upper); err != nil {
		return err
	}
	view, err := s.openLowers(dir, base)
	if err != nil {
		return err
	}
	defer view.Close()
	stack := overlay.Stack{Source: source, Upper: upper, Work: work}
	for _, layer := range view {
		stack.Lowers = append(stack.Lowers, overlay.Lower{FD: layer.Dir, Parent: overlay.Unknown})
	}
	m, err := s.make(stack, dir)
	if err != nil {
		var bad *overlay.LayerError
		if errors.As(err, &bad) {
			return layers.Explain(bad.Layer, view[bad.Layer].Name, view[bad.Layer].Path, bad.Err)
		}
		return err
	}
	// A disk that goes down before the unmount may hold less than steamcmd thinks.
	if err := beneath.WriteFile(dir, mountedFile, beneath.File{Mode: 0o600}); err != nil {
		return errors.Join(err, m.Abandon())
	}
	if err := m.Attach(); err != nil {
		return errors.Join(err, m.Abandon())
	}
	s.Log.Info("mounted %s over %s", Merged(s.Layout), title(base))
	return nil
}

func (s *Staging) make(stack overlay.Stack, dir int) (*overlay.Mounted, error) {
	target := s.target(dir)
	if err := stack.Check(target); err != nil {
		return nil, err
	}
	return stack.Mount(target, s.Method)
}

// openLowers is lowers, or the empty directory where there is no release.
func (s *Staging) openLowers(dir int, base []instance.Name) (layers.View, error) {
	if len(base) > 0 {
		return s.lowers(base)
	}
	fd, err := beneath.OpenDir(dir, emptyDir)
	if err != nil {
		return nil, err
	}
	return layers.View{{Name: emptyDir, Path: s.Layout.Staging() + "/" + emptyDir, Dir: fd}}, nil
}

// prepareWork empties the work directory, once it is sure that no overlay lives
// on that writes to the upper one.
func (s *Staging) prepareWork(work, upper int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(work, kernelWorkDir, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err := overlay.InUse(upper); err != nil {
		if errors.Is(err, overlay.ErrInUse) {
			err = advice.With(fmt.Errorf("%s is in use by an overlay of an earlier update that was not unmounted everywhere", s.Layout.Staging()),
				"end the process that still uses it (try: grep -l "+source+" /proc/*/mountinfo), or reboot")
		}
		return err
	}
	if err := beneath.RemoveAll(work, kernelWorkDir); err != nil {
		return fmt.Errorf("empty %s/%s: %w", s.Layout.Staging(), workDir, err)
	}
	return nil
}

// unmount takes away the update's overlays at the mount point in the open
// directory dir; none is success. Until nothing anywhere writes to the tree any
// more, mountedFile stays.
func (s *Staging) unmount(dir int) error {
	target := s.target(dir)
	for {
		occupant, err := target.Occupant()
		if err != nil || occupant == nil {
			return err
		}
		if !occupant.IsOverlay(source) {
			return advice.With(fmt.Errorf("%s is mounted at %s, and it is not the update's overlay", occupant, target.Path),
				"find out who mounted it, then: umount "+target.Path)
		}
		if err := target.Unmount(); err != nil {
			return err
		}
		s.Log.Info("unmounted %s", target.Path)
		next, err := target.Occupant()
		if err != nil {
			return err
		}
		if next != nil {
			continue
		}
		if _, err := target.Renew(); err != nil {
			return err
		}
		if s.gone(occupant.Dev, dir) {
			if err := beneath.RemoveAll(dir, mountedFile); err != nil {
				return err
			}
			return s.settle(dir)
		}
	}
}

// goneFor is how long a process of steamcmd's that was told to end has for it.
const goneFor = 5 * time.Second

// gone waits until nothing can write through the unmounted overlay any more. Each
// look in vain may be a line in the kernel's log: so ever less often.
func (s *Staging) gone(dev uint64, dir int) bool {
	pause := 20 * time.Millisecond
	for end := time.Now().Add(goneFor); ; time.Sleep(pause) {
		pause = min(2*pause, time.Second)
		if overlay.Gone(dev) || s.unused(dir) == nil {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// unused returns an error while an overlay writes to the tree.
func (s *Staging) unused(dir int) error {
	upper, err := beneath.OpenDir(dir, upperDir)
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	err = overlay.InUse(upper)
	if errors.Is(err, overlay.ErrInUse) {
		err = advice.With(fmt.Errorf("a process that steamcmd has left still uses %s", Merged(s.Layout)),
			"run the update again: it goes on where it stopped")
	}
	return err
}

// settle empties the work directory after the overlay's end.
func (s *Staging) settle(dir int) error {
	work, err := beneath.OpenDir(dir, workDir)
	if err != nil {
		return err
	}
	defer unix.Close(work)
	if err := beneath.RemoveAll(work, kernelWorkDir); err != nil {
		return fmt.Errorf("empty %s/%s: %w", s.Layout.Staging(), workDir, err)
	}
	return nil
}

// Unstage unmounts the update's tree, whatever became of the update; nothing
// mounted is success. What was downloaded stays.
func (s *Staging) Unstage() error {
	dir, err := s.open()
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return s.unmount(dir)
}
