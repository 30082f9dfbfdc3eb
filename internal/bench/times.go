package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// times collects durations by row and column.
type times map[[2]string][]time.Duration

func (t times) add(row, column string, d time.Duration) {
	key := [2]string{row, column}
	t[key] = append(t[key], d)
}

// median returns the middle one, or 0 where nothing was measured.
func (t times) median(row, column string) time.Duration {
	return median(t[[2]string{row, column}])
}

func median(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// table writes the medians, and each one's ratio to that of the row peer in
// the same column; no ratios where peer is "".
func (t times) table(w io.Writer, title string, rows, columns []string, peer string) {
	fmt.Fprintf(w, "\n| %s | %s |\n|---|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for _, row := range rows {
		cells := []string{row}
		for _, column := range columns {
			cells = append(cells, t.cell(row, column, peer))
		}
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}

func (t times) cell(row, column, peer string) string {
	d := t.median(row, column)
	if d == 0 {
		return "–"
	}
	text := show(d)
	if p := t.median(peer, column); p > 0 {
		text += fmt.Sprintf(" (%.2f)", float64(d)/float64(p))
	}
	return text
}

// show writes a duration with three digits: "1.23 ms".
func show(d time.Duration) string {
	switch v := float64(d); {
	case v < 1e6:
		return fmt.Sprintf("%.0f µs", v/1e3)
	case v < 10e6:
		return fmt.Sprintf("%.2f ms", v/1e6)
	case v < 1e9:
		return fmt.Sprintf("%.0f ms", v/1e6)
	default:
		return fmt.Sprintf("%.2f s", v/1e9)
	}
}
