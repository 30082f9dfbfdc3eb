package rcon

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// Packets written down by hand, from the description of the format.
const (
	emptyPacket = "\x0a\x00\x00\x00" + "\x05\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00"
	helloPacket = "\x0f\x00\x00\x00" + "\xff\xff\xff\xff" + "\x02\x00\x00\x00" + "hello\x00\x00"
	markPacket  = "\x0e\x00\x00\x00" + "\x05\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x01\x00\x00\x00\x00"
)

func TestReadPacket(t *testing.T) {
	long := strings.Repeat("x", maxBody)
	tests := []struct {
		name, bytes string
		want        packet
		err         error
	}{
		{"empty body", emptyPacket, packet{5, 0, ""}, nil},
		{"body and negative id", helloPacket, packet{-1, 2, "hello"}, nil},
		{"behind an end mark", markPacket, packet{5, 0, ""}, nil},
		{"longest", string(packet{1, 0, long}.encode()), packet{1, 0, long}, nil},

		{"nothing", "", packet{}, io.EOF},
		{"size cut short", "\x0a\x00", packet{}, io.ErrUnexpectedEOF},
		{"size alone", "\x0a\x00\x00\x00", packet{}, io.ErrUnexpectedEOF},
		{"body cut short", helloPacket[:15], packet{}, io.ErrUnexpectedEOF},
		{"too long", string(packet{1, 0, long + "x"}.encode()), packet{}, ErrMalformed},
		{"too short", "\x09\x00\x00\x00" + helloPacket[4:], packet{}, ErrMalformed},
		{"negative size", "\xff\xff\xff\xff" + helloPacket[4:], packet{}, ErrMalformed},
		{"no NUL", helloPacket[:len(helloPacket)-2] + "xx", packet{}, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Byte by byte, as a network may deliver them.
			got, err := readPacket(iotest.OneByteReader(strings.NewReader(tt.bytes)))
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	tests := map[string]packet{
		emptyPacket: {5, 0, ""},
		helloPacket: {-1, 2, "hello"},
	}
	for want, p := range tests {
		if got := string(p.encode()); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

func FuzzReadPacket(f *testing.F) {
	f.Add([]byte(emptyPacket))
	f.Add([]byte(helloPacket + markPacket))
	f.Add([]byte("\xff\xff\xff\x7f"))
	f.Add([]byte(helloPacket[:9]))
	f.Add([]byte(emptyPacket[:12] + "x\x00")) // without the second string
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		for {
			before := r.Len()
			p, err := readPacket(r)
			if err != nil {
				if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrMalformed) {
					t.Errorf("unexpected error %v", err)
				}
				return
			}
			if len(p.body) > maxBody || strings.Contains(p.body, "\x00") {
				t.Errorf("body of %d bytes: %q", len(p.body), p.body)
			}
			if used := before - r.Len(); used < 4+overhead-1+len(p.body) {
				t.Errorf("%d bytes for a body of %d", used, len(p.body))
			}
			again, err := readPacket(bytes.NewReader(p.encode()))
			if err != nil || again != p {
				t.Errorf("%+v became %+v, %v", p, again, err)
			}
		}
	})
}
