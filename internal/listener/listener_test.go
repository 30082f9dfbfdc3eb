package listener

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestOwners(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0", "[::1]:0", "127.0.0.2:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		port := uint16(l.Addr().(*net.TCPAddr).Port)
		var want []int
		if !strings.HasPrefix(address, "[::1]") && !strings.HasPrefix(address, "127.0.0.2") {
			want = []int{os.Getuid()}
		}
		if got, err := Owners(port); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v; want %v", address, got, err, want)
		}
		l.Close()
		if got, err := Owners(port); err != nil || len(got) != 0 {
			t.Errorf("closed: %v, %v", got, err)
		}
	}
}

// A connection that is established is no listener.
func TestRead(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:6987 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 1 1 0 100 0 0 10 0
   1: 00000000:6987 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 2 1 0 100 0 0 10 0
   2: 0100007F:6987 0100007F:8000 01 00000000:00000000 00:00000000 00000000  1003        0 3 1 0 20 4 0 10 -1
   3: 0500000A:6987 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1004        0 4 1 0 100 0 0 10 0
   4: 00000000:6988 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1005        0 5 1 0 100 0 0 10 0
   5: 0000000000000000FFFF00000100007F:6987 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1006 0 6
   6: 00000000000000000000000001000000:6987 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 1007 0 7
`
	got, err := read(strings.NewReader(table), 27015)
	if want := []int{1001, 1002, 1006}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}
