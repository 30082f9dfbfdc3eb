package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func (h *host) init(want int, spec string) {
	h.t.Helper()
	h.program.In = strings.NewReader(spec)
	h.run(want, "init", "a", "-")
}

func TestInitOfRunningServer(t *testing.T) {
	h := newHost(t)
	const keeps = "a: the running server keeps what it has until: l4d2ctl restart a\n"
	h.init(ExitDone, "port: 1\n")
	h.says(&h.out, "a: created\n")
	h.set("a", up)
	h.init(ExitDone, "port: 1\n")
	h.says(&h.out, "a: unchanged\n")
	h.saysNot(&h.err, keeps)
	h.init(ExitDone, "port: 2\n")
	h.says(&h.out, "a: changed\n")
	h.says(&h.err, keeps)
	h.set("a", down)
	h.init(ExitDone, "port: 3\n")
	h.saysNot(&h.err, keeps)
	h.systemd.denied = errors.New("no answer")
	h.init(ExitDone, "port: 4\n")
	h.says(&h.err, "l4d2ctl: warning: a: cannot tell whether it is running: no answer\n")
	h.systemd = nil
	h.init(ExitDone, "port: 5\n")
	h.saysNot(&h.err, "warning")
}

func TestInitTooLarge(t *testing.T) {
	h := newHost(t)
	h.init(ExitFailed, "port: 1\n#"+strings.Repeat("x", 1<<20))
	h.says(&h.err, "l4d2ctl: init: a: standard input: larger than a spec may be (1048576 bytes)\n")
	h.init(ExitDone, "port: 1\n#"+strings.Repeat("x", 1<<20-9))
}

func TestInitInterruptedBeforeItReads(t *testing.T) {
	h := newHost(t)
	silent, typing, err := os.Pipe()
	must(t, err)
	defer typing.Close()
	defer silent.Close()
	h.program.In = silent
	ctx, interrupt := context.WithCancel(context.Background())
	interrupt()
	h.runIn(ctx, ExitInterrupted, "init", "a", "-")
}
