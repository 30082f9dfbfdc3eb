package a2s

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrMalformed is in the chain of every error about an answer that is not what
// the protocol allows, or that is bigger than this package accepts.
var ErrMalformed = errors.New("malformed answer")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// The first byte of a message says what it is.
const (
	infoRequest     = 'T'
	infoAnswer      = 'I'
	playersRequest  = 'U'
	playersAnswer   = 'D'
	challengeAnswer = 'A'
)

// Info is the answer to A2S_INFO. Its strings are as the server sent them:
// they may hold control characters and need not be UTF-8, so quote them before
// showing them on a terminal.
type Info struct {
	Protocol    int
	Name        string // the server's hostname
	Map         string
	Folder      string // the game's directory: left4dead2
	Game        string // the game's name for people
	AppID       int    // the lower 16 bits of the Steam app id
	Players     int    // bots included
	MaxPlayers  int
	Bots        int
	ServerType  byte // d: dedicated, l: listen, p: SourceTV
	Environment byte // l: Linux, w: Windows, m or o: macOS
	Password    bool // needed to join
	VAC         bool
	Version     string

	// What follows is the zero value when the server did not send it.
	Port     int    // the game's UDP port
	SteamID  uint64 // the server's
	TVPort   int    // SourceTV's UDP port
	TVName   string
	Keywords string // sv_tags
	GameID   uint64 // the whole Steam app id
}

// Player is one entry of the answer to A2S_PLAYER. Someone who is still
// connecting has an empty name. Name is as the player chose it: see Info.
type Player struct {
	Name      string
	Score     int
	Connected time.Duration
}

// InfoRequest returns the datagram that asks for A2S_INFO. challenge is what
// ParseChallenge gave, or nil at first.
func InfoRequest(challenge []byte) []byte {
	b := append([]byte{0xff, 0xff, 0xff, 0xff, infoRequest}, "Source Engine Query\x00"...)
	return append(b, challenge...)
}

// PlayersRequest returns the datagram that asks for A2S_PLAYER. challenge is
// what ParseChallenge gave, or nil at first.
func PlayersRequest(challenge []byte) []byte {
	if challenge == nil {
		challenge = []byte{0xff, 0xff, 0xff, 0xff}
	}
	return append([]byte{0xff, 0xff, 0xff, 0xff, playersRequest}, challenge...)
}

// ParseChallenge reports whether message is a challenge, and returns the four
// bytes that the request must be sent again with.
func ParseChallenge(message []byte) (challenge []byte, ok bool) {
	if len(message) < 5 || message[0] != challengeAnswer {
		return nil, false
	}
	return bytes.Clone(message[1:5]), true
}

// The bits that say which optional fields follow in A2S_INFO, in the order of
// the fields.
const (
	hasPort     = 0x80
	hasSteamID  = 0x10
	hasTV       = 0x40
	hasKeywords = 0x20
	hasGameID   = 0x01
)

// ParseInfo decodes the message, as Joiner returns it, that answers
// InfoRequest. Its error has ErrMalformed in its chain.
func ParseInfo(message []byte) (Info, error) {
	c := cursor{rest: message}
	if kind := c.byte(); kind != infoAnswer {
		return Info{}, malformed("message of kind %#x instead of A2S_INFO", kind)
	}
	info := Info{
		Protocol:    int(c.byte()),
		Name:        c.string(),
		Map:         c.string(),
		Folder:      c.string(),
		Game:        c.string(),
		AppID:       int(c.uint16()),
		Players:     int(c.byte()),
		MaxPlayers:  int(c.byte()),
		Bots:        int(c.byte()),
		ServerType:  c.byte(),
		Environment: c.byte(),
		Password:    c.byte() != 0,
		VAC:         c.byte() != 0,
		Version:     c.string(),
	}
	if c.short {
		return Info{}, malformed("A2S_INFO ends early")
	}
	if len(c.rest) == 0 {
		return info, nil // a server without any optional field may leave out the bits, too
	}
	bits := c.byte()
	if bits&hasPort != 0 {
		info.Port = int(c.uint16())
	}
	if bits&hasSteamID != 0 {
		info.SteamID = c.uint64()
	}
	if bits&hasTV != 0 {
		info.TVPort, info.TVName = int(c.uint16()), c.string()
	}
	if bits&hasKeywords != 0 {
		info.Keywords = c.string()
	}
	if bits&hasGameID != 0 {
		info.GameID = c.uint64()
	}
	if c.short {
		return Info{}, malformed("A2S_INFO ends early, in its optional fields")
	}
	return info, nil
}

// ParsePlayers decodes the message, as Joiner returns it, that answers
// PlayersRequest. A server may announce more players than it lists; the listed
// ones, at most 255, are returned. Its error has ErrMalformed in its chain.
func ParsePlayers(message []byte) ([]Player, error) {
	c := cursor{rest: message}
	if kind := c.byte(); kind != playersAnswer {
		return nil, malformed("message of kind %#x instead of A2S_PLAYER", kind)
	}
	count := int(c.byte())
	if c.short {
		return nil, malformed("A2S_PLAYER ends early")
	}
	var players []Player
	for len(players) < count && len(c.rest) > 0 {
		c.byte() // an index, always 0 on Source servers
		p := Player{Name: c.string(), Score: int(int32(c.uint32()))}
		p.Connected = seconds(math.Float32frombits(c.uint32()))
		if c.short {
			return nil, malformed("A2S_PLAYER ends within player %d of %d", len(players)+1, count)
		}
		players = append(players, p)
	}
	return players, nil
}

// seconds turns what a server says into a duration; nonsense (negative, not a
// number, more than a century) becomes 0.
func seconds(s float32) time.Duration {
	const century = 100 * 365 * 24 * 60 * 60
	if !(s >= 0 && s <= century) {
		return 0
	}
	return time.Duration(float64(s) * float64(time.Second))
}

// cursor reads little-endian fields off the front of a message. Reading past
// the end sets short and gives zero values, so that a caller looks once.
type cursor struct {
	rest  []byte
	short bool
}

func (c *cursor) take(n int) []byte {
	if len(c.rest) < n {
		c.rest, c.short = nil, true
		return make([]byte, n)
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) byte() byte     { return c.take(1)[0] }
func (c *cursor) uint16() uint16 { return binary.LittleEndian.Uint16(c.take(2)) }
func (c *cursor) uint32() uint32 { return binary.LittleEndian.Uint32(c.take(4)) }
func (c *cursor) uint64() uint64 { return binary.LittleEndian.Uint64(c.take(8)) }

// string reads up to and including a NUL and returns what is before it.
func (c *cursor) string() string {
	s, rest, found := bytes.Cut(c.rest, []byte{0})
	if !found {
		c.rest, c.short = nil, true
		return ""
	}
	c.rest = rest
	return string(s)
}
