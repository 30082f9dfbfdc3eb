package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// challengeState is what a client has been asked to repeat.
type challengeState struct {
	value  uint32
	rounds int // challenges sent
}

func (s *server) serveQueries(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		s.mu.Lock()
		deaf := s.number("standin_deaf") != 0
		s.mu.Unlock()
		if deaf {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		s.mu.Lock()
		for _, datagram := range s.answer(buf[:n], from) {
			conn.WriteToUDPAddrPort(datagram, from)
		}
		s.mu.Unlock()
	}
}

// answer returns the datagrams that answer one; none for what the game would
// not understand, and while a map loads.
func (s *server) answer(q []byte, from netip.AddrPort) [][]byte {
	if time.Now().Before(s.mutedUntil) || s.bans.addresses[from.Addr().Unmap().String()] {
		return nil
	}
	info := []byte("\xff\xff\xff\xffTSource Engine Query\x00")
	players := []byte("\xff\xff\xff\xffU")
	rules := []byte("\xff\xff\xff\xffV")
	switch {
	case bytes.HasPrefix(q, info):
		if c := s.challenge(q[len(info):], from); c != nil {
			return [][]byte{c}
		}
		return s.split(s.infoAnswer())
	case bytes.HasPrefix(q, players) && len(q) >= len(players)+4:
		if c := s.challenge(q[len(players):], from); c != nil {
			return [][]byte{c}
		}
		return s.split(s.playersAnswer())
	case bytes.HasPrefix(q, rules) && len(q) >= len(rules)+4:
		if c := s.challenge(q[len(rules):], from); c != nil {
			return [][]byte{c}
		}
		return s.split(s.rulesAnswer())
	}
	return nil
}

// challenge returns a challenge to send, or nil when given answers the last
// one of them. A challenge that was answered stays good.
func (s *server) challenge(given []byte, from netip.AddrPort) []byte {
	const maxClients = 4096
	c := s.challenges[from.String()]
	if c != nil && len(given) == 4 && binary.LittleEndian.Uint32(given) == c.value && c.rounds >= s.number("standin_challenges") {
		return nil
	}
	if c == nil {
		if len(s.challenges) >= maxClients {
			clear(s.challenges)
		}
		c = &challengeState{}
		s.challenges[from.String()] = c
	}
	c.value = 1 + rand.Uint32N(1<<31-1) // never -1, which asks for one
	c.rounds++
	b := []byte{0xff, 0xff, 0xff, 0xff, 'A', 0, 0, 0, 0}
	binary.LittleEndian.PutUint32(b[5:], c.value)
	return b
}

const appID = 550

func (s *server) infoAnswer() []byte {
	b := &bytes.Buffer{}
	b.WriteString("\xff\xff\xff\xffI\x11")
	for _, text := range []string{s.cvars["hostname"], s.mapName, gameDir, "Left 4 Dead 2"} {
		b.WriteString(text + "\x00")
	}
	write(b, uint16(appID), uint8(s.claimed("standin_a2s")+s.bots), uint8(s.maxPlayers()), uint8(s.bots))
	b.WriteString("dl")
	write(b, s.cvars["sv_password"] != "", !s.line.has("insecure"))
	b.WriteString(s.version + "\x00")

	bits := uint8(0x80 | 0x10 | 0x01)
	if s.number("tv_enable") != 0 {
		bits |= 0x40
	}
	if s.cvars["sv_tags"] != "" {
		bits |= 0x20
	}
	write(b, bits, uint16(s.sockets.port), uint64(90071992547409921))
	if bits&0x40 != 0 {
		write(b, uint16(s.number("tv_port")))
		b.WriteString(s.cvars["tv_name"] + "\x00")
	}
	if bits&0x20 != 0 {
		b.WriteString(s.cvars["sv_tags"] + "\x00")
	}
	write(b, uint64(appID))
	return b.Bytes()
}

func (s *server) playersAnswer() []byte {
	b := &bytes.Buffer{}
	b.WriteString("\xff\xff\xff\xffD")
	write(b, uint8(len(s.players)+s.bots))
	for _, p := range s.players {
		b.WriteString("\x00" + p.name + "\x00")
		write(b, int32(p.score), float32(time.Since(p.since).Seconds()))
	}
	for i := range s.bots {
		b.WriteString("\x00" + botName(i) + "\x00")
		write(b, int32(0), float32(60))
	}
	return b.Bytes()
}

// rulesAnswer lists public variables; no client of ours asks for them.
func (s *server) rulesAnswer() []byte {
	names := []string{"mp_gamemode", "sv_maxplayers", "sv_tags", "tv_enable"}
	b := &bytes.Buffer{}
	b.WriteString("\xff\xff\xff\xffE")
	write(b, uint16(len(names)))
	for _, name := range names {
		b.WriteString(name + "\x00" + s.cvars[name] + "\x00")
	}
	return b.Bytes()
}

// split cuts an answer into the datagrams of a split message when it is too
// long for one.
func (s *server) split(answer []byte) [][]byte {
	size := s.number("standin_split")
	if size <= 0 || len(answer) <= size {
		return [][]byte{answer}
	}
	parts := (len(answer) + size - 1) / size
	id := rand.Uint32N(1 << 31) // the highest bit would say compressed
	var datagrams [][]byte
	for i := range parts {
		b := &bytes.Buffer{}
		b.WriteString("\xfe\xff\xff\xff")
		write(b, id, uint8(parts), uint8(i), uint16(size))
		b.Write(answer[i*size : min((i+1)*size, len(answer))])
		datagrams = append(datagrams, b.Bytes())
	}
	return datagrams
}

// write appends fixed-size values, little-endian.
func write(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic(err) // a value without a fixed size
		}
	}
}
