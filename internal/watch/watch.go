// Package watch looks after one running game server on systemd's behalf: it
// says when players can join (READY=1), what is played (STATUS=), and when the
// server hangs (WATCHDOG=trigger). It ends when the server does.
//
// It only looks and tells. To restart or kill the server is systemd's, and what
// systemd does is the unit's to say. In particular it does not keep a timer of
// systemd's from running out: then its own death, and not only the server's,
// would end the game. So it switches that timer off (WATCHDOG_USEC=0) and sends
// for systemd when the server has been dead for the timer's time.
package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/journal"
)

// Watch is what to watch and whom to tell.
type Watch struct {
	PID    int // of the server
	Port   int // that it was told to take
	Config string
	// Watchdog is the unit's WatchdogSec=; 0: hangs are not looked for.
	Watchdog time.Duration
	// Notify sends a message to systemd (sd_notify(3)).
	Notify func(message string) error
	Log    *journal.Log
}

// usualWatchdog is what the limits follow from where the unit has none.
const usualWatchdog = 45 * time.Second

// watcher is a Watch at work.
type watcher struct {
	Watch
	Limits
	process process
	socket  socket
	console console
	opened  bool   // it has opened its port
	level   string // the map, as last heard
	said    string // the last status that systemd took

	seen time.Time // when last looked
	used *usage    // by then; nil while it answers, when nobody needs to know
}

// errEnded says that the server is gone, which is when all looking ends.
var errEnded = errors.New("the server has ended")

// Run watches until the server ends, which pidfd, of its process, tells.
func (w Watch) Run(pidfd int) error {
	ctx, end := context.WithCancelCause(context.Background())
	go func() { end(await(pidfd)) }()
	limits := LimitsFor(w.Watchdog)
	if w.Watchdog == 0 {
		limits = LimitsFor(usualWatchdog)
	}
	at := &watcher{Watch: w, Limits: limits, process: processOf(w.PID), console: console{config: w.Config}}
	at.look()
	if missing := at.start(ctx); missing != "" {
		w.Log.Error("l4d2-watch: no player could join: ended while %s", missing)
	} else {
		at.guard(ctx)
	}
	if err := context.Cause(ctx); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// await waits until the process of pidfd has ended.
func await(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if err == nil {
			return errEnded
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("poll a pidfd: %w", err)
		}
	}
}

// The pauses between the first looks: a small server is there at once, the
// real one after ten seconds or more.
const (
	firstPause = 30 * time.Millisecond
	lastPause  = time.Second
)

// start waits until the server can be joined, and tells systemd. When ctx ends
// before, it returns what was missing.
func (w *watcher) start(ctx context.Context) (missing string) {
	judge := &Judge{Limits: w.Limits}
	logged := ""
	for pause := firstPause; ; pause = min(pause*5/4, lastPause) {
		info, missing := w.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return logged
		case missing == "" && w.ready(info) == nil:
			return ""
		case missing != "" && missing != logged:
			w.Log.Info("l4d2-watch: %s", missing)
			logged = missing
		}
		w.status(missing)
		if time.Since(w.seen) >= w.Round {
			w.extend(judge)
		}
		sleep(ctx, pause)
	}
}

// ready tells systemd that players can join.
func (w *watcher) ready(info a2s.Info) error {
	w.level = info.Map
	message := "READY=1"
	if w.Watchdog > 0 {
		message += "\nWATCHDOG_USEC=0"
	}
	err := w.say(message, playing(info))
	if err == nil {
		w.Log.Info("l4d2-watch: players can join: %s", playing(info))
	}
	return err
}

// ask looks whether the server answers, and says in words what is missing.
func (w *watcher) ask(ctx context.Context) (info a2s.Info, missing string) {
	missing = w.find()
	if missing != "" && !w.opened {
		return info, missing
	}
	w.opened = true // and when it is closed again, the process is about to end
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	info, err := a2s.Query(ctx, w.socket.target())
	if err != nil {
		return info, fmt.Sprintf("waiting for the server to answer queries (A2S_INFO) on port %d", w.Port)
	}
	return info, ""
}

