package overlay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/holder"
	"l4d2-host/internal/mountinfo"
)

// Target is a mount point: the name of a directory in an open directory that
// only root can change.
type Target struct {
	Dir  int
	Name string
	Path string // the whole path, for messages
}

// Occupant is what is mounted at a target.
type Occupant struct {
	ID     uint64 // mount ID, as in mountinfo
	Dev    uint64 // st_dev of its superblock
	FSType string
	Source string
}

// IsOverlay reports whether it is the overlay that was mounted with source.
func (o *Occupant) IsOverlay(source string) bool {
	return o.FSType == "overlay" && o.Source == source
}

func (o *Occupant) String() string { return fmt.Sprintf("%q (%s)", o.Source, o.FSType) }

// Holders returns who uses the occupant, here or in another mount namespace.
func (o *Occupant) Holders() ([]holder.Holder, error) {
	return holder.Find(holder.Mount{ID: o.ID, Dev: o.Dev})
}

// Occupant returns the topmost mount at t, or nil where nothing is mounted.
func (t Target) Occupant() (*Occupant, error) {
	var st unix.Statx_t
	err := unix.Statx(t.Dir, t.Name,
		unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC,
		unix.STATX_TYPE|unix.STATX_MNT_ID, &st)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, &Error{Op: "statx " + t.Path, Err: err}
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 || st.Mask&unix.STATX_MNT_ID == 0 {
		return nil, errors.New("this kernel does not tell what is a mount point (Linux 5.10 is needed)")
	}
	if st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return nil, nil
	}
	o := &Occupant{ID: st.Mnt_id, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), FSType: "unknown", Source: "unknown"}
	m, err := mountinfo.Find(o.ID)
	if err != nil {
		return nil, err
	}
	if m != nil {
		o.FSType, o.Source = m.FSType, m.Source
	}
	return o, nil
}

// open opens the directory to mount on; EXDEV where something is mounted.
func (t Target) open() (int, error) {
	fd, err := unix.Openat2(t.Dir, t.Name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.EXDEV) {
		return -1, fmt.Errorf("%s: something is mounted there", t.Path)
	}
	if err != nil {
		return -1, &Error{Op: "open " + t.Path, Err: err}
	}
	return fd, nil
}

// openRoot opens the root of what is mounted at t.
func (t Target) openRoot() (int, error) {
	fd, err := unix.Openat2(t.Dir, t.Name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &Error{Op: "open " + t.Path, Err: err}
	}
	return fd, nil
}

// busyFor is how long Unmount goes on trying. While other units start, a mount
// namespace in the making refers to the mount for some milliseconds.
const busyFor = 3 * time.Second

// ErrBusy is an unmount that failed because someone uses the mount. The error
// that wraps it names them.
var ErrBusy = errors.New("busy")

// Unmount takes away the topmost mount at t, which the caller has found to be
// the one to go. It never detaches lazily: a detached overlay goes on writing
// to its upper directory.
func (t Target) Unmount() error {
	path := "/proc/thread-self/fd/" + strconv.Itoa(t.Dir) + "/" + t.Name
	wait := time.Millisecond
	for waited := time.Duration(0); ; waited += wait {
		err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if err == nil {
			return nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EBUSY) {
			return &Error{Op: "umount " + t.Path, Err: err}
		}
		if waited >= busyFor {
			return t.busy()
		}
		time.Sleep(wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
}

// maxNamed is how many holders a message names.
const maxNamed = 8

func (t Target) busy() error {
	o, err := t.Occupant()
	if err != nil || o == nil {
		return errors.Join(fmt.Errorf("umount %s: %w", t.Path, ErrBusy), err)
	}
	holders, err := o.Holders()
	if err != nil {
		return errors.Join(fmt.Errorf("umount %s: %w", t.Path, ErrBusy), err)
	}
	return advice.With(fmt.Errorf("umount %s: %w: %s", t.Path, ErrBusy, List(holders)),
		"end these processes or leave the directory, then stop the instance again")
}

// List names holders in one line.
func List(holders []holder.Holder) string {
	if len(holders) == 0 {
		return "held by nobody that can be seen (perhaps a process in another PID namespace)"
	}
	var names []string
	for i, h := range holders {
		if i == maxNamed {
			names = append(names, fmt.Sprintf("and %d more", len(holders)-i))
			break
		}
		names = append(names, h.String())
	}
	return "held by " + strings.Join(names, "; ")
}

// Renew removes the empty, unmounted directory and makes it again. That makes
// the kernel drop the copies of the mount that other mount namespaces still
// have (d_invalidate detaches what is mounted on a removed directory; Linux
// 3.18). It returns false when the directory is not empty and was left alone.
func (t Target) Renew() (bool, error) {
	err := unix.Unlinkat(t.Dir, t.Name, unix.AT_REMOVEDIR)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return false, &Error{Op: "rmdir " + t.Path, Err: err}
	}
	if err := unix.Mkdirat(t.Dir, t.Name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return false, &Error{Op: "mkdir " + t.Path, Err: err}
	}
	return true, nil
}

// Empty reports whether the directory, unmounted, is empty.
func (t Target) Empty() (bool, error) {
	fd, err := t.open()
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	empty, err := isEmpty(fd)
	if err != nil {
		return false, &Error{Op: "read " + t.Path, Err: err}
	}
	return empty, nil
}

// Gone reports whether the superblock with the given st_dev no longer exists:
// nothing anywhere, in whatever namespace, can write through it any more.
func Gone(dev uint64) bool {
	var buf unix.Ustat_t
	// ustat(2) looks for the superblock by its device number, and the kernel
	// reads that number in its 32-bit form.
	major, minor := unix.Major(dev), unix.Minor(dev)
	encoded := int(minor&0xff | major<<8 | (minor&^0xff)<<12)
	return errors.Is(unix.Ustat(encoded, &buf), unix.EINVAL)
}

// ErrInUse says that an overlay which is still alive writes to the directory.
var ErrInUse = errors.New("in use by another overlay")

// InUse returns ErrInUse when a live overlay, perhaps a detached one, has upper
// as its upper or work directory. With index=off a second mount would succeed,
// and both would write. The probe is a mount that cannot succeed (upper as its
// own work directory) but with index=on reports the use first; it changes
// nothing, and leaves a line in the kernel log, so it is for when there is a
// reason to suspect a use.
func InUse(upper int) error {
	fail := func(op string, err error) error { return &Error{Op: "probe for another overlay: " + op, Err: err} }
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail("fsopen", err)
	}
	defer unix.Close(ctx)
	// A magic link, in the place of a path, works in every kernel.
	self := "/proc/thread-self/fd/" + strconv.Itoa(upper)
	for _, o := range [][2]string{{"lowerdir", self}, {"upperdir", self}, {"workdir", self}, {"index", "on"}} {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return fail("fsconfig "+o[0], err)
		}
	}
	switch err := unix.FsconfigCreate(ctx); {
	case errors.Is(err, unix.EBUSY):
		return ErrInUse
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ELOOP):
		return nil
	case err == nil:
		return fail("fsconfig create", errors.New("an impossible mount succeeded"))
	default:
		return fail("fsconfig create", err)
	}
}
