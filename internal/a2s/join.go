package a2s

import (
	"bytes"
	"encoding/binary"
)

// maxMessage, in bytes, is far more than 255 players with the longest names
// need.
const maxMessage = 64 << 10

// Joiner makes messages out of datagrams. The engine splits an answer longer
// than about 1,200 bytes into several. The zero value is ready; use one per
// server. It holds at most one unfinished message of at most 64 KiB.
type Joiner struct {
	id    uint32
	parts [][]byte // by number; nil while missing
	size  int      // of all the parts together
}

const (
	wholeHeader = 0xffffffff // -1
	splitHeader = 0xfffffffe // -2
	compressed  = 1 << 31    // in a split message's id
)

// Add takes one datagram and returns the message that it completes, without
// the four bytes in front, or nil while parts are missing. A part of another
// message drops the unfinished one: its missing parts got lost. The message
// does not refer to datagram. The error has ErrMalformed in its chain; it is
// also returned for a compressed message, which no server since 2007 sends.
func (j *Joiner) Add(datagram []byte) ([]byte, error) {
	c := cursor{rest: datagram}
	switch header := c.uint32(); {
	case c.short:
		return nil, malformed("datagram of %d bytes", len(datagram))
	case header == wholeHeader:
		return bytes.Clone(c.rest), nil
	case header == splitHeader:
		return j.addPart(c)
	default:
		return nil, malformed("datagram starts with %#x", header)
	}
}

func (j *Joiner) addPart(c cursor) ([]byte, error) {
	id, total, number := c.uint32(), int(c.byte()), int(c.byte())
	c.uint16() // the size that the server splits at: the datagram's own length says enough
	switch {
	case c.short:
		return nil, malformed("part of a split message ends early")
	case id&compressed != 0:
		return nil, malformed("compressed message: not supported")
	case number >= total:
		return nil, malformed("part %d of a message of %d parts", number+1, total)
	}
	if j.parts == nil || id != j.id {
		*j = Joiner{id: id, parts: make([][]byte, total)}
	}
	if total != len(j.parts) {
		return nil, malformed("message of %d parts now has %d", len(j.parts), total)
	}
	if j.parts[number] != nil {
		return nil, nil // sent twice
	}
	if j.size += len(c.rest); j.size > maxMessage {
		*j = Joiner{}
		return nil, malformed("message longer than %d bytes", maxMessage)
	}
	j.parts[number] = append([]byte{}, c.rest...) // not nil, even when empty
	for _, p := range j.parts {
		if p == nil {
			return nil, nil
		}
	}
	whole := bytes.Join(j.parts, nil)
	*j = Joiner{}
	if len(whole) < 4 || binary.LittleEndian.Uint32(whole) != wholeHeader {
		return nil, malformed("joined message does not start with ff ff ff ff")
	}
	return whole[4:], nil
}
