// Package journal writes the lines that a unit's helper says on stderr: one a
// step, with the syslog level in front ("<6>", see sd-daemon(3)) when stderr
// is the journal. It is no general logger.
package journal

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/printable"
)

// Log writes lines to one stream.
type Log struct {
	w      io.Writer
	levels bool
}

// Stderr returns a Log on the standard error stream. Levels are written when
// that is the stream that systemd connected to the journal.
func Stderr() *Log { return New(os.Stderr, isJournal(2)) }

// New returns a Log on w, with level prefixes or without.
func New(w io.Writer, levels bool) *Log { return &Log{w, levels} }

// Info says a step that was done.
func (l *Log) Info(format string, args ...any) { l.line(6, format, args) }

// Warn says something that the operator should look at.
func (l *Log) Warn(format string, args ...any) { l.line(4, format, args) }

// Error says why the program ends without having done its work.
func (l *Log) Error(format string, args ...any) { l.line(3, format, args) }

func (l *Log) line(level int, format string, args []any) {
	var b strings.Builder
	if l.levels {
		fmt.Fprintf(&b, "<%d>", level)
	}
	// One line, whatever the text holds: a file name with a newline in it must
	// not become a message of its own.
	b.WriteString(printable.Line(fmt.Sprintf(format, args...)))
	b.WriteByte('\n')
	io.WriteString(l.w, b.String())
}

// isJournal compares fd with $JOURNAL_STREAM, "DEVICE:INODE" (systemd.exec(5)).
func isJournal(fd int) bool {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
