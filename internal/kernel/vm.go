package kernel

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/debian"
	"l4d2-host/internal/kernel/protocol"
	"l4d2-host/internal/lockfile"
)

// Payload is what a machine is to do.
type Payload struct {
	// Commands are run one after the other, whatever they return. They are
	// looked for in /bin of the disk.
	Commands [][]string
	// Disk is the path of the image with the ext4 file system that is the
	// machine's root; MakeDisk makes one.
	Disk string
	// System says that the disk holds a whole Debian with systemd, such as
	// DiskFrom makes: the commands are run by a unit of it, in the usual PATH.
	System bool
	// Keep makes what the machine writes stay in the image, which no other
	// machine may use meanwhile. It is thrown away otherwise.
	Keep bool
	// Lines, if not nil, is called with each line of the commands' output as it
	// comes. The machine goes on meanwhile.
	Lines func(line string)
	// Limit is how long the machine may run; 0 means a minute.
	Limit time.Duration
}

// Result is what came of one command.
type Result struct {
	Output string // what it printed, standard error too
	Code   int    // its exit status; 128 and more when a signal ended it
}

// ErrCut is a machine that was ended by the end of the context.
var ErrCut = errors.New("the power was cut")

// maxMachines is how many may run at once on this host: more would only take
// each other's time, and memory.
const maxMachines = 2

// Boot runs the payload in a machine with kernel k and returns one result for
// each command that was run to its end, also next to an error. When ctx ends,
// the machine goes off as in a power cut, and the error is ErrCut. At most two
// machines run at once; waiting for a turn does not count towards the limit.
func Boot(ctx context.Context, k Kernel, p Payload) ([]Result, error) {
	turn, err := turn(ctx)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: waiting for a turn: %w", k, err)
	}
	defer turn.Unlock()
	results, err := boot(ctx, k, p)
	if err != nil {
		return results, fmt.Errorf("kernel %s: %w", k, err)
	}
	return results, nil
}

// turn waits until fewer than maxMachines run.
func turn(ctx context.Context) (*lockfile.Lock, error) {
	cache, err := debian.CacheDir()
	if err != nil {
		return nil, err
	}
	var places []string
	for i := range maxMachines {
		places = append(places, filepath.Join(cache, "kernels", fmt.Sprintf("machine-%d.lock", i+1)))
	}
	return lock(ctx, places...)
}

func boot(parent context.Context, k Kernel, p Payload) ([]Result, error) {
	initrd, err := initramfs(k, p)
	if err != nil {
		return nil, err
	}
	defer initrd.Close()
	limit := p.Limit
	if limit == 0 {
		limit = time.Minute
	}
	ctx, cancel := context.WithTimeout(parent, limit)
	defer cancel()
	cmd := qemu(ctx, k, p)
	console, stderr := new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = console, stderr
	answers, port, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer answers.Close()
	cmd.ExtraFiles = []*os.File{port, initrd} // 3 and 4
	// The signal to qemu comes when the thread that forked it ends: keep it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	port.Close()
	if err != nil {
		return nil, fmt.Errorf("start qemu: %w: install qemu-system-x86", err)
	}
	guest := &listener{lines: p.Lines}
	err = errors.Join(guest.listen(answers), cmd.Wait())
	switch {
	case guest.done:
		return guest.results, nil // the power was off already
	case parent.Err() != nil:
		return guest.results, ErrCut
	case ctx.Err() != nil:
		err = fmt.Errorf("not done within %s", limit)
	case guest.err != nil:
		err = guest.err
	case err == nil:
		err = errors.New("the machine ended without finishing its commands")
	}
	return guest.results, fmt.Errorf("%w; the command under way said:\n%s\nqemu said: %s\nthe kernel's console:\n%s",
		err, tail(guest.output.String()), bytes.TrimSpace(stderr.Bytes()), tail(console.String()))
}

func qemu(ctx context.Context, k Kernel, p Payload) *exec.Cmd {
	snapshot, memory, options := "on", "512", ""
	if p.System {
		// The getty would wait for a device unit that there is none of without udev.
		memory, options = "1024", " systemd.mask=serial-getty@ttyS0.service"
	}
	if p.Keep {
		snapshot = "off"
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64",
		// cx16=off: qemu 7.2 emulates cmpxchg16b in a way that makes Linux 6.12
		// panic in every fourth boot.
		"-machine", "q35", "-accel", "tcg", "-cpu", "max,cx16=off", "-smp", "1", "-m", memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-serial", "stdio",
		"-add-fd", "fd=3,set=1", "-chardev", "file,id=answers,path=/dev/fdset/1,append=on", "-serial", "chardev:answers",
		"-kernel", k.image(), "-initrd", "/proc/self/fd/4",
		// no_timer_check: on a busy host the emulated timer may not tick in time for
		// the kernel's self-test, which then panics.
		"-append", "console=ttyS0 quiet panic=-1 no_timer_check"+options,
		"-drive", "file="+strings.ReplaceAll(p.Disk, ",", ",,")+",if=virtio,format=raw,cache=writeback,snapshot="+snapshot)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// listener takes apart what the guest sends.
type listener struct {
	lines   func(string)
	results []Result
	output  strings.Builder // of the command under way
	done    bool
	err     error // what the guest's init reports
}

// listen reads until the other end is closed.
func (l *listener) listen(r io.Reader) error {
	for in := bufio.NewReader(r); ; {
		text, err := in.ReadString('\n')
		if text != "" {
			// The terminal in the guest's kernel makes \n into \r\n.
			l.line(strings.TrimRight(text, "\r\n"))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (l *listener) line(text string) {
	marked, ok := protocol.Parse(text)
	if !ok {
		l.output.WriteString(text + "\n")
		if l.lines != nil {
			l.lines(text)
		}
		return
	}
	switch marked.Kind {
	case protocol.Exit:
		// The mark begins with a line end of its own.
		output := strings.TrimSuffix(l.output.String(), "\n")
		l.results = append(l.results, Result{output, marked.Code})
		l.output.Reset()
	case protocol.Done:
		l.done = true
	case protocol.Error:
		l.err = errors.New("the guest's init: " + marked.Text)
	}
}

// tail returns the end of a long text.
func tail(s string) string {
	const lines = 150 // a panic's first line, with all the registers after it
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
