package roll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
)

// fake is servers as a test has them. What it leaves out is an empty server
// that runs.
type fake struct {
	mu        sync.Mutex
	sights    map[instance.Name]Sight
	status    map[instance.Name]string // the console's answer
	console   map[instance.Name]error
	restarts  map[instance.Name]chan error // nil: one that is done at once
	lookError error
	calls     []string // "restart a", "a: say …"
}

func (f *fake) Look(_ context.Context, names []instance.Name) ([]Sight, error) {
	var all []Sight
	for _, n := range names {
		all = append(all, f.sights[n])
	}
	return all, f.lookError
}

const nobody = "hostname: x\nplayers : 0 humans, 0 bots (8 max) (hibernating) (unreserved)\n# userid name uniqueid connected ping loss state rate adr\n#end\n"

func (f *fake) Console(_ context.Context, n instance.Name, line string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf("%s: %s", n, line))
	if err := f.console[n]; err != nil {
		return "", err
	}
	if answer, ok := f.status[n]; ok && line == "status" {
		return answer, nil
	}
	return nobody, nil
}

func (f *fake) Restart(_ context.Context, n instance.Name) <-chan error {
	f.calls = append(f.calls, "restart "+string(n))
	if done, ok := f.restarts[n]; ok {
		return done
	}
	done := make(chan error, 1)
	done <- nil
	return done
}

// players is a server with that many humans on it.
func players(n int) Sight { return Sight{Info: a2s.Info{Players: n, MaxPlayers: 8}} }

// bench is a roll whose clock a test advances.
type bench struct {
	*fake
	*Roll
	t      *testing.T
	clock  time.Time
	log    bytes.Buffer
	states []State
}

func newBench(t *testing.T, o Order) *bench {
	b := &bench{t: t, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), fake: &fake{
		sights: map[instance.Name]Sight{}, status: map[instance.Name]string{},
		console: map[instance.Name]error{}, restarts: map[instance.Name]chan error{},
	}}
	if o.AtOnce == 0 {
		o.AtOnce = 1
	}
	b.Roll = newAt(o, b.fake, journal.New(&b.log, false), func(s State) {
		s.Servers = slices.Clone(s.Servers)
		b.states = append(b.states, s)
	}, func() time.Time { return b.clock })
	return b
}

// after lets time pass, with all ticks in it, and reports whether the roll has
// ended.
func (b *bench) after(d time.Duration) bool { return b.afterIn(context.Background(), d) }

func (b *bench) afterIn(ctx context.Context, d time.Duration) bool {
	for end := b.clock.Add(d); ; b.clock = b.clock.Add(tickInterval) {
		if b.tick(ctx) {
			return true
		}
		if !b.clock.Before(end) {
			return false
		}
	}
}

// is requires the states of the servers, in their order.
func (b *bench) is(want ...string) {
	b.t.Helper()
	var got []string
	for _, s := range b.state.Servers {
		got = append(got, s.State)
	}
	if !slices.Equal(got, want) {
		b.t.Errorf("the servers are %q, want %q; log:\n%s", got, want, &b.log)
	}
}

func (b *bench) outcome(want string) {
	b.t.Helper()
	if b.state.Outcome == nil || *b.state.Outcome != want || b.state.Ended == nil {
		b.t.Errorf("the end is %+v, want %q", b.state, want)
	}
	if last := b.states[len(b.states)-1]; last.Outcome == nil || *last.Outcome != want {
		b.t.Errorf("the end that was reported is %+v", last)
	}
}

// did requires what was restarted and said, in order, but for questions. What is
// said side by side comes in the order of the names.
func (b *bench) did(want ...string) {
	b.t.Helper()
	for i, c := range b.calls[min(1, len(b.calls)):] {
		if before := b.calls[i]; before > c && before[min(1, len(before)):] == c[min(1, len(c)):] {
			b.calls[i], b.calls[i+1] = c, before
		}
	}
	got := slices.DeleteFunc(slices.Clone(b.calls), func(c string) bool { return strings.HasSuffix(c, ": status") })
	if !slices.Equal(got, want) {
		b.t.Errorf("did %q, want %q; log:\n%s", got, want, &b.log)
	}
}

