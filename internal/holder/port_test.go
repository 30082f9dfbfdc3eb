package holder

import (
	"net"
	"os"
	"testing"
)

func TestPorts(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer tcp.Close()
	port := uint16(tcp.Addr().(*net.TCPAddr).Port)
	connected, err := net.Dial("tcp", tcp.Addr().String())
	must(t, err)
	defer connected.Close()
	found, err := Ports([]uint16{port})
	must(t, err)
	if len(found) != 1 || found[0].Network != "tcp" || found[0].Holder.PID != os.Getpid() || found[0].Port != port {
		t.Errorf("found %+v", found)
	}
	udp, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
	must(t, err)
	defer udp.Close()
	if found, err = Ports([]uint16{port}); err != nil || len(found) != 2 || found[0].Network != "udp" {
		t.Errorf("found %+v, %v", found, err)
	}
	// The port of a connection's own end is nobody's to take from others.
	own := uint16(connected.LocalAddr().(*net.TCPAddr).Port)
	if found, err = Ports([]uint16{own}); err != nil || len(found) != 0 {
		t.Errorf("found %+v, %v", found, err)
	}
}
