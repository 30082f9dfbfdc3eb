package standin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/standin"
)

func TestConfiguration(t *testing.T) {
	root := install(t, map[string]string{
		"left4dead2/cfg/server.cfg": "// comment\nhostname \"A; B // C\"\nexec missing\nexec extra.cfg\n",
		"left4dead2/cfg/extra.cfg":  "sv_password x // secret\n",
	})
	p := start(t, root, "-maxplayers", "12", "-tickrate", "100", "+map", "c1m1_hotel", "+sv_tags", "a b", "+tv_enable", "1", "+tv_port", "27030", "+unknown_cvar", "7")
	want := a2s.Info{
		Protocol: 17, Name: "A; B // C", Map: "c1m1_hotel", Folder: "left4dead2", Game: "Left 4 Dead 2", AppID: 550,
		MaxPlayers: 12, ServerType: 'd', Environment: 'l', Password: true, VAC: true, Version: standin.Version,
		Port: int(p.Addr.Port()), SteamID: 90071992547409921, TVPort: 27030, TVName: "SourceTV", Keywords: "a b", GameID: 550,
	}
	if diff := cmp.Diff(want, query(t, p)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(p.Output(), "exec: couldn't exec missing.cfg") {
		t.Error("says nothing of the missing file")
	}
}

// -ip 0.0.0.0 is not tested: it would listen beyond this machine.

func TestMapChangeMutesQueries(t *testing.T) {
	p := start(t, install(t, nil), "+standin_mute", "600000", "+map", "c1m1_hotel")
	c := dial(t, p)
	if out := run(t, c, "changelevel c9m9_nowhere"); !strings.Contains(out, "changelevel failed: c9m9_nowhere not found") {
		t.Errorf("unknown map: %q", out)
	}
	if got := query(t, p).Map; got != "c1m1_hotel" {
		t.Errorf("map %q", got)
	}
	run(t, c, "changelevel c1m2_streets")
	mustBeSilent(t, p)
	run(t, c, "standin_mute 0; map c5m1_waterfront")
	if got := query(t, p).Map; got != "c5m1_waterfront" {
		t.Errorf("map %q", got)
	}
}

func TestDump(t *testing.T) {
	args := []string{"-game", "left4dead2", "-ip", "127.0.0.1", "-port", "0", "+standin_dump", "dump.json", "+sv_tags", `a "b" $c %d \e 'f'`, "", "ü"}
	root := install(t, nil)
	p, err := standin.Start(context.Background(), root, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	var d standin.Dump
	if err := json.Unmarshal([]byte(read(t, filepath.Join(root, "dump.json"))), &d); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(args, d.Arguments[1:]); diff != "" {
		t.Error(diff)
	}
	if d.Directory != root || d.UID != os.Geteuid() || d.GID != os.Getegid() {
		t.Errorf("directory %s, user %d, group %d", d.Directory, d.UID, d.GID)
	}
	for _, name := range []string{"CapEff", "CapBnd", "NoNewPrivs", "Seccomp"} {
		if d.Status[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	if len(d.Environment) == 0 || d.Limits == "" || d.Cgroup == "" {
		t.Errorf("incomplete: %+v", d)
	}
}

func TestLooksAtTheFileSystem(t *testing.T) {
	root := install(t, map[string]string{"dir/a": "text"})
	c := dial(t, start(t, root))
	me := fmt.Sprintf("%d:%d", os.Geteuid(), os.Getegid())
	tests := []struct{ command, want string }{
		{"look dir/a", "lstat: file 0644 " + me + " 4\nreaddir: ENOTDIR\nopen: ok\n"},
		{"look nowhere", "lstat: ENOENT\nreaddir: ENOENT\nopen: ENOENT\n"},
		{"poke nowhere/b", "ENOENT\n"},
		{"poke dir", "EISDIR\n"},
		{"poke dir/a  more", "ok\n"},
		{"poke dir/c", "ok\n"},
	}
	for _, tt := range tests {
		if got := run(t, c, tt.command); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.command, got, tt.want)
		}
	}
	if got := run(t, c, "look dir"); !strings.Contains(got, "\nreaddir: 2 entries \"a\" \"c\"\nopen: ok\n") {
		t.Errorf("look dir: %q", got)
	}
	if got := read(t, filepath.Join(root, "dir/a")); got != "text more" {
		t.Errorf("dir/a holds %q", got)
	}
	if got := run(t, c, "mounts"); !strings.Contains(got, " / ") || !strings.Contains(got, " - ") {
		t.Errorf("mounts: %q", got)
	}
}

func TestWrites(t *testing.T) {
	root := install(t, map[string]string{"left4dead2/addons/sourcemod/configs/core.cfg": ""})
	p := start(t, root, "-condebug")
	signal(syscall.SIGTERM)(t, p)
	if _, err := p.Wait(limited(t)); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{
		"logs/L*.log", "addons/sourcemod/logs/L*.log", "addons/sourcemod/data/sqlite/*",
		"cfg/banned_user.cfg", "cfg/banned_ip.cfg", "console.log",
	} {
		if found, _ := filepath.Glob(filepath.Join(root, "left4dead2", pattern)); len(found) != 1 {
			t.Errorf("%s: %q", pattern, found)
		}
	}
	if console := read(t, filepath.Join(root, "left4dead2/console.log")); !strings.Contains(console, "shutting down") {
		t.Errorf("console.log: %q", console)
	}
}

func TestWrongPasswordsBan(t *testing.T) {
	root := install(t, nil)
	p := start(t, root, "+sv_rcon_maxfailures", "2")
	for range 2 {
		if _, err := rcon.Dial(limited(t), p.Addr.String(), "wrong"); !errors.Is(err, rcon.ErrPassword) {
			t.Fatalf("%v, want %v", err, rcon.ErrPassword)
		}
	}
	if _, err := rcon.Dial(limited(t), p.Addr.String(), password); !errors.Is(err, rcon.ErrClosed) {
		t.Errorf("%v, want %v", err, rcon.ErrClosed)
	}
	if got := read(t, filepath.Join(root, "left4dead2/cfg/banned_ip.cfg")); got != "addip 0 127.0.0.1\r\n" {
		t.Errorf("banned_ip.cfg %q", got)
	}
}

// The bytes on the wire, written down by hand, for both clients here could
// share a mistake with the server.
func TestWireFormat(t *testing.T) {
	p := start(t, install(t, nil), "+standin_challenges", "0", "+standin_split", "0")
	t.Run("A2S_PLAYER", func(t *testing.T) {
		got := exchange(t, "udp", p, "\xff\xff\xff\xffU\xff\xff\xff\xff", 9)
		if want := "\xff\xff\xff\xffA"; string(got[:5]) != want {
			t.Errorf("%q, want a challenge", got)
		}
	})
	t.Run("challenges", func(t *testing.T) {
		p := start(t, install(t, nil), "+standin_challenges", "3")
		conn, err := net.Dial("udp", p.Addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		kinds, challenge := "", ""
		for b := make([]byte, 2048); len(kinds) < 4; {
			if _, err := conn.Write([]byte("\xff\xff\xff\xffTSource Engine Query\x00" + challenge)); err != nil {
				t.Fatal(err)
			}
			n, err := conn.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			kinds, challenge = kinds+string(b[4]), string(b[5:min(n, 9)])
		}
		if kinds != "AAAI" {
			t.Errorf("answers %q, want three challenges and the info", kinds)
		}
	})
	t.Run("RCON", func(t *testing.T) {
		got := exchange(t, "tcp", p, "\x12\x00\x00\x00\x05\x00\x00\x00\x03\x00\x00\x00"+password+"\x00\x00", 28)
		want := "\x0a\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "\x0a\x00\x00\x00\x05\x00\x00\x00\x02\x00\x00\x00\x00\x00"
		if string(got) != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// exchange sends request and reads an answer of n bytes.
func exchange(t *testing.T, network string, p *standin.Process, request string, n int) []byte {
	t.Helper()
	conn, err := net.Dial(network, p.Addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(request)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for b := make([]byte, 2048); got.Len() < n; {
		m, err := conn.Read(b)
		if err != nil {
			t.Fatalf("after %q: %v", got.Bytes(), err)
		}
		got.Write(b[:m])
	}
	return got.Bytes()
}
