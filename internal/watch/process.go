package watch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// process is the game, seen through /proc (proc(5)).
type process struct {
	dir string // /proc/PID
}

func processOf(pid int) process { return process{"/proc/" + strconv.Itoa(pid)} }

// usage is what a process has used since it began.
type usage struct {
	cpu     time.Duration // all threads
	threads map[int]thread
	read    int64 // bytes, from the page cache as well as from disk
	traced  bool
}

// thread is how long a thread was on a processor, and ready to run but waiting
// for one.
type thread struct{ ran, waited time.Duration }

// tick is the unit of the times in /proc/PID/stat: USER_HZ, the same on every
// architecture that matters here.
const tick = 10 * time.Millisecond

// usage reads what is there to read; what the kernel was built without is 0.
func (p process) usage() (usage, error) {
	u := usage{threads: map[int]thread{}}
	stat, err := os.ReadFile(filepath.Join(p.dir, "stat"))
	if err != nil {
		return u, err
	}
	// The second field is the command, in parentheses, which it may hold too.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat: %d fields", p.dir, len(fields))
	}
	u.traced = fields[0] == "t"
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return u, fmt.Errorf("%s/stat: %w", p.dir, err)
	}
	u.cpu = time.Duration(user+system) * tick
	tasks, err := os.ReadDir(filepath.Join(p.dir, "task"))
	if err != nil {
		return u, err
	}
	for _, task := range tasks {
		id, _ := strconv.Atoi(task.Name())
		// In nanoseconds, and the number of times that it ran.
		if sched, err := os.ReadFile(filepath.Join(p.dir, "task", task.Name(), "schedstat")); err == nil {
			var ran, waited int64
			if _, err := fmt.Sscan(string(sched), &ran, &waited); err == nil {
				u.threads[id] = thread{time.Duration(ran), time.Duration(waited)}
			}
		}
	}
	// What read(2) and the like gave, and what came from disk, which counts
	// pages of mapped files as well.
	if io, err := os.ReadFile(filepath.Join(p.dir, "io")); err == nil {
		for line := range strings.Lines(string(io)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if name == "rchar" || name == "read_bytes" {
				n, _ := strconv.ParseInt(value, 10, 64)
				u.read += n
			}
		}
	}
	return u, nil
}

// since turns two readings into a round.
func (u usage) since(before usage, elapsed time.Duration) Round {
	r := Round{
		Elapsed: elapsed,
		Held:    u.traced,
		Read:    u.read - before.read,
		CPU:     min(u.cpu-before.cpu, elapsed),
	}
	r.Wanted = r.CPU
	for id, now := range u.threads {
		then := before.threads[id] // zero for a new one
		r.Wanted = max(r.Wanted, now.ran-then.ran+now.waited-then.waited)
	}
	return r
}

// sockets returns the inodes of the process's open sockets.
func (p process) sockets() (map[uint64]bool, error) {
	dir := filepath.Join(p.dir, "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	inodes := map[uint64]bool{}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		if number, ok := strings.CutPrefix(target, "socket:["); ok {
			if n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64); err == nil {
				inodes[n] = true
			}
		}
	}
	return inodes, nil
}
