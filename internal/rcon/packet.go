package rcon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrMalformed is in the chain of every error about bytes that are no RCON
// packet, or about an answer bigger than this package accepts.
var ErrMalformed = errors.New("malformed answer")

// The kinds of packet. AUTH_RESPONSE and EXECCOMMAND share a number; the
// direction tells them apart.
const (
	responseValue = 0
	execCommand   = 2
	authResponse  = 2
	auth          = 3
)

const (
	// overhead is what a packet's size field counts besides the body: id,
	// kind, and a NUL behind each of its two strings.
	overhead = 4 + 4 + 1 + 1
	// maxBody is the longest body to read. Valve documents 4,096 bytes for the
	// whole packet, but longer ones were seen in the answer to cvarlist.
	maxBody = 32 << 10
	// maxCommand is the longest body to send, by Valve's count.
	maxCommand = 4096 - overhead
)

type packet struct {
	id   int32
	kind int32
	body string
}

// readPacket reads one whole packet. At the end of r it returns io.EOF, within
// a packet io.ErrUnexpectedEOF.
func readPacket(r io.Reader) (packet, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return packet{}, err
	}
	size := binary.LittleEndian.Uint32(head[:])
	if size < overhead || size > maxBody+overhead {
		return packet{}, fmt.Errorf("%w: packet of %d bytes, not %d to %d", ErrMalformed, size, overhead, maxBody+overhead)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return packet{}, err
	}
	// The body ends at its first NUL. What follows is a second string: empty,
	// except behind an end mark, where the engine adds some bytes of its own.
	body, _, found := bytes.Cut(b[8:], []byte{0})
	if !found {
		return packet{}, fmt.Errorf("%w: no NUL behind the body", ErrMalformed)
	}
	return packet{
		id:   int32(binary.LittleEndian.Uint32(b[0:])),
		kind: int32(binary.LittleEndian.Uint32(b[4:])),
		body: string(body),
	}, nil
}

// encode returns p as it goes over the wire.
func (p packet) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(p.body)+overhead))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.id))
	b = binary.LittleEndian.AppendUint32(b, uint32(p.kind))
	b = append(b, p.body...)
	return append(b, 0, 0)
}
