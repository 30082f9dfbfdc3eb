package overlay

import (
	"errors"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// maxData is how many bytes of options mount(2) takes. It cuts a longer string
// without a word, and can then mount the wrong directories.
const maxData = 4095

// classic makes the overlay and attaches it in one mount(2).
func (s Stack) classic(target Target) (*Mounted, error) {
	data := s.data()
	if len(data) > maxData {
		return nil, advice.With(&Error{Op: "mount " + target.Path, Err: unix.E2BIG}, "use fewer layers")
	}
	point, err := target.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(point)
	err = inDescriptors(func() error {
		return unix.Mount(s.Source, strconv.Itoa(point), "overlay", unix.MS_NODEV|unix.MS_NOSUID, data)
	})
	if err != nil {
		return nil, &Error{Op: "mount " + target.Path, Err: err, mute: true}
	}
	m := &Mounted{Root: -1, Method: Classic, attached: true, target: target}
	if m.Root, err = target.openRoot(); err != nil {
		return nil, errors.Join(err, m.Abandon())
	}
	return m, nil
}

// data is the option string, with descriptor numbers in the place of paths:
// 500 layers fit in 2 KB, and need no escaping.
func (s Stack) data() string {
	var b strings.Builder
	b.WriteString("lowerdir=")
	for i, lower := range s.Lowers {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(strconv.Itoa(lower.FD))
	}
	b.WriteString(",upperdir=" + strconv.Itoa(s.Upper) + ",workdir=" + strconv.Itoa(s.Work))
	for _, o := range options {
		b.WriteString("," + o[0] + "=" + o[1])
	}
	return b.String()
}

// inDescriptors calls f with the directory of the thread's descriptors, which
// are the process's, as the working directory.
func inDescriptors(f func() error) error {
	if err := unix.Chdir("/proc/thread-self/fd"); err != nil {
		return &Error{Op: "chdir /proc/thread-self/fd", Err: err}
	}
	defer unix.Chdir("/")
	return f()
}
