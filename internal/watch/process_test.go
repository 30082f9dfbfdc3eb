package watch

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"net/netip"
)

func TestUsage(t *testing.T) {
	self := processOf(os.Getpid())
	before, err := self.usage()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	const size = 1 << 20
	if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for time.Since(begin) < 200*time.Millisecond {
	}
	elapsed := time.Since(begin)
	after, err := self.usage()
	if err != nil {
		t.Fatal(err)
	}
	r := after.since(before, elapsed)
	if r.Read < size {
		t.Errorf("%d bytes read, want %d and more", r.Read, size)
	}
	// Running or waiting for a processor, however many others want it.
	if r.Wanted < elapsed/2 || r.CPU > elapsed || r.Held {
		t.Errorf("busy for %s: %+v", elapsed, r)
	}
	if j := (Judge{Limits: LimitsFor(time.Second)}); j.Sign(Round{Elapsed: elapsed, Wanted: r.Wanted, CPU: r.CPU}) != Works {
		t.Errorf("%+v does not count as busy", r)
	}
}

func TestUsageOfNobody(t *testing.T) {
	if _, err := processOf(1 << 30).usage(); err == nil {
		t.Error("no error")
	}
}

// The kernel's table says what waits in a socket, and whose it is.
func TestSockets(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	look := func() socket {
		t.Helper()
		found, err := bound(int(addr.Port()))
		if err != nil {
			t.Fatal(err)
		}
		mine, err := processOf(os.Getpid()).sockets()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range found {
			if mine[s.inode] {
				return s
			}
		}
		t.Fatalf("not among %v", found)
		return socket{}
	}
	s := look()
	if s.queue != 0 || s.target() != addr.String() {
		t.Errorf("%+v, want an empty one at %s", s, addr)
	}
	for range 2 {
		if _, err := conn.WriteToUDPAddrPort([]byte("x"), addr); err != nil {
			t.Fatal(err)
		}
	}
	full := look().queue
	if full == 0 {
		t.Error("empty, with two packets in it")
	}
	if _, err := conn.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if now := look().queue; now == 0 || now >= full {
		t.Errorf("%d bytes, were %d before one of two packets was read", now, full)
	}
}

func TestParseUDP(t *testing.T) {
	const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:6987 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 11 2 0000000000000000 0
  101: 00000000:6987 00000000:0000 07 00000000:0003A2C0 00:00000000 00000000   996        0 4026531840 2 0000000000000000 77
 1000: 00000000:6988 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 13 2 0000000000000000 0
`
	got, err := parseUDP(strings.NewReader(table), 27015)
	want := []socket{
		{netip.MustParseAddrPort("127.0.0.1:27015"), 0, 11},
		{netip.MustParseAddrPort("0.0.0.0:27015"), 0x3a2c0, 4026531840},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(socket{}), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if target := got[1].target(); target != "127.0.0.1:27015" {
		t.Errorf("to reach 0.0.0.0: %s", target)
	}
	for _, bad := range []string{"0100007F:6987 0:0 07 0:0", "XYZ:6987 0:0 07 0:0 0 0 0 0 1", "0100007F:6987 0:0 07 0:Z 0 0 0 0 1"} {
		if got, err := parseUDP(strings.NewReader("heading\n 1: "+bad+"\n"), 27015); err == nil && len(got) > 0 {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
