package main

import (
	"fmt"
	"net"
	"strconv"
)

// sockets is one port, UDP for the game and TCP for RCON.
type sockets struct {
	udp  *net.UDPConn
	tcp  *net.TCPListener
	ip   net.IP // the game's
	port int
}

const defaultPort = 27015

// tries is how many ports the game looks at before it gives up.
const tries = 32

// listen takes the port of the command line, or, as the game does, the next
// free one; with -strictportbind that one alone. Port 0, which the game does
// not know, is any free one.
func listen(line commandLine) (sockets, error) {
	port := defaultPort
	if word := line.switches["port"]; word != "" {
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n > 65535 {
			return sockets{}, fmt.Errorf("-port %s: not a port", word)
		}
		port = n
	}
	// Without -ip, other Source servers were seen to keep RCON on loopback.
	game, rcon := net.IPv4zero, net.IPv4(127, 0, 0, 1)
	if word := line.switches["ip"]; word != "" {
		ip := net.ParseIP(word).To4()
		if ip == nil {
			return sockets{}, fmt.Errorf("-ip %s: not an IPv4 address", word)
		}
		game, rcon = ip, ip
	}
	n := tries
	if line.has("strictportbind") {
		n = 1
	}
	var err error
	for i := range n {
		try := port
		if port != 0 {
			try += i
		}
		var s sockets
		if s, err = bind(game, rcon, try); err == nil {
			return s, nil
		}
	}
	return sockets{}, err
}

func bind(game, rcon net.IP, port int) (sockets, error) {
	udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: game, Port: port})
	if err != nil {
		return sockets{}, err
	}
	port = udp.LocalAddr().(*net.UDPAddr).Port
	tcp, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: rcon, Port: port})
	if err != nil {
		udp.Close()
		return sockets{}, err
	}
	return sockets{udp: udp, tcp: tcp, ip: game, port: port}, nil
}
