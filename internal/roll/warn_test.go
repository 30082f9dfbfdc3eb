package roll

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/instance"
)

func TestDeadline(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c"}, Within: time.Hour})
	b.sights["a"], b.sights["b"] = players(3), Sight{Err: errors.New("silence")}
	if b.after(time.Hour - time.Second) {
		t.Fatal("ended early")
	}
	b.is(Waiting, Waiting, Restarted)
	if !b.after(2 * time.Second) {
		t.Fatal("not ended")
	}
	b.is(Left, Left, Restarted)
	b.did("restart c")
	b.outcome(SomeLeft)
	b.says("a: left as it is: at the deadline: players: 3\n", "b: left as it is: at the deadline: it does not answer\n")
}

func TestDeadlineByForce(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a", "b", "c"}, Within: time.Hour, Force: true})
	b.sights["a"], b.sights["b"] = players(3), Sight{Err: errors.New("silence")}
	b.console["b"] = errors.New("connection refused")
	b.after(49*time.Minute + 50*time.Second)
	b.did("restart c")
	b.after(20 * time.Second)
	b.after(time.Hour)
	b.is(Restarted, Restarted, Restarted)
	b.outcome(Done)
	said := `: say "This server restarts in `
	b.did("restart c",
		"a"+said+`10 minutes."`, "b"+said+`10 minutes."`, "a"+said+`5 minutes."`, "b"+said+`5 minutes."`,
		"a"+said+`1 minute."`, "b"+said+`1 minute."`, "restart a", "restart b")
	if strings.Count(b.log.String(), "b: its players could not be told: connection refused") != 3 {
		t.Errorf("log:\n%s", &b.log)
	}
}

func TestWarnings(t *testing.T) {
	for _, tt := range []struct {
		order Order
		want  []string // what is said, with when
	}{
		{Order{Within: time.Hour}, nil},
		{Order{Within: time.Hour, Warn: "Please leave within {time}"}, []string{
			"50m0s Please leave within 10 minutes", "55m0s Please leave within 5 minutes", "59m0s Please leave within 1 minute"}},
		{Order{Within: 10 * time.Minute, Force: true, Warn: "Update!"}, []string{"0s Update!", "5m0s Update!", "9m0s Update!"}},
		{Order{Within: 6 * time.Minute, Force: true}, []string{
			"1m0s This server restarts in 5 minutes.", "5m0s This server restarts in 1 minute."}},
		{Order{Within: 30 * time.Second, Force: true}, []string{"0s This server restarts in 30 seconds."}},
		{Order{Force: true, Warn: "never said: there is no deadline"}, nil},
	} {
		tt.order.Names = []instance.Name{"a"}
		b := newBench(t, tt.order)
		b.sights["a"] = players(1)
		begun := b.clock
		var said []string
		for range 2 * 3600 * 2 {
			before := len(b.calls)
			if b.tick(context.Background()) {
				break
			}
			for _, c := range b.calls[before:] {
				if text, ok := strings.CutPrefix(c, `a: say "`); ok {
					said = append(said, fmt.Sprintf("%s %s", b.clock.Sub(begun), strings.TrimSuffix(text, `"`)))
				}
			}
			b.clock = b.clock.Add(tickInterval)
		}
		if !slices.Equal(said, tt.want) {
			t.Errorf("%+v: said %q, want %q", tt.order, said, tt.want)
		}
	}
}

// A machine that slept past a warning, or past the deadline.
func TestWarningsAfterSleep(t *testing.T) {
	b := newBench(t, Order{Names: []instance.Name{"a"}, Within: time.Hour, Force: true})
	b.sights["a"] = players(1)
	b.after(time.Minute)
	b.clock = b.clock.Add(56 * time.Minute)
	b.after(time.Second)
	b.did(`a: say "This server restarts in 3 minutes."`)
	b.clock = b.clock.Add(time.Hour)
	b.after(time.Second)
	b.did(`a: say "This server restarts in 3 minutes."`, "restart a")
}

func TestCheckWarning(t *testing.T) {
	for text, good := range map[string]bool{
		"Restart in {time}; // see you":     true,
		"Перезапуск через {time}":           true,
		"":                                  false,
		" ":                                 false,
		`"; quit; "`:                        false,
		"two\nlines":                        false,
		"bell\a":                            false,
		strings.Repeat("x", 127):            true,
		strings.Repeat("x", 128):            false,
		strings.Repeat("x", 120) + "{time}": false,
	} {
		if err := CheckWarning(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}