func (b *bench) asked(n instance.Name) int {
	count := 0
	for _, c := range b.calls {
		if c == string(n)+": status" {
			count++
		}
	}
	return count
}

func (b *bench) says(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		if strings.Count(b.log.String(), text) != 1 {
			b.t.Errorf("%q is not once in the log:\n%s", text, &b.log)
		}
	}
}

func TestEmptyOnesFirst(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c"}})
	b.sights["a"] = players(3)
	if b.after(time.Minute) {
		t.Fatal("ended with players on a")
	}
	b.is(Waiting, Restarted, Restarted)
	b.did("restart b", "restart c")
	if s := b.state.Servers[0]; s.Players == nil || *s.Players != 3 || s.Detail != "players: 3" || s.At != nil {
		t.Errorf("%+v", s)
	}
	b.sights["a"] = players(1)
	b.after(time.Minute)
	b.says("a: waiting: players: 3\n") // one line, whoever comes and goes
	b.is(Waiting, Restarted, Restarted)
	if n := b.asked("a"); n != 0 {
		t.Errorf("the console of a played one was asked %d times", n)
	}
	b.sights["a"] = Sight{}
	if !b.after(lookInterval + tickInterval) {
		t.Fatal("not ended")
	}
	b.is(Restarted, Restarted, Restarted)
	b.outcome(Done)
}

func TestBotsAreNobody(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b"}})
	b.sights["a"] = Sight{Info: a2s.Info{Players: 4, Bots: 4}}
	b.status["a"] = "players : 0 humans, 4 bots (8 max) (not hibernating) (unreserved)\n#12 \"Coach\" BOT active\n#13 \"BOT active\" BOT active\n#end\n"
	b.sights["b"] = Sight{Info: a2s.Info{Players: 4, Bots: 3}}
	b.after(time.Minute)
	b.is(Restarted, Waiting)
}

// Both have to say so, in a way that can be understood.
func TestDisagreement(t *testing.T) {
	human := `# 26 1 "Zoey" STEAM_1:0:12345678 05:40 99 0 active 30000 192.0.2.4:44563` + "\n"
	for name, set := range map[string]func(*bench){
		"console":    func(b *bench) { b.status["a"] = strings.Replace(nobody, "0 humans", "1 humans", 1) },
		"list":       func(b *bench) { b.status["a"] = strings.Replace(nobody, "#end\n", human+"#end\n", 1) },
		"list alone": func(b *bench) { b.status["a"] = human },
		"nothing":    func(b *bench) { b.status["a"] = "" },
		"hostname":   func(b *bench) { b.status["a"] = "hostname: players : 0 humans, 0 bots (8 max)\n" },
		"twice":      func(b *bench) { b.status["a"] = nobody + nobody },
		"number": func(b *bench) {
			b.status["a"] = strings.Replace(nobody, "0 humans", strings.Repeat("9", 30)+" humans", 1)
		},
		"name of bot": func(b *bench) {
			b.status["a"] = nobody + `# 2 1 "x" BOT active" STEAM_1:0:1 05:40 9 0 active 3 1.2.3.4:5` + "\n"
		},
		"no password":  func(b *bench) { b.console["a"] = errors.New("its server.cfg sets no rcon_password") },
		"silence":      func(b *bench) { b.sights["a"] = Sight{Err: context.DeadlineExceeded} },
		"silent, busy": func(b *bench) { b.sights["a"] = Sight{Condition: Busy} },
		"hidden bots":  func(b *bench) { b.sights["a"] = Sight{Info: a2s.Info{Players: 2, Bots: 4}} },
		"all":          func(b *bench) { b.lookError = errors.New("lost the connection to systemd") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Order{Names: []instance.Name{"a"}})
			set(b)
			if b.after(10 * time.Minute) {
				t.Fatalf("ended: %+v", b.state)
			}
			b.is(Waiting)
			b.did()
			if name != "all" {
				b.says("a: waiting: ")
			}
			if name == "hidden bots" {
				b.says("it claims 2 players, 4 of them bots")
			}
			if n := b.asked("a"); n > 10*4+1 {
				t.Errorf("its console was asked %d times in 10 minutes", n)
			}
			b.sights, b.status, b.console, b.lookError = nil, nil, nil, nil
			if !b.after(consoleInterval + lookInterval) {
				t.Errorf("still waits: %+v", b.state)
			}
			b.outcome(Done)
		})
	}
}

