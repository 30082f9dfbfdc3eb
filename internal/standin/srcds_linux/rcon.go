package main

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"time"
)

// The kinds of RCON packet, named after what the game sends or gets.
const (
	sendAnswer = 0
	sendAuth   = 2
	getMark    = 0
	getCommand = 2
	getAuth    = 3
)

func (s *server) serveRCON(l *net.TCPListener) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil {
			return
		}
		go s.serveAdmin(conn)
	}
}

// serveAdmin serves one connection until it ends or misbehaves.
func (s *server) serveAdmin(conn *net.TCPConn) {
	defer conn.Close()
	ip := conn.RemoteAddr().(*net.TCPAddr).IP.String()
	authorized := false
	for {
		s.mu.Lock()
		banned := s.bans.addresses[ip]
		s.mu.Unlock()
		if banned {
			return
		}
		var head struct{ Size, ID, Kind int32 }
		if err := binary.Read(conn, binary.LittleEndian, &head); err != nil {
			return
		}
		if head.Size < 10 || head.Size > 4096 {
			return
		}
		rest := make([]byte, head.Size-8)
		if _, err := io.ReadFull(conn, rest); err != nil {
			return
		}
		text, _, _ := strings.Cut(string(rest), "\x00")

		answer := &bytes.Buffer{}
		s.mu.Lock()
		switch {
		case head.Kind == getAuth:
			authorized = s.authorize(text, ip)
			addPacket(answer, head.ID, sendAnswer, "")
			if authorized {
				addPacket(answer, head.ID, sendAuth, "")
			} else {
				addPacket(answer, -1, sendAuth, "")
			}
		case !authorized:
			addPacket(answer, -1, sendAuth, "")
		case head.Kind == getCommand:
			addAnswer(answer, head.ID, s.execute(text))
		case head.Kind == getMark:
			addPacket(answer, head.ID, sendAnswer, "")
			addPacket(answer, head.ID, sendAnswer, "\x00\x01\x00\x00")
		}
		s.mu.Unlock()
		conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write(answer.Bytes()); err != nil {
			return
		}
	}
}

// authorize judges a password; too many wrong ones ban the address.
func (s *server) authorize(password, ip string) bool {
	if want := s.cvars["rcon_password"]; want != "" && password == want {
		delete(s.bans.failures, ip)
		return true
	}
	s.print("rcon from %q: Bad Password", ip)
	s.bans.failures[ip]++
	if s.bans.failures[ip] >= s.number("sv_rcon_maxfailures") {
		s.print("Banning %s for rcon hacking attempts", ip)
		s.bans.addresses[ip] = true
		s.writeBans()
	}
	return false
}

// addAnswer adds a command's output, in as many packets as it needs.
func addAnswer(b *bytes.Buffer, id int32, text string) {
	const chunk = 4000
	for len(text) > chunk {
		addPacket(b, id, sendAnswer, text[:chunk])
		text = text[chunk:]
	}
	addPacket(b, id, sendAnswer, text)
}

func addPacket(b *bytes.Buffer, id, kind int32, body string) {
	write(b, int32(len(body)+10), id, kind)
	b.WriteString(body + "\x00\x00")
}
