package standin_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"l4d2-host/internal/rcon"
	"l4d2-host/internal/standin"
)

func TestEnds(t *testing.T) {
	tests := []struct {
		name string
		end  func(*testing.T, *standin.Process)
		want string // as os.ProcessState prints it
		says string // in the output
	}{
		{"SIGTERM", signal(syscall.SIGTERM), "exit status 0", "Kicked Ellis: Server is shutting down"},
		{"SIGINT", signal(syscall.SIGINT), "exit status 0", "Kicked Ellis: Server is shutting down"},
		{"quit", command("quit"), "exit status 0", "Kicked Ellis: Server is shutting down"},
		{"crash", command("crash"), "signal: segmentation fault", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := install(t, nil)
			p := start(t, root)
			run(t, dial(t, p), "players 1 Ellis; banid 0 STEAM_1:0:7")
			tt.end(t, p)
			state, err := p.Wait(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			// A core dump, where the machine keeps them, is not at issue.
			if got := strings.TrimSuffix(state.String(), " (core dumped)"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if !strings.Contains(p.Output(), tt.says) {
				t.Errorf("does not say %q:\n%s", tt.says, p.Output())
			}
			bans, err := os.ReadFile(filepath.Join(root, "left4dead2/cfg/banned_user.cfg"))
			switch {
			case tt.says == "" && !errors.Is(err, fs.ErrNotExist):
				t.Errorf("a crash wrote the bans: %v", err)
			case tt.says != "" && string(bans) != "banid 0 STEAM_1:0:7\r\n":
				t.Errorf("bans %q, %v", bans, err)
			}
		})
	}
}

func signal(sig syscall.Signal) func(*testing.T, *standin.Process) {
	return func(t *testing.T, p *standin.Process) {
		if err := p.Cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
	}
}

func command(line string) func(*testing.T, *standin.Process) {
	return func(t *testing.T, p *standin.Process) {
		if _, err := dial(t, p).Exec(limited(t), line); !errors.Is(err, rcon.ErrClosed) {
			t.Errorf("%s: %v, want %v", line, err, rcon.ErrClosed)
		}
	}
}

func TestExitAtOnce(t *testing.T) {
	p, err := standin.Start(context.Background(), install(t, nil), "-ip", "127.0.0.1", "-port", "0", "+standin_exit", "7")
	if err == nil {
		p.Stop()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit status 7", err)
	}
}

// A hung server and one that spins answer nothing and ignore SIGTERM; only the
// latter burns the processor.
func TestHangAndSpin(t *testing.T) {
	for _, line := range []string{"hang", "spin"} {
		t.Run(line, func(t *testing.T) {
			p := start(t, install(t, nil))
			ctx, cancel := context.WithTimeout(context.Background(), silence)
			defer cancel()
			if _, err := dial(t, p).Exec(ctx, line); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want silence", err)
			}
			signal(syscall.SIGTERM)(t, p)
			before := ticks(t, p)
			mustBeSilent(t, p)
			const few, many = 5, 20 // hundredths of a second
			switch line {
			case "hang":
				if burnt := ticks(t, p) - before; burnt > few {
					t.Errorf("burnt %d ticks", burnt)
				}
			case "spin":
				for ctx := limited(t); ticks(t, p)-before < many; time.Sleep(10 * time.Millisecond) {
					if ctx.Err() != nil {
						t.Fatalf("burnt %d ticks only", ticks(t, p)-before)
					}
				}
			}
			p.Stop()
			if got := p.Cmd.ProcessState.String(); got != "signal: killed" {
				t.Errorf("%s, want SIGTERM to be ignored", got)
			}
		})
	}
}

// ticks is the processor time that p has used.
func ticks(t *testing.T, p *standin.Process) int {
	t.Helper()
	stat := read(t, fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	sum := 0
	for _, f := range fields[11:13] { // utime and stime, see proc(5)
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

func TestPortTaken(t *testing.T) {
	root := install(t, nil)
	first := start(t, root)
	port := strconv.Itoa(int(first.Addr.Port()))

	strict, err := standin.Start(context.Background(), root, "-ip", "127.0.0.1", "-port", port, "-strictportbind")
	if err == nil {
		strict.Stop()
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "Couldn't allocate dedicated server IP port") {
		t.Errorf("%v, want exit status 1 and the reason", err)
	}

	next := start(t, root, "-port", port)
	if next.Addr.Port() <= first.Addr.Port() {
		t.Errorf("took %s while %s is taken", next.Addr, first.Addr)
	}
}