// find looks for the server's socket. Someone else's on the same port would
// make a server ready that is not there.
func (w *watcher) find() (missing string) {
	w.socket = socket{}
	candidates, err := bound(w.Port)
	if err == nil && len(candidates) > 0 {
		var mine map[uint64]bool
		if mine, err = w.process.sockets(); err == nil {
			for _, s := range candidates {
				if mine[s.inode] {
					w.socket = s
					return ""
				}
			}
		}
	}
	if err != nil {
		return fmt.Sprintf("can't see the server's sockets: %v", err)
	}
	return fmt.Sprintf("waiting for the server to open UDP port %d", w.Port)
}

// extend asks systemd for more time to start in (TimeoutStartSec=) while the
// server is at work: with a hundred starting at once, each gets a hundredth.
func (w *watcher) extend(judge *Judge) {
	r, _ := w.look()
	switch judge.Add(r) {
	case Reads, Works, Held:
		_ = w.Notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (4 * w.Round).Microseconds())) // the next one does
	}
}

// look returns what the process did since the last look, and whether that is
// known.
func (w *watcher) look() (r Round, known bool) {
	now := time.Now()
	r.Elapsed = now.Sub(w.seen)
	w.seen = now
	before := w.used
	w.used = nil
	used, err := w.process.usage()
	if err != nil {
		return r, false // it is gone, as pidfd will say
	}
	w.used = &used
	if before == nil {
		return r, false
	}
	return used.since(*before, r.Elapsed), true
}

// guard keeps the status, and tells systemd when the server hangs.
func (w *watcher) guard(ctx context.Context) {
	judge := &Judge{Limits: w.Limits}
	for pause := w.Round; sleep(ctx, pause); {
		begin := time.Now()
		w.round(ctx, judge)
		pause = w.Round - time.Since(begin)
		if ctx.Err() == nil && w.Watchdog > 0 && judge.Hung() {
			w.Log.Error("l4d2-watch: the server hangs: %s", lost(w.level, judge))
			_ = w.Notify("WATCHDOG=trigger") // sent again, if need be
			*judge = Judge{Limits: w.Limits}
		}
	}
}

// round looks once at everything.
func (w *watcher) round(ctx context.Context, judge *Judge) {
	query, done := context.WithTimeout(ctx, min(time.Second, w.Round/2))
	info, err := a2s.Query(query, w.socket.target())
	done()
	if err == nil {
		now := time.Now()
		judge.Add(Round{Elapsed: now.Sub(w.seen), Answered: true})
		w.seen, w.used, w.level = now, nil, info.Map
		w.status(playing(info))
		return
	}
	r, known := w.look()
	r.Took = w.takes(ctx)
	// Not the first time: a server that loads a map would not answer, and a
	// password that got no answer is not tried again.
	if known && judge.Sign(r) == None {
		ask, done := context.WithTimeout(ctx, w.Round)
		r.Console = w.console.answers(ask, w.socket.target())
		done()
	}
	if sign := judge.Add(r); sign != None {
		w.status(silent(w.level, judge.Silent, sign))
	} else {
		w.status(lost(w.level, judge))
	}
}

// The looks at a socket's queue in one round.
const (
	queueLooks = 20
	queuePause = 10 * time.Millisecond
)

// takes says whether the server reads its socket, into which a query was sent
// just now: its queue is empty, or becomes shorter, also while others fill it.
func (w *watcher) takes(ctx context.Context) bool {
	before, ok := w.queue()
	if !ok {
		// It closed the socket, and may have opened another one.
		w.find()
		return false
	}
	for i := 0; i < queueLooks && before > 0; i++ {
		if !sleep(ctx, queuePause) {
			return false
		}
		now, ok := w.queue()
		if !ok {
			return false
		}
		if now < before {
			return true
		}
		before = now
	}
	return before == 0
}

func (w *watcher) queue() (bytes uint32, ok bool) {
	sockets, err := bound(w.Port)
	if err != nil {
		return 0, false
	}
	for _, s := range sockets {
		if s.inode == w.socket.inode {
			return s.queue, true
		}
	}
	return 0, false
}

// status tells systemd, if it is something new.
func (w *watcher) status(text string) {
	if text != w.said {
		_ = w.say("", text) // said again in the next round
	}
}

// say sends a status, and a message with it.
func (w *watcher) say(message, status string) error {
	// systemd takes a backslash for the escape of what follows, be it a newline
	// (seen in 252 and 257).
	escaped := strings.ReplaceAll(status, `\`, `\\`)
	err := w.Notify(strings.TrimPrefix(message+"\nSTATUS="+escaped, "\n"))
	if err == nil {
		w.said = status
	}
	return err
}

// sleep returns false when ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
