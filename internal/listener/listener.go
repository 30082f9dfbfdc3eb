// Package listener tells whose program listens on a TCP port of this machine,
// before a password is sent there: a port that the server does not have (yet,
// or any more) can be anyone's.
package listener

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Owners returns the users whose programs listen on port for connections to
// 127.0.0.1, in this process's network. It is empty where nobody listens.
func Owners(port uint16) ([]int, error) {
	var owners []int
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		more, err := read(f, port)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		owners = append(owners, more...)
	}
	return owners, nil
}

const stateListen = "0A" // TCP_LISTEN of include/net/tcp_states.h

// read takes the owners out of a table (proc_net(5)) whose fields are: number,
// local address and port in hexadecimal, remote ones, state, queues, timer,
// retransmits, uid.
func read(r io.Reader, port uint16) ([]int, error) {
	var owners []int
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 8 || f[3] != stateListen {
			continue
		}
		address, number, _ := strings.Cut(f[1], ":")
		if p, err := strconv.ParseUint(number, 16, 16); err != nil || uint16(p) != port || !takesLoopback(address) {
			continue
		}
		uid, err := strconv.Atoi(f[7])
		if err != nil {
			return nil, fmt.Errorf("uid %q: %w", f[7], err)
		}
		owners = append(owners, uid)
	}
	return owners, lines.Err()
}

// takesLoopback says that a socket bound to the address gets what is sent to
// 127.0.0.1. The kernel writes addresses as words of the machine's byte order.
func takesLoopback(address string) bool {
	b, err := hex.DecodeString(address)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return false
	}
	last := b[len(b)-4:]
	first := b[:len(b)-4]
	mapped := len(first) == 12 && string(first) == "\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x00"
	zero := strings.Trim(string(first), "\x00") == ""
	any4 := string(last) == "\x00\x00\x00\x00"
	local := string(last) == "\x01\x00\x00\x7f"
	return zero && any4 || (len(first) == 0 || mapped) && (local || any4)
}
