package holder

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"
)

// socket is a unix socket that is bound to a name in the mount.
type socket struct {
	path string // as it was given to bind(2): anyone's text, perhaps relative
	seen bool   // a process that has it was found
}

// boundSockets returns the sockets that are bound in m, by inode, from
// sock_diag(7): /proc/net/unix has only their paths, which say nothing of the
// mount. A kernel without it has none to tell of.
func (m Mount) boundSockets() map[uint32]*socket {
	sockets := map[uint32]*socket{}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil || m.Dev == 0 {
		return sockets
	}
	defer unix.Close(fd)
	// The kernel answers at once; the limit is for the case that it does not.
	if unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}) != nil ||
		unix.Sendto(fd, diagRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}) != nil {
		return sockets
	}
	// The kernel's form of a device number inside: 12 bits and 20.
	dev := unix.Major(m.Dev)<<20 | unix.Minor(m.Dev)
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || !readDiag(buf[:n], dev, sockets) {
			return sockets
		}
	}
}

// From linux/sock_diag.h and linux/unix_diag.h.
const (
	sockDiagByFamily = 20
	showName         = 1 << 0 // UDIAG_SHOW_NAME
	showVFS          = 1 << 1 // UDIAG_SHOW_VFS
	attrName         = 0      // UNIX_DIAG_NAME
	attrVFS          = 1      // UNIX_DIAG_VFS
	diagHead         = 16     // struct unix_diag_msg
	anyState         = 1<<32 - 1
)

// diagRequest asks for all unix sockets: struct nlmsghdr and unix_diag_req.
func diagRequest() []byte {
	const size = unix.SizeofNlMsghdr + 24
	b := make([]byte, 0, size)
	b = binary.NativeEndian.AppendUint32(b, size)
	b = binary.NativeEndian.AppendUint16(b, sockDiagByFamily)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = append(b, make([]byte, 8)...) // sequence, port
	b = append(b, unix.AF_UNIX, 0, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, anyState)
	b = append(b, make([]byte, 4)...) // inode: all
	b = binary.NativeEndian.AppendUint32(b, showName|showVFS)
	return append(b, make([]byte, 8)...) // cookie
}

// readDiag takes the sockets that are bound on dev out of one answer. It
// returns whether more is to come.
func readDiag(b []byte, dev uint32, sockets map[uint32]*socket) bool {
	if len(b) == 0 {
		return false
	}
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if kind := binary.NativeEndian.Uint16(b[4:]); kind != sockDiagByFamily || size < unix.SizeofNlMsghdr || size > len(b) {
			return false // done, an error, or no message
		}
		if m := b[unix.SizeofNlMsghdr:size]; len(m) >= diagHead {
			if path, on := readSocket(m[diagHead:]); on == dev && path != "" {
				sockets[binary.NativeEndian.Uint32(m[4:])] = &socket{path: path}
			}
		}
		b = b[min(align(size), len(b)):]
	}
	return true
}

// readSocket reads the attributes of one socket.
func readSocket(b []byte) (path string, dev uint32) {
	for len(b) >= unix.SizeofNlAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofNlAttr || size > len(b) {
			break
		}
		value := b[unix.SizeofNlAttr:size]
		switch binary.NativeEndian.Uint16(b[2:]) {
		case attrName:
			path = strings.TrimRight(string(value), "\x00")
		case attrVFS: // inode, device
			if len(value) >= 8 {
				dev = binary.NativeEndian.Uint32(value[4:])
			}
		}
		b = b[min(align(size), len(b)):]
	}
	return path, dev
}

// align rounds up to what netlink aligns messages and attributes to.
func align(n int) int { return (n + 3) &^ 3 }
