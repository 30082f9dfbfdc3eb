package activation

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// checkPort makes sure that the game will get its port: with -strictportbind
// it would end without saying who has it. The sockets are bound and closed
// again; package net is not worth its start-up time here.
func checkPort(port uint16) error {
	for _, s := range []struct {
		kind int
		name string
	}{{unix.SOCK_DGRAM, "udp"}, {unix.SOCK_STREAM, "tcp"}} {
		err := bind(s.kind, int(port))
		if errors.Is(err, unix.EADDRINUSE) {
			return advice.With(fmt.Errorf("port %d/%s is in use by another program", port, s.name),
				fmt.Sprintf("see who has it with: ss -lnp 'sport = :%d'", port))
		}
		if err != nil {
			return fmt.Errorf("bind port %d/%s: %w", port, s.name, err)
		}
	}
	return nil
}

func bind(kind, port int) error {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if kind == unix.SOCK_STREAM {
		// As the game does: connections of its last run that linger in
		// TIME_WAIT are no obstacle. A listener still is one, to listen(2).
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return err
		}
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return err
	}
	if kind == unix.SOCK_STREAM {
		return unix.Listen(fd, 1)
	}
	return nil
}
