package a2s_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/standin"
)

// limited is a context that ends well before go test loses patience.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestStandIn(t *testing.T) {
	root := t.TempDir()
	binary := filepath.Join(t.TempDir(), "srcds_linux")
	if err := standin.Build(limited(t), binary); err != nil {
		t.Fatal(err)
	}
	if err := standin.Install(root, binary); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, challenges, split string
	}{
		{"as the game does", "1", "1248"},
		{"challenged three times", "3", "1248"},
		{"split", "1", "40"},
		{"challenged twice and split", "2", "20"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := standin.Start(context.Background(), root, "-ip", "127.0.0.1", "-port", "0",
				"+standin_challenges", tt.challenges, "+standin_split", tt.split,
				"+hostname", "Versus 1", "+sv_tags", "a,b", "+map", "c1m1_hotel", "+players", "30 Nick")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Stop)
			info, err := a2s.Query(limited(t), p.Addr.String())
			if err != nil || info.Name != "Versus 1" || info.Map != "c1m1_hotel" || info.Players != 30 || info.Keywords != "a,b" || info.GameID != 550 {
				t.Errorf("info %+v, %v", info, err)
			}
			players, err := a2s.Players(limited(t), p.Addr.String())
			if err != nil || len(players) != 30 {
				t.Fatalf("players %+v, %v", players, err)
			}
			if players[0].Name != "Nick" || players[29].Name != "Player 30" || players[29].Score != 290 {
				t.Errorf("players %+v", players)
			}
		})
	}
}

// answering runs a server that answers each datagram by f until the test ends,
// and returns its address.
func answering(t *testing.T, f func(nth int, request string) []string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 2048)
		for nth := 1; ; nth++ {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			for _, answer := range f(nth, string(b[:n])) {
				conn.WriteTo([]byte(answer), from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

const info = "\xff\xff\xff\xffI\x11name\x00map\x00dir\x00game\x00\x26\x02\x00\x08\x00dl\x00\x00v\x00"

func TestHostileServers(t *testing.T) {
	t.Run("challenges for ever", func(t *testing.T) {
		requests := make(chan string, 1000)
		addr := answering(t, func(_ int, request string) []string {
			requests <- request
			return []string{"\xff\xff\xff\xffAabcd"}
		})
		if _, err := a2s.Query(limited(t), addr); !errors.Is(err, a2s.ErrMalformed) {
			t.Errorf("%v", err)
		}
		if n := len(requests); n > 20 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		addr := answering(t, func(int, string) []string { return []string{"garbage"} })
		if _, err := a2s.Query(limited(t), addr); !errors.Is(err, a2s.ErrMalformed) {
			t.Errorf("%v", err)
		}
	})
	t.Run("never what was asked for", func(t *testing.T) {
		addr := answering(t, func(int, string) []string {
			var flood []string
			for range 300 {
				flood = append(flood, "\xff\xff\xff\xffZ")
			}
			return flood
		})
		// Some of a flood may get lost, so asking again is part of it.
		if _, err := a2s.Query(limited(t), addr); !errors.Is(err, a2s.ErrMalformed) && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestIgnoresOtherMessages(t *testing.T) {
	addr := answering(t, func(int, string) []string { return []string{"\xff\xff\xff\xffD\x00", info} })
	got, err := a2s.Query(limited(t), addr)
	if err != nil || got.Name != "name" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAsksAgain(t *testing.T) {
	addr := answering(t, func(nth int, request string) []string {
		switch {
		case nth == 1:
			return nil // lost on the way
		case len(request) == 25:
			return []string{"\xff\xff\xff\xffAabcd"}
		case nth == 3:
			return nil
		case request[25:] == "abcd":
			return []string{info}
		}
		return nil
	})
	if _, err := a2s.Query(limited(t), addr); err != nil {
		t.Error(err)
	}
}

func TestNoAnswer(t *testing.T) {
	addr := answering(t, func(int, string) []string { return nil })
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := a2s.Players(ctx, addr); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		addr := answering(t, func(int, string) []string { cancel(); return nil })
		if _, err := a2s.Query(ctx, addr); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	t.Run("nobody there", func(t *testing.T) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		if _, err := a2s.Query(limited(t), conn.LocalAddr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v", err)
		}
	})
}
