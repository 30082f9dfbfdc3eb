// Package standin builds, installs and runs a stand-in for Valve's
// srcds_linux, which no test may download.
//
// It is for tests and the demonstration alone; nothing of it is packaged. The
// program itself is in srcds_linux below, and it shares no protocol code with
// the clients in packages a2s and rcon, so that a mistake in one shows in the
// other. What it imitates was read in public sources, not seen on a live
// server.
package standin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"l4d2-host/internal/i386"
)

// Program is the import path of the stand-in, and Steamcmd that of one for the
// program that downloads it.
const (
	Program  = "l4d2-host/internal/standin/srcds_linux"
	Steamcmd = "l4d2-host/internal/standin/steamcmd"
)

// Build compiles the stand-in to the file out, for i386 as the real one; or for
// amd64 where the kernel runs no 32-bit programs, so that all else is tested there
// too. The current directory must lie in this module.
func Build(ctx context.Context, out string) error { return BuildFor(ctx, arch(), out) }

// BuildSteamcmd is Build for the stand-in of steamcmd, a 32-bit program as well.
func BuildSteamcmd(ctx context.Context, out string) error { return compile(ctx, Steamcmd, arch(), out) }

// arch is the GOARCH of the stand-ins.
var arch = sync.OnceValue(func() string {
	if !errors.Is(i386.Try(), syscall.ENOEXEC) {
		return "386"
	}
	fmt.Fprintln(os.Stderr, "standin: 32-bit programs do not run on this kernel: the stand-ins of the game and of steamcmd are 64-bit ones here; "+
		"TestLimits of internal/limittest runs the 32-bit one, in a virtual machine")
	return "amd64"
})

// BuildFor compiles the stand-in for a GOARCH, statically linked.
func BuildFor(ctx context.Context, arch, out string) error { return compile(ctx, Program, arch, out) }

func compile(ctx context.Context, program, arch, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s for %s: %w\n%s", program, arch, err, text)
	}
	return nil
}

// startLimit is how long Start waits for the server to listen.
const startLimit = 20 * time.Second

// Process is a running stand-in.
type Process struct {
	Cmd  *exec.Cmd
	Addr netip.AddrPort // where it listens, UDP and TCP

	mu     sync.Mutex
	output bytes.Buffer
	done   chan struct{} // closed when the process has been waited for
	err    error         // what Cmd.Wait said
}

// listening is the line, as the game prints it, that says which port it took.
var listening = regexp.MustCompile(`^Network: IP (\S+), mode MP, dedicated Yes, ports (\d+) SV`)

// Start runs the srcds_linux of the installation in root with args, and waits
// until it listens. With "-ip", "127.0.0.1", "-port", "0" among args it takes
// any free port of the loopback interface. End it with Stop. The error of a
// server that ended by itself has its *exec.ExitError in the chain.
func Start(ctx context.Context, root string, args ...string) (*Process, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(root, "srcds_linux"), args...)
	cmd.Dir = root
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{Cmd: cmd, done: make(chan struct{})}
	ready := make(chan netip.AddrPort, 1)
	go p.follow(stdout, ready)
	timer := time.NewTimer(startLimit)
	defer timer.Stop()
	select {
	case p.Addr = <-ready:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("stand-in ended before it listened: %w\n%s", errors.Join(errEnded, p.err), p.Output())
	case <-timer.C:
		p.Stop()
		return nil, fmt.Errorf("stand-in does not listen after %s\n%s", startLimit, p.Output())
	}
}

var errEnded = errors.New("ended")

// follow keeps the output, and waits for the process.
func (p *Process) follow(stdout io.Reader, ready chan<- netip.AddrPort) {
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		p.mu.Lock()
		p.output.WriteString(line)
		p.mu.Unlock()
		if m := listening.FindStringSubmatch(line); m != nil {
			if addr, err := netip.ParseAddrPort(m[1] + ":" + m[2]); err == nil {
				select {
				case ready <- addr:
				default:
				}
			}
		}
		if err != nil {
			break
		}
	}
	p.err = p.Cmd.Wait()
	close(p.done)
}

// Output returns what the server has printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// Wait waits until the process has ended, and returns how; or until ctx ends,
// and returns its error.
func (p *Process) Wait(ctx context.Context) (*os.ProcessState, error) {
	select {
	case <-p.done:
		return p.Cmd.ProcessState, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("stand-in %d still runs: %w", p.Cmd.Process.Pid, ctx.Err())
	}
}

// Stop kills the process, unless it has ended, and waits for it.
func (p *Process) Stop() {
	// A stopped one is gone already: there is nothing to report.
	_ = p.Cmd.Process.Signal(syscall.SIGKILL)
	<-p.done
}
