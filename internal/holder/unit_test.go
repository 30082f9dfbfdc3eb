package holder

import (
	"encoding/binary"
	"path"
	"strings"
	"testing"
)

func TestUnit(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/system-l4d2.slice/l4d2@a.service\n":                  "l4d2@a.service",
		"0::/user.slice/user-1000.slice/session-3.scope\n":                     "session-3.scope",
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n": "x.scope",
		"0::/system.slice/l4d2@a.service/child/grandchild\n":                   "l4d2@a.service",
		"12:cpu:/other.service\n1:name=systemd:/system.slice/ssh.service\n":    "ssh.service",
		"0::/\n":                              "",
		"0::/init.scope":                      "init.scope",
		"0::/a b\\x2d:c.service/x":            "a b\\x2d:c.service",
		"0::/../../l4d2@a.service (deleted)":  "",
		"":                                    "",
		"garbage":                             "",
		"0:x.service":                         "",
		"::::":                                "",
		"0::l4d2@a.service":                   "l4d2@a.service",
		"0::/system.slice/..service/.service": ".service",
	} {
		if got := unit(text); got != want {
			t.Errorf("unit(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzUnit(f *testing.F) {
	f.Add("0::/system.slice/l4d2@a.service\n")
	f.Add("12:cpu:/x\n1:name=systemd:/a.scope/b\n")
	f.Fuzz(func(t *testing.T, text string) {
		got := unit(text)
		if got == "" {
			return
		}
		if strings.Contains(got, "/") || strings.Contains(got, "\n") || !strings.Contains(text, got) || path.Ext(got) == "" {
			t.Errorf("unit(%q) = %q", text, got)
		}
	})
}

// answer is one message of the kernel's about a socket.
func answer(inode uint32, name string, dev uint32) []byte {
	attr := func(kind uint16, value []byte) []byte {
		b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, value...)
		return append(b, make([]byte, align(len(b))-len(b))...)
	}
	body := append([]byte{1, 1, 10, 0}, binary.NativeEndian.AppendUint32(nil, inode)...)
	body = append(body, make([]byte, 8)...)
	body = append(body, attr(attrName, []byte(name))...)
	body = append(body, attr(attrVFS, append([]byte{9, 9, 9, 9}, binary.NativeEndian.AppendUint32(nil, dev)...))...)
	head := binary.NativeEndian.AppendUint32(nil, uint32(16+len(body)))
	head = binary.NativeEndian.AppendUint16(head, sockDiagByFamily)
	return append(append(head, make([]byte, 10)...), body...)
}

func TestReadDiag(t *testing.T) {
	sockets := map[uint32]*socket{}
	b := append(answer(7, "/merged/x\x00", 77), answer(8, "elsewhere", 78)...)
	if !readDiag(append(b, answer(9, "y", 77)...), 77, sockets) {
		t.Error("no more is expected")
	}
	if len(sockets) != 2 || sockets[7].path != "/merged/x" || sockets[9].path != "y" {
		t.Errorf("%v", sockets)
	}
	done := answer(1, "z", 77)
	done[4] = 3 // NLMSG_DONE
	if readDiag(done, 77, sockets) || len(sockets) != 2 {
		t.Error("the end was not seen")
	}
}

func FuzzReadDiag(f *testing.F) {
	f.Add(append(answer(7, "/merged/x\x00", 77), answer(8, "", 78)...))
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		sockets := map[uint32]*socket{}
		readDiag(b, 77, sockets)
		for _, s := range sockets {
			if s.path == "" || !strings.Contains(string(b), s.path) {
				t.Errorf("%q from %q", s.path, b)
			}
		}
	})
}
