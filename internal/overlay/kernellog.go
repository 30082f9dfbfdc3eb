package overlay

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog reads what the kernel logs from the moment it was opened. Most of
// overlayfs's reasons are only there. -1 where /dev/kmsg can't be read, as in
// most containers.
type kernelLog int

func openKernelLog() kernelLog {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
		unix.Close(fd)
		return -1
	}
	return kernelLog(fd)
}

func (l kernelLog) close() {
	if l >= 0 {
		unix.Close(int(l))
	}
}

// overlayLines returns the messages of overlayfs. A record is
// "6,339,5140900,-;text\n KEY=value\n" (Documentation/ABI/testing/dev-kmsg).
func (l kernelLog) overlayLines() []string {
	if l < 0 {
		return nil
	}
	var lines []string
	buf := make([]byte, 8192)
	for range 1000 {
		n, err := unix.Read(int(l), buf)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // records were overwritten before we read them
		}
		if err != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(string(buf[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		if strings.HasPrefix(text, "overlayfs: ") || strings.HasPrefix(text, "overlay: ") {
			lines = append(lines, text)
		}
	}
	return lines
}

// withKernelLog adds the log's reason where the call itself gave none.
func withKernelLog(err error, log kernelLog) error {
	var e *Error
	if errors.As(err, &e) && e.Kernel == "" {
		e.Kernel = kernelText(log.overlayLines())
	}
	return err
}
