// Package a2s asks a game server for its state over UDP, in the way that
// Valve's server browser does (A2S_INFO and A2S_PLAYER).
//
// It is for looking at a server, not for judging whether it lives: a server
// does not answer while it loads a map, and a flood of queries can mute it, so
// silence alone says nothing. Query and Players do one exchange each; the
// request builders, Joiner and the parsers work on bytes alone, for a caller
// that asks many servers over one socket.
//
// The format is Valve's, https://developer.valvesoftware.com/wiki/Server_queries,
// as the Source engine since 2007 speaks it; older dialects are refused.
package a2s

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	// patience limits a query whose ctx has no deadline of its own.
	patience = 10 * time.Second
	// resendAfter is how long to wait before asking again: UDP loses packets.
	resendAfter = time.Second
	// maxChallenges is how many challenges in a row to answer; a real server
	// sends one, or two when the first one ran out meanwhile.
	maxChallenges = 8
	// maxDatagrams is how many datagrams to look at, useless ones included.
	maxDatagrams = 256
	// maxDatagram, in bytes, is several times what a Source server puts into
	// one datagram (about 1,400). A longer one arrives cut off.
	maxDatagram = 16 << 10
)

// Query asks the server at addr (host:port) for A2S_INFO.
//
// It asks again each second until ctx ends, at most 10 seconds in all. A
// caller can tell apart syscall.ECONNREFUSED (nobody listens there),
// ctx's error (silence) and ErrMalformed.
func Query(ctx context.Context, addr string) (Info, error) {
	m, err := ask(ctx, addr, InfoRequest, infoAnswer)
	if err != nil {
		return Info{}, fmt.Errorf("a2s info from %s: %w", addr, err)
	}
	info, err := ParseInfo(m)
	if err != nil {
		return Info{}, fmt.Errorf("a2s info from %s: %w", addr, err)
	}
	return info, nil
}

// Players asks the server at addr for A2S_PLAYER, in the same way and with
// the same errors as Query.
func Players(ctx context.Context, addr string) ([]Player, error) {
	m, err := ask(ctx, addr, PlayersRequest, playersAnswer)
	if err != nil {
		return nil, fmt.Errorf("a2s players from %s: %w", addr, err)
	}
	players, err := ParsePlayers(m)
	if err != nil {
		return nil, fmt.Errorf("a2s players from %s: %w", addr, err)
	}
	return players, nil
}

// ask sends request, answers challenges and returns the first whole message
// of kind want.
func ask(ctx context.Context, addr string, request func(challenge []byte) []byte, want byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	// A connected socket takes datagrams from addr alone, and learns from the
	// kernel that nobody listens there.
	conn, err := dialer.DialContext(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()

	var (
		join       Joiner
		challenge  []byte
		challenges int
		buf        = make([]byte, maxDatagram)
	)
	if _, err := conn.Write(request(nil)); err != nil {
		return nil, err
	}
	for range maxDatagrams {
		n, err := receive(ctx, conn, buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if _, err := conn.Write(request(challenge)); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		message, err := join.Add(buf[:n])
		if err != nil {
			return nil, err
		}
		if c, ok := ParseChallenge(message); ok {
			if challenges++; challenges > maxChallenges {
				return nil, malformed("%d challenges and no answer", maxChallenges)
			}
			challenge = c
			if _, err := conn.Write(request(challenge)); err != nil {
				return nil, err
			}
		} else if len(message) > 0 && message[0] == want {
			return message, nil
		}
	}
	return nil, malformed("%d datagrams and no answer in them", maxDatagrams)
}

// receive waits for one datagram: until resendAfter has passed
// (os.ErrDeadlineExceeded) or ctx has ended (its error).
func receive(ctx context.Context, conn net.Conn, buf []byte) (int, error) {
	if err := conn.SetReadDeadline(time.Now().Add(resendAfter)); err != nil {
		return 0, err
	}
	// Ended before the line above, ctx's own deadline is lost: so look now.
	if ctx.Err() != nil {
		return 0, fmt.Errorf("no answer: %w", ctx.Err())
	}
	n, err := conn.Read(buf)
	if err != nil && ctx.Err() != nil {
		return 0, fmt.Errorf("no answer: %w", ctx.Err())
	}
	return n, err
}
