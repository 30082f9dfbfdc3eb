package cli

import (
	"io"
	"os"
	"strings"

	"github.com/rivo/uniseg"
)

// cell is text in a table. What others chose has been made printable before.
type cell struct{ text, colour string }

// The colours, as select-graphic-rendition codes (ECMA-48).
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
)

// plain makes cells without colour.
func plain(texts ...string) []cell {
	cells := make([]cell, len(texts))
	for i, t := range texts {
		cells[i].text = t
	}
	return cells
}

// wantsColour says that w is a terminal, and that its user has not asked for
// text without colours (https://no-color.org).
func wantsColour(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isTerminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// paint puts c into its colour.
func (o *output) paint(c cell) string {
	if !o.colour || c.colour == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

// table lays rows out in columns, two blanks apart. The width of a text is what
// it takes on a terminal, where a character may be two wide.
func (o *output) table(rows [][]cell) string {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], uniseg.StringWidth(c.text))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, c := range row {
			b.WriteString(o.paint(c))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
