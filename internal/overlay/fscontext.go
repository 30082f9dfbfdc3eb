package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// fsContext makes a detached overlay. It returns an error that is ErrMethod
// when the kernel does not take descriptors, before anything has happened.
func (s Stack) fsContext(target Target) (*Mounted, error) {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, &Error{Op: "fsopen overlay", Err: err}
	}
	defer unix.Close(ctx)
	if !hasParameters(ctx) {
		return nil, ErrMethod
	}
	for i, lower := range s.Lowers {
		err := unix.FsconfigSetFd(ctx, "lowerdir+", lower.FD)
		// Whatever else makes the first layer invalid, mount(2) will say.
		if i == 0 && noDescriptors(err) {
			return nil, ErrMethod
		}
		if err != nil {
			return nil, contextError(ctx, "fsconfig lowerdir+", err)
		}
	}
	if err := s.configure(ctx); err != nil {
		return nil, err
	}
	log := openKernelLog()
	defer log.close()
	if err := unix.FsconfigCreate(ctx); err != nil {
		return nil, withKernelLog(contextError(ctx, "fsconfig create", err), log)
	}
	root, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, contextError(ctx, "fsmount", err)
	}
	return &Mounted{Root: root, Method: FSContext, target: target}, nil
}

// noDescriptors says that lowerdir+ was refused because of the kernel: Linux
// 6.5 to 6.7 have no such option, 6.8 to 6.12 take only a string.
func noDescriptors(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF) }

// Chosen returns the method that Auto takes on this kernel, without a mount.
// Root only. It makes the kernel load the overlay module if it has not yet.
func Chosen() (Method, error) {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return Auto, &Error{Op: "fsopen overlay", Err: err}
	}
	defer unix.Close(ctx)
	if !hasParameters(ctx) {
		return Classic, nil
	}
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Auto, &Error{Op: "open /", Err: err}
	}
	defer unix.Close(dir)
	switch err := unix.FsconfigSetFd(ctx, "lowerdir+", dir); {
	case err == nil:
		return FSContext, nil
	case noDescriptors(err):
		return Classic, nil
	default:
		return Auto, contextError(ctx, "fsconfig lowerdir+", err)
	}
}

func (s Stack) configure(ctx int) error {
	for _, d := range []struct {
		key string
		fd  int
	}{{"upperdir", s.Upper}, {"workdir", s.Work}} {
		if err := unix.FsconfigSetFd(ctx, d.key, d.fd); err != nil {
			return contextError(ctx, "fsconfig "+d.key, err)
		}
	}
	if err := unix.FsconfigSetString(ctx, "source", s.Source); err != nil {
		return contextError(ctx, "fsconfig source", err)
	}
	for _, o := range options {
		if err := unix.FsconfigSetString(ctx, o[0], o[1]); err != nil {
			return contextError(ctx, "fsconfig "+o[0], err)
		}
	}
	return nil
}

// hasParameters tells a context that checks its parameters from the legacy one
// (up to Linux 6.4), which accepts anything, lowerdir+ too, and fails only at
// the end: an option that cannot exist must be refused.
func hasParameters(ctx int) bool {
	err := unix.FsconfigSetFlag(ctx, "l4d2_no_such_option")
	contextText(ctx) // or a later error would come with this one's message
	return err != nil
}

func contextError(ctx int, op string, err error) error {
	return &Error{Op: op, Err: err, Kernel: contextText(ctx)}
}

// contextText reads what the kernel has to say about the context (the message
// queue of fsopen(2)); a read takes one message and removes it.
func contextText(ctx int) string {
	var lines []string
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(ctx, buf)
		if err != nil || n <= 0 {
			return kernelText(lines)
		}
		lines = append(lines, strings.TrimSuffix(string(buf[:n]), "\n"))
	}
}
