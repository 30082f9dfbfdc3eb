package journal

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLines(t *testing.T) {
	var b strings.Builder
	l := New(&b, true)
	l.Info("mounted %s", "a")
	l.Warn("held by %q", "x\n<0>y")
	l.Error("raw\n<0>forged \x1b[31m\u202e über")
	want := "<6>mounted a\n<4>held by \"x\\n<0>y\"\n<3>raw\\n<0>forged \\x1b[31m\\u202e über\n"
	if b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
	b.Reset()
	New(&b, false).Info("plain")
	if b.String() != "plain\n" {
		t.Errorf("got %q", b.String())
	}
}

func TestIsJournal(t *testing.T) {
	var st unix.Stat_t
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino))
	if !isJournal(int(f.Fd())) {
		t.Error("the journal's stream is not recognised")
	}
	t.Setenv("JOURNAL_STREAM", fmt.Sprintf("%d:%d", st.Dev, st.Ino+1))
	if isJournal(int(f.Fd())) {
		t.Error("another stream is taken for the journal's")
	}
}
