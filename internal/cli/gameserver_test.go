package cli

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

// gameServer answers A2S queries as a game server does, on a free port of the
// loopback interface, until the test ends.
type gameServer struct {
	hostname, mapName string
	players           []string
	bots              int // of them
	mute              bool
	port              uint16          // 0: any
	together          *sync.WaitGroup // nothing is answered before each server has been asked
}

func (g gameServer) start(t testing.TB) (port uint16) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(g.port)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		for first := true; ; first = false {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if first && g.together != nil {
				g.together.Done()
				g.together.Wait()
			}
			if !g.mute {
				conn.WriteToUDPAddrPort(g.answer(buf[:n]), from)
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// answer challenges first, as the game does.
func (g gameServer) answer(request []byte) []byte {
	const challenge = "abcd"
	var b bytes.Buffer
	b.WriteString("\xff\xff\xff\xff")
	switch {
	case !bytes.HasSuffix(request, []byte(challenge)):
		b.WriteString("A" + challenge)
	case request[4] == 'U':
		b.Write([]byte{'D', byte(len(g.players))})
		for i, name := range g.players {
			b.WriteString("\x00" + name + "\x00")
			binary.Write(&b, binary.LittleEndian, int32(10*i))
			binary.Write(&b, binary.LittleEndian, float32(60*i+60))
		}
	default:
		fmt.Fprintf(&b, "I\x11%s\x00%s\x00left4dead2\x00Left 4 Dead 2\x00", g.hostname, g.mapName)
		b.Write([]byte{0x26, 0x02, byte(len(g.players)), 8, byte(g.bots), 'd', 'l', 0, 1})
		b.WriteString("2.2\x00")
	}
	return b.Bytes()
}

// onPort makes the instance again, on a port.
func (h *host) onPort(n instance.Name, port uint16, extra string) {
	h.t.Helper()
	st, err := h.program.OpenStore(h.layout)
	must(h.t, err)
	_, err = st.Init(n, "test.yaml", fmt.Appendf(nil, "port: %d\n%s", port, extra))
	must(h.t, err)
}

// terminal is a pseudo-terminal of 100 columns and 30 lines: what is written to
// the program's side can be read, and the other way round.
func terminal(t *testing.T) (ours, programs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { ours.Close() })
	must(t, unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	must(t, err)
	programs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { programs.Close() })
	must(t, unix.IoctlSetWinsize(int(programs.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}))
	return ours, programs
}

// until reads from r until all of texts were there in their order, and returns
// what it has read.
func until(t *testing.T, r *os.File, texts ...string) string {
	t.Helper()
	var all strings.Builder
	buf := make([]byte, 4096)
	for at := 0; ; {
		for len(texts) > 0 {
			i := strings.Index(all.String()[at:], texts[0])
			if i < 0 {
				break
			}
			at += i + len(texts[0])
			texts = texts[1:]
		}
		if len(texts) == 0 {
			return all.String()
		}
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("%v before %q; so far: %q", err, texts, all.String())
		}
		all.Write(buf[:n])
	}
}