func TestStoppedAndRenewed(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c"}})
	b.sights["a"] = Sight{Condition: Stopped}
	b.sights["b"] = Sight{Condition: Renewed}
	b.sights["c"] = players(2)
	b.after(time.Minute)
	b.is(Skipped, Skipped, Waiting)
	b.sights["c"] = Sight{Condition: Stopped}
	if !b.after(time.Minute) {
		t.Fatal("not ended")
	}
	b.did()
	b.outcome(Done)
}

// By force, too, what was stopped since the last look stays so.
func TestStoppedBeforeTheDeadline(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a"}, Within: 9 * time.Second, Force: true})
	b.sights["a"] = players(3)
	b.after(8 * time.Second)
	b.is(Waiting)
	b.sights["a"] = Sight{Condition: Stopped}
	if !b.after(time.Minute) {
		t.Fatal("not ended")
	}
	b.is(Skipped)
	b.did(`a: say "This server restarts in 9 seconds."`)
}

// For programs an empty list is a list.
func TestNothingToDo(t *testing.T) {
	b := newBench(t, Order{})
	if !b.after(0) || b.state.Servers == nil {
		t.Errorf("%+v", b.state)
	}
	b.outcome(Done)
}

func TestAtOnce(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c", "d"}, AtOnce: 2})
	for _, n := range b.order.Names {
		b.restarts[n] = make(chan error, 1)
	}
	b.after(time.Minute)
	b.is(Restarting, Restarting, Waiting, Waiting)
	if b.asked("c") != 0 {
		t.Error("the console of one was asked whose turn it is not")
	}
	b.restarts["b"] <- nil
	b.after(2 * lookInterval)
	b.is(Restarting, Restarted, Restarting, Waiting)
	b.clock = b.clock.Add(tickInterval)
	b.sights["d"] = players(1) // after the last look at it
	b.restarts["a"] <- nil
	b.restarts["c"] <- nil
	b.after(2 * lookInterval)
	b.is(Restarted, Restarted, Restarted, Waiting)
}

// One that fails stops the roll; the ones under way are waited for.
func TestFailureStops(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c"}, AtOnce: 2, Within: time.Hour, Force: true})
	b.restarts["a"], b.restarts["b"] = make(chan error, 1), make(chan error, 1)
	b.after(time.Second)
	b.restarts["a"] <- errors.New("the unit failed")
	if b.after(2 * time.Hour) {
		t.Fatal("ended while b restarts")
	}
	b.is(Failed, Restarting, Left)
	b.restarts["b"] <- nil
	if !b.after(time.Second) {
		t.Fatal("not ended")
	}
	b.is(Failed, Restarted, Left)
	b.outcome(SomeFailed)
	b.did("restart a", "restart b")
	if s := b.state.Servers; s[0].Detail != "the unit failed" || s[2].Detail != "the restart of a failed" || s[2].At == nil {
		t.Errorf("%+v", s)
	}
}

func TestCancel(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b"}})
	b.restarts["a"] = make(chan error, 1)
	b.after(time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if b.afterIn(ctx, time.Minute) {
		t.Fatal("ended in the middle of a restart")
	}
	b.is(Restarting, Left)
	b.restarts["a"] <- nil
	if !b.afterIn(ctx, time.Second) {
		t.Fatal("not ended")
	}
	b.outcome(Cancelled)
	b.did("restart a")
}

// Run is tick on the real clock.
func TestRun(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b"}})
	r := New(b.order, b.fake, journal.New(&b.log, false), func(State) {})
	if s := r.Run(context.Background()); *s.Outcome != Done || s.Count(Restarted) != 2 {
		t.Errorf("%+v", s)
	}
}

func FuzzHumansIn(f *testing.F) {
	f.Add(nobody)
	f.Add("players : 2 humans, 1 bots (8 max)\n# 26 1 \"Zoey\" STEAM_1:0:1\n#27 \"Coach\" BOT active\n")
	f.Fuzz(func(t *testing.T, status string) {
		n, err := humansIn(status)
		if err == nil && n == 0 && !strings.Contains(status, "0 human") {
			t.Errorf("%q is empty", status)
		}
	})
}
