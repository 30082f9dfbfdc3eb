package cli

import (
	"errors"
	"os"
	"strings"
	"time"

	"github.com/rivo/uniseg"
	"golang.org/x/sys/unix"
)

// watchInterval is the time from one picture to the next.
const watchInterval = 2 * time.Second

// What a terminal does on these (xterm's ctlseqs): the other screen, so that
// what was there before comes back at the end; the cursor; and clearing.
const (
	otherScreen  = "\x1b[?1049h\x1b[?25l"
	firstScreen  = "\x1b[?25h\x1b[?1049l"
	toTop        = "\x1b[H"
	clearToRight = "\x1b[K"
	clearBelow   = "\x1b[J"
)

// ended is the end of a command that goes on until it is interrupted: nothing
// to speak of.
type ended struct{ error }

func (e ended) Unwrap() error { return e.error }

// watch shows what picture returns, in place, until the context ends or
// picture fails.
func (s *session) watch(picture func() (string, error)) error {
	terminal, ok := s.Out.(*os.File)
	if !ok || !isTerminal(terminal) {
		return &problem{err: errors.New("standard output is not a terminal, where --watch could refresh in place"),
			hints: []string{"for programs there is --json"}}
	}
	s.print(otherScreen)
	defer s.print(firstScreen)
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		text, err := picture()
		if s.ctx.Err() != nil {
			return ended{s.ctx.Err()}
		}
		if err != nil {
			return err
		}
		width, height := windowSize(terminal)
		s.print(toTop + fit(text, width, height) + clearBelow)
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return ended{s.ctx.Err()}
		}
	}
}

// windowSize is the terminal's, or what terminals used to have.
func windowSize(f *os.File) (width, height int) {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 || size.Row == 0 {
		return 80, 24
	}
	return int(size.Col), int(size.Row)
}

// fit cuts text to the window: a line that wraps, or one too many, would make
// the terminal scroll.
func fit(text string, width, height int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > height {
		lines = append(lines[:height-1], "…")
	}
	for i, line := range lines {
		lines[i] = cutLine(line, width) + clearToRight
	}
	return strings.Join(lines, "\r\n")
}

// cutLine returns the beginning of line that is width wide on a terminal. Our
// own colour codes take no room, and are all kept so that none stays open.
func cutLine(line string, width int) string {
	var b strings.Builder
	for line != "" {
		if code, rest, found := strings.Cut(line, "m"); found && strings.HasPrefix(code, "\x1b[") {
			b.WriteString(code + "m")
			line = rest
			continue
		}
		c, rest, w, _ := uniseg.FirstGraphemeClusterInString(line, -1)
		if width -= w; width >= 0 {
			b.WriteString(c)
		}
		line = rest
	}
	return b.String()
}
