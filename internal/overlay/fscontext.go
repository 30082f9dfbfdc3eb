package overlay

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// fsContext makes a detached overlay. It returns an error that is ErrMethod
// when the kernel does not take layers one by one, before anything has happened.
func (s Stack) fsContext(target Target) (*Mounted, error) {
	ctx, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, &Error{Op: "fsopen overlay", Err: err}
	}
	defer unix.Close(ctx)
	if !hasParameters(ctx) {
		return nil, ErrMethod
	}
	if err := inDescriptors(func() error { return s.configure(ctx) }); err != nil {
		return nil, err
	}
	if err := unix.FsconfigCreate(ctx); err != nil {
		kernel := contextText(ctx)
		return nil, &Error{Op: "fsconfig create", Err: err, Kernel: kernel, mute: kernel == ""}
	}
	root, err := unix.Fsmount(ctx, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, contextError(ctx, "fsmount", err)
	}
	return &Mounted{Root: root, Method: FSContext, target: target}, nil
}

// configure gives the context its parameters. The working directory is that of
// the descriptors, and each is named by its number: given as such
// (FSCONFIG_SET_FD, Linux 6.13), the kernel shows its whole path in mountinfo,
// which everybody on the host pays for who reads that.
func (s Stack) configure(ctx int) error {
	for i, lower := range s.Lowers {
		err := unix.FsconfigSetString(ctx, layerParameter, strconv.Itoa(lower.FD))
		// Whatever else makes the first layer invalid, mount(2) will say.
		if i == 0 && errors.Is(err, unix.EINVAL) {
			return ErrMethod
		}
		if err != nil {
			return contextError(ctx, "fsconfig "+layerParameter, err)
		}
	}
	parameters := append([][2]string{
		{"upperdir", strconv.Itoa(s.Upper)},
		{"workdir", strconv.Itoa(s.Work)},
		{"source", s.Source},
	}, options[:]...)
	for _, p := range parameters {
		if err := unix.FsconfigSetString(ctx, p[0], p[1]); err != nil {
			return contextError(ctx, "fsconfig "+p[0], err)
		}
	}
	return nil
}

// layerParameter adds one layer, below those before it (Linux 6.8).
const layerParameter = "lowerdir+"

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
	switch err := unix.FsconfigSetString(ctx, layerParameter, "/"); {
	case err == nil:
		return FSContext, nil
	case errors.Is(err, unix.EINVAL):
		return Classic, nil
	default:
		return Auto, contextError(ctx, "fsconfig "+layerParameter, err)
	}
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
