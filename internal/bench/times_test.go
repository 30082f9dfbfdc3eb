package main

import (
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []time.Duration
		want time.Duration
	}{
		{nil, 0},
		{[]time.Duration{7}, 7},
		{[]time.Duration{9, 1}, 5},
		{[]time.Duration{100, 1, 3}, 3},
		{[]time.Duration{4, 2, 100, 0}, 3},
	} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %d, want %d", tt.in, got, tt.want)
		}
	}
}

func TestTable(t *testing.T) {
	s := times{}
	s.add("a", "1", 2*time.Millisecond)
	s.add("b", "1", 500*time.Microsecond)
	s.add("b", "2", 3*time.Second)
	var b strings.Builder
	s.table(&b, "x", []string{"a", "b"}, []string{"1", "2"}, "a")
	want := `
| x | 1 | 2 |
|---|---:|---:|
| a | 2.00 ms (1.00) | – |
| b | 500 µs (0.25) | 3.00 s |
`
	if b.String() != want {
		t.Errorf("got %s\nwant %s", b.String(), want)
	}
}
