package watch

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// udpTable lists this network namespace's UDP sockets over IPv4, which is all
// that the game speaks.
const udpTable = "/proc/net/udp"

// socket is a line of it.
type socket struct {
	addr  netip.AddrPort // that it is bound to
	queue uint32         // bytes that wait to be read; the kernel's own count
	inode uint64
}

// bound returns the sockets that are bound to port.
func bound(port int) ([]socket, error) {
	f, err := os.Open(udpTable)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseUDP(f, port)
}

func parseUDP(table io.Reader, port int) ([]socket, error) {
	var found []socket
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		// sl local rem st tx:rx tr:when retrnsmt uid timeout inode …
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 || !strings.HasSuffix(fields[1], suffix) {
			continue
		}
		address, err := hex.DecodeString(strings.TrimSuffix(fields[1], suffix))
		if err != nil || len(address) != 4 {
			return nil, fmt.Errorf("%s: address %q", udpTable, fields[1])
		}
		_, rx, _ := strings.Cut(fields[4], ":")
		queue, err := strconv.ParseUint(rx, 16, 32)
		if err != nil {
			return nil, fmt.Errorf("%s: queue %q", udpTable, fields[4])
		}
		inode, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: inode %q", udpTable, fields[9])
		}
		// The address is printed as a number in the machine's byte order.
		var ip [4]byte
		binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(address))
		found = append(found, socket{
			addr:  netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(port)),
			queue: uint32(queue),
			inode: inode,
		})
	}
	return found, lines.Err()
}

// target is where to send to, to reach the socket from this machine.
func (s socket) target() string {
	ip := s.addr.Addr()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(ip, s.addr.Port()).String()
}
