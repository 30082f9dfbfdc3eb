// Package overlay is the kernel's side of an instance: it puts an overlay
// together from open directories, attaches it to a mount point, tells whose
// mount is there, and takes it away again.
//
// It works on descriptors and knows no names of instances; the order of an
// instance's steps is package activation's. Linux 5.10 or newer.
//
// There are two ways to make the mount. Both name descriptors by number, with
// /proc/thread-self/fd as the working directory: so no path needs escaping, none
// is too long, and none can be exchanged between the check and the mount; and
// the options stay short, which everybody on the host reads with mountinfo.
//
//   - [FSContext], with fsopen(2) and one parameter lowerdir+ for each layer
//     (Linux 6.8). The overlay exists before it is attached, so it is completed
//     first and appears whole.
//   - [Classic], with mount(2) and all in one string (Linux 5.10).
//
// A mount changes the working directory meanwhile, and leaves it at /. That is
// the whole process's, as in the helpers, unless the thread has one of its own: a
// program that uses relative paths besides locks the goroutine that mounts to a
// thread (runtime.LockOSThread) and unshares CLONE_FS there.
package overlay

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// MaxLowers is how many lower layers the kernel takes (OVL_MAX_STACK; 500 pass
// and 501 fail on 5.10 to 6.18).
const MaxLowers = 500

// Stack is what an overlay is put together from: open directories. They stay
// the caller's, and need not stay open.
type Stack struct {
	Source      string  // what mount lists show as the source
	Lowers      []Lower // topmost first, 1 to MaxLowers
	Upper, Work int
}

// Lower is one layer.
type Lower struct {
	FD int
	// Parent is an open directory that the layer is known to lie directly in,
	// as an openat2(2) tells that followed no link and crossed no mount; it
	// spares Check the look above each of its layers. Unknown is always right.
	Parent int
}

// Unknown is the Parent of a layer that may lie anywhere.
const Unknown = -1

// options are given explicitly, since distributions differ in the defaults.
// An operator adds and removes layers under an old upper: with index that
// fails with ESTALE, with metacopy with EIO, with redirect_dir it loses
// directories. nfs_export needs index, and xino only costs.
var options = [...][2]string{
	{"index", "off"},
	{"metacopy", "off"},
	{"redirect_dir", "nofollow"},
	{"xino", "off"},
	{"nfs_export", "off"},
}

// Method is a way to make the mount.
type Method int

// The methods. Auto takes FSContext where the kernel has it.
const (
	Auto Method = iota
	FSContext
	Classic
)

func (m Method) String() string {
	return [...]string{"auto", "fsopen", "mount"}[m]
}

// ErrMethod says that this kernel does not have the forced method.
var ErrMethod = errors.New("the overlayfs of this kernel does not take layers one by one (it needs Linux 6.8)")

// Error is a mount that the kernel refused. It unwraps to the kernel's error.
type Error struct {
	Op     string // the system call, with the option it was about
	Err    error
	Kernel string // what the kernel said about it, or ""
	mute   bool   // the kernel refused the mount itself, and did not say why
}

func (e *Error) Error() string {
	if e.Kernel == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %v: the kernel says %q", e.Op, e.Err, e.Kernel)
}

func (e *Error) Unwrap() error { return e.Err }

// Mounted is an overlay that was made.
type Mounted struct {
	// Root is its root directory (O_PATH for one not yet attached).
	Root     int
	Method   Method
	attached bool
	target   Target
}

// Mount makes the overlay. With Classic it is then visible at target; with
// FSContext only once Attach was called, and gone if the process ends before.
// In both cases the caller completes it through Root and then calls either
// Attach or Abandon.
func (s Stack) Mount(target Target, method Method) (*Mounted, error) {
	if len(s.Lowers) == 0 || len(s.Lowers) > MaxLowers {
		return nil, fmt.Errorf("%d layers: between 1 and %d can be mounted", len(s.Lowers), MaxLowers)
	}
	m, err := s.make(target, method)
	var refused *Error
	if errors.As(err, &refused) && refused.mute {
		m, err = s.ask(target, method, err)
	}
	if err != nil {
		return nil, err
	}
	if err := m.writable(); err != nil {
		return nil, errors.Join(err, m.Abandon())
	}
	return m, nil
}

// ask makes the mount that was refused with err once more, and listens to the
// kernel log, which alone has most of overlayfs's reasons. To have that open is
// not worth it for a mount that succeeds.
func (s Stack) ask(target Target, method Method, err error) (*Mounted, error) {
	log := openKernelLog()
	if log < 0 {
		return nil, err
	}
	defer log.close()
	m, again := s.make(target, method)
	return m, withKernelLog(again, log)
}

func (s Stack) make(target Target, method Method) (m *Mounted, err error) {
	if method != Classic {
		m, err = s.fsContext(target)
	}
	if method == Classic || method == Auto && errors.Is(err, ErrMethod) {
		m, err = s.classic(target)
	}
	return m, err
}

// writable makes sure that the kernel did not fall back to a read-only mount,
// as it silently does when it cannot empty the work directory.
func (m *Mounted) writable() error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(m.Root, &st); err != nil {
		return &Error{Op: "statfs", Err: err}
	}
	if st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("what got mounted is no overlay (file system type %#x)", st.Type)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return advice.With(errors.New("the kernel made the overlay read-only: it could not prepare the work directory"),
			"see the kernel's reason with: journalctl -k -g overlayfs; usual ones are a full disk, no free inodes, or immutable files in the work directory")
	}
	return nil
}

// Attach makes the overlay visible at its target, and closes Root.
func (m *Mounted) Attach() error {
	defer m.close()
	if m.attached {
		return nil
	}
	fd, err := m.target.open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.MoveMount(m.Root, "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &Error{Op: "move_mount " + m.target.Path, Err: err}
	}
	m.attached = true
	return nil
}

// Abandon takes the overlay away again.
func (m *Mounted) Abandon() error {
	m.close() // an open Root would keep it busy
	if !m.attached {
		return nil
	}
	m.attached = false
	return m.target.Unmount()
}

func (m *Mounted) close() {
	if m.Root >= 0 {
		unix.Close(m.Root)
	}
	m.Root = -1
}

// kernelText makes one line of what a file-system context or the kernel log
// said: without its "e " marks and the "overlay: " in front.
func kernelText(lines []string) string {
	for i, line := range lines {
		for _, prefix := range []string{"e ", "w ", "i ", "overlayfs: ", "overlay: "} {
			line = strings.TrimPrefix(line, prefix)
		}
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "; ")
}
