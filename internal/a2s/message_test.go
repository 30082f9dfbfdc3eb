package a2s

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Messages written down by hand, from the description of the format.
const (
	shortInfo = "I\x11name\x00map\x00dir\x00game\x00" + "\x26\x02" + "\x03\x08\x01" + "dl" + "\x01\x00" + "2.2.4.3\x00"
	longInfo  = shortInfo + "\xf1" +
		"\x87\x69" + // port
		"\x01\x02\x03\x04\x05\x06\x07\x08" + // Steam id
		"\x8c\x69tv\x00" +
		"a,b\x00" +
		"\x26\x02\x00\x00\x00\x00\x00\x00"
	twoPlayers = "D\x02" +
		"\x00Nick\x00" + "\x05\x00\x00\x00" + "\x00\x00\xc0\x3f" + // 1.5 s
		"\x00\x00" + "\xff\xff\xff\xff" + "\x00\x00\xc0\x7f" // nobody yet, -1, not a number
)

func TestParseInfo(t *testing.T) {
	short := Info{
		Protocol: 17, Name: "name", Map: "map", Folder: "dir", Game: "game", AppID: 550,
		Players: 3, MaxPlayers: 8, Bots: 1, ServerType: 'd', Environment: 'l', Password: true, Version: "2.2.4.3",
	}
	long := short
	long.Port, long.SteamID = 27015, 0x0807060504030201
	long.TVPort, long.TVName, long.Keywords, long.GameID = 27020, "tv", "a,b", 550
	keywords := short
	keywords.Keywords = "x"
	tests := []struct {
		name, message string
		want          Info
	}{
		{"no optional fields", shortInfo, short},
		{"none announced", shortInfo + "\x00", short},
		{"keywords alone", shortInfo + "\x20x\x00", keywords},
		{"all", longInfo, long},
		{"and something unknown behind", longInfo + "xyz", long},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseInfo([]byte(tt.message))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePlayers(t *testing.T) {
	two := []Player{{Name: "Nick", Score: 5, Connected: 1500 * time.Millisecond}, {Score: -1}}
	tests := []struct {
		name, message string
		want          []Player
	}{
		{"none", "D\x00", nil},
		{"two", twoPlayers, two},
		{"more announced than listed", "D\x09" + twoPlayers[2:], two},
		{"fewer announced than listed", "D\x01" + twoPlayers[2:], two[:1]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParsePlayers([]byte(tt.message))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Each message, cut anywhere but behind a complete field that may be the
// last, is malformed.
func TestMessageCutShort(t *testing.T) {
	for n := range longInfo {
		if n == len(shortInfo) {
			continue
		}
		if _, err := ParseInfo([]byte(longInfo[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("info of %d bytes: %v", n, err)
		}
	}
	firstPlayer := len("D\x02\x00Nick\x00") + 8
	for n := range twoPlayers {
		if n == 2 || n == firstPlayer {
			continue
		}
		if _, err := ParsePlayers([]byte(twoPlayers[:n])); !errors.Is(err, ErrMalformed) {
			t.Errorf("players of %d bytes: %v", n, err)
		}
	}
	if _, err := ParseInfo([]byte(twoPlayers)); !errors.Is(err, ErrMalformed) {
		t.Errorf("players taken for info: %v", err)
	}
}

func TestRequests(t *testing.T) {
	c := []byte("abcd")
	tests := map[string][]byte{
		"\xff\xff\xff\xffTSource Engine Query\x00":     InfoRequest(nil),
		"\xff\xff\xff\xffTSource Engine Query\x00abcd": InfoRequest(c),
		"\xff\xff\xff\xffU\xff\xff\xff\xff":            PlayersRequest(nil),
		"\xff\xff\xff\xffUabcd":                        PlayersRequest(c),
	}
	for want, got := range tests {
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestSeconds(t *testing.T) {
	tests := map[float32]time.Duration{
		0.25: 250 * time.Millisecond, -1: 0, math.MaxFloat32: 0, float32(math.Inf(1)): 0,
	}
	for s, want := range tests {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %s, want %s", s, got, want)
		}
	}
}

func part(id string, total, number byte, payload string) string {
	return "\xfe\xff\xff\xff" + id + string([]byte{total, number}) + "\xe0\x04" + payload
}

func TestJoin(t *testing.T) {
	big := strings.Repeat("x", 1000)
	var flood []string
	for i := range 66 {
		flood = append(flood, part("abc\x00", 67, byte(i), big))
	}
	tests := []struct {
		name      string
		datagrams []string
		want      string // the message, or a part of the error
		bad       bool
	}{
		{"whole", []string{"\xff\xff\xff\xffhello"}, "hello", false},
		{"two parts", []string{part("abc\x00", 2, 0, "\xff\xff\xff\xffhe"), part("abc\x00", 2, 1, "llo")}, "hello", false},
		{"out of order", []string{part("abc\x00", 2, 1, "llo"), part("abc\x00", 2, 0, "\xff\xff\xff\xffhe")}, "hello", false},
		{"sent twice", []string{part("abc\x00", 2, 1, "llo"), part("abc\x00", 2, 1, "xyz"), part("abc\x00", 2, 0, "\xff\xff\xff\xffhe")}, "hello", false},
		{"an empty part", []string{part("abc\x00", 2, 1, ""), part("abc\x00", 2, 0, "\xff\xff\xff\xffhe")}, "he", false},
		{"a new message replaces an unfinished one", []string{part("abc\x00", 2, 0, "lost"), part("xyz\x00", 2, 0, "\xff\xff\xff\xffhe"), part("xyz\x00", 2, 1, "llo")}, "hello", false},
		{"a part is missing", []string{part("abc\x00", 3, 0, "\xff\xff\xff\xffhe"), part("abc\x00", 3, 2, "llo")}, "", false},

		{"too short", []string{"\xff\xff\xff"}, "datagram of 3 bytes", true},
		{"other header", []string{"hello"}, "starts with 0x6c6c6568", true},
		{"part too short", []string{"\xfe\xff\xff\xffabc\x00\x01"}, "ends early", true},
		{"compressed", []string{part("abc\x80", 1, 0, "BZh")}, "compressed", true},
		{"number beyond total", []string{part("abc\x00", 2, 2, "x")}, "part 3 of a message of 2 parts", true},
		{"no parts", []string{part("abc\x00", 0, 0, "x")}, "part 1 of a message of 0 parts", true},
		{"total changes", []string{part("abc\x00", 2, 0, "x"), part("abc\x00", 3, 1, "x")}, "2 parts now has 3", true},
		{"no header within", []string{part("abc\x00", 1, 0, "hello")}, "does not start with", true},
		{"too long", flood, "longer than", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var j Joiner
			var got []byte
			var err error
			for i, d := range tt.datagrams {
				if got != nil || err != nil {
					t.Fatalf("done before datagram %d: %q, %v", i, got, err)
				}
				got, err = j.Add([]byte(d))
			}
			switch {
			case tt.bad && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %q", err, tt.want)
			case !tt.bad && (err != nil || string(got) != tt.want):
				t.Errorf("%q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// FuzzAnswer takes datagrams, each behind its length in two bytes, as a server
// could send them: nothing may panic, and nothing may grow beyond its bounds.
func FuzzAnswer(f *testing.F) {
	seed := func(datagrams ...string) {
		var b []byte
		for _, d := range datagrams {
			b = binary.LittleEndian.AppendUint16(b, uint16(len(d)))
			b = append(b, d...)
		}
		f.Add(b)
	}
	seed("\xff\xff\xff\xff"+longInfo, "\xff\xff\xff\xff"+twoPlayers)
	seed("\xff\xff\xff\xffAabcd", "\xff\xff\xff\xff"+shortInfo)
	seed(part("abc\x00", 2, 1, twoPlayers[9:]), part("abc\x00", 2, 0, "\xff\xff\xff\xff"+twoPlayers[:9]))
	seed(part("abc\x80", 1, 0, "BZh"), "\xfe\xff\xff\xff", "")
	f.Fuzz(func(t *testing.T, b []byte) {
		var j Joiner
		for len(b) >= 2 {
			n := min(int(binary.LittleEndian.Uint16(b)), len(b)-2)
			message, err := j.Add(b[2 : 2+n])
			b = b[2+n:]
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("error without ErrMalformed: %v", err)
			}
			if len(message) > maxMessage || j.size > maxMessage {
				t.Errorf("message of %d bytes, %d held", len(message), j.size)
			}
			ParseChallenge(message)
			if _, err := ParseInfo(message); err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("info: %v", err)
			}
			players, err := ParsePlayers(message)
			if err != nil && !errors.Is(err, ErrMalformed) {
				t.Errorf("players: %v", err)
			}
			if len(players) > 255 {
				t.Errorf("%d players", len(players))
			}
			for _, p := range players {
				if p.Connected < 0 {
					t.Errorf("connected for %s", p.Connected)
				}
			}
		}
	})
}
