package activation

import (
	"errors"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/overlay"
)

// The kernel makes work/work for each mount and leaves it. We remove it when
// we have unmounted and seen the superblock go; so one that is there at a
// mount says that the last overlay did not end under our eyes, and only then
// are the slower checks worth their time.
const kernelWorkDir = "work"

// prepareWork makes sure that no other overlay uses the upper directory, and
// empties the work directory.
func (a *Activation) prepareWork(work, upper int) error {
	left, err := a.checkUnused(work, upper)
	if err != nil || !left {
		return err
	}
	return a.emptyWork(work)
}

// checkUnused reports whether an earlier overlay has left its work directory,
// and returns an error if it, or another one, still uses the upper directory.
func (a *Activation) checkUnused(work, upper int) (left bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(work, kernelWorkDir, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	err = overlay.InUse(upper)
	if errors.Is(err, overlay.ErrInUse) {
		err = advice.With(errors.New(a.Layout.Upper(a.Name)+" is in use by another overlay, perhaps one that was detached (umount -l) while a process was in it"),
			"end the process that still uses it (try: grep -l '"+a.source()+"' /proc/*/mountinfo), or reboot")
	}
	return true, err
}

func (a *Activation) emptyWork(work int) error {
	if err := beneath.RemoveAll(work, kernelWorkDir); err != nil {
		return advice.With(errors.New("empty "+a.Layout.Work(a.Name)+": "+err.Error()),
			"remove what is in there by hand, as nothing in it is of any use: the kernel would mount the instance read-only")
	}
	return nil
}

// settle tidies up after the unmount of the overlay that was occupant.
func (a *Activation) settle(dir int, occupant *overlay.Occupant) error {
	work, err := beneath.OpenDir(dir, workDir)
	if err != nil {
		return err
	}
	defer unix.Close(work)
	if overlay.Gone(occupant.Dev) {
		return a.emptyWork(work)
	}
	// Either something still uses the overlay, or the device number already
	// belongs to another new mount.
	upper, err := beneath.OpenDir(dir, upperDir)
	if err != nil {
		return err
	}
	defer unix.Close(upper)
	if err := overlay.InUse(upper); err == nil {
		return a.emptyWork(work)
	} else if !errors.Is(err, overlay.ErrInUse) {
		return err
	}
	holders, err := occupant.Holders()
	if err != nil {
		return err
	}
	a.Log.Warn("%s was unmounted here but lives on elsewhere, and the next start is refused while it does: %s",
		a.Layout.Merged(a.Name), overlay.List(holders))
	return nil
}
