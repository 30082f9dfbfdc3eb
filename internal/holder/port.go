package holder

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listening is a socket that takes what comes to a port.
type Listening struct {
	Port    uint16
	Network string // udp or tcp
	// Holder is who has it; its PID is 0 when that process cannot be seen.
	Holder Holder
}

// Ports returns who has these ports in the caller's network namespace: bound
// with UDP, listening with TCP. It asks for no privilege, but only root sees
// other users' processes.
func Ports(ports []uint16) ([]Listening, error) {
	var found []Listening
	byInode := map[uint64]int{}
	for _, network := range []string{"udp", "udp6", "tcp", "tcp6"} {
		sockets, err := readSockets(network)
		if os.IsNotExist(err) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for _, s := range sockets {
			if !slices.Contains(ports, s.port) {
				continue
			}
			if _, twice := byInode[s.inode]; !twice {
				byInode[s.inode] = len(found)
				found = append(found, Listening{Port: s.port, Network: strings.TrimSuffix(network, "6")})
			}
		}
	}
	if len(found) == 0 {
		return nil, nil
	}
	names, err := readDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		fds, _ := readDir("/proc/" + name + "/fd") // gone, or someone else's
		for _, fd := range fds {
			link := "/proc/" + name + "/fd/" + fd
			st, ok := look(link)
			if !ok || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
				continue
			}
			if i, wanted := byInode[st.Ino]; wanted && found[i].Holder.PID == 0 {
				found[i].Holder = describe(pid, Socket, link)
			}
		}
	}
	return found, nil
}

type inetSocket struct {
	port  uint16
	inode uint64
}

// tcpListen is TCP_LISTEN in the table's column of states; UDP has no such
// state, and what is connected to a peer (01) takes nothing from others.
const (
	tcpListen    = "0A"
	tcpConnected = "01"
)

// readSockets reads /proc/net/NETWORK (proc_net(5)): the second field is the
// local address, the fourth the state, the tenth the inode.
func readSockets(network string) ([]inetSocket, error) {
	f, err := os.Open("/proc/net/" + network)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var sockets []inetSocket
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 10 {
			continue
		}
		_, hex, _ := strings.Cut(fields[1], ":")
		port, err := strconv.ParseUint(hex, 16, 16)
		inode, inodeErr := strconv.ParseUint(fields[9], 10, 64)
		listens := fields[3] == tcpListen || strings.HasPrefix(network, "udp") && fields[3] != tcpConnected
		if err == nil && inodeErr == nil && listens {
			sockets = append(sockets, inetSocket{uint16(port), inode})
		}
	}
	return sockets, lines.Err()
}
