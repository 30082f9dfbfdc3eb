package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// workers is how many cases are run at once.
const workers = 2

// worker is a process that does jobs in namespaces of its own.
type worker struct {
	jobs    *json.Encoder
	answers *json.Decoder
	said    *bytes.Buffer
}

func startWorker(t *testing.T, dir string) *worker {
	t.Helper()
	must(os.MkdirAll(dir, 0o755))
	cmd := exec.Command("/proc/self/exe", fmt.Sprintf("-fault.disk=%t", *disk))
	cmd.Env = append(os.Environ(), workerVariable+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	in, err := cmd.StdinPipe()
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	w := &worker{json.NewEncoder(in), json.NewDecoder(out), new(bytes.Buffer)}
	cmd.Stderr = w.said
	must(cmd.Start())
	t.Cleanup(func() {
		in.Close() // it ends at the end of the jobs
		slow := time.AfterFunc(limit, func() { cmd.Process.Kill() })
		defer slow.Stop()
		if err := cmd.Wait(); err != nil {
			t.Errorf("worker: %v\n%s", err, w.said)
		}
	})
	return w
}

func (w *worker) do(j job) (outcome, error) {
	var o outcome
	err := w.jobs.Encode(j)
	if err == nil {
		err = w.answers.Decode(&o)
	}
	if err != nil {
		err = fmt.Errorf("the worker ended (%w) at %s", err, j)
	}
	return o, err
}

// reach is do, again and again if a call of the program's own was not reached.
func (w *worker) reach(j job) (o outcome, err error) {
	for range tries {
		o, err = w.do(j)
		if err != nil || o.Happened || !j.Call.Own || len(o.Problems) > 0 {
			break
		}
	}
	return o, err
}

// Every call of every scenario is where the program is killed, and fails with
// an error; or a sample of them.
func TestFaults(t *testing.T) {
	needs(t)
	dir := t.TempDir()
	must(os.Chmod(dir, 0o755)) // the game's user
	bin := filepath.Join(dir, "bin")
	must(os.Mkdir(bin, 0o755))
	compile(t, bin)
	var pool []*worker
	for i := range workers {
		pool = append(pool, startWorker(t, filepath.Join(dir, fmt.Sprint(i))))
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.test(t, pool, 0) })
		if s.classic {
			t.Run(s.name+", by mount(2)", func(t *testing.T) {
				s.test(t, pool, s.forcing(t, pool[0]))
			})
		}
	}
}

// forcing returns which fsconfig must succeed to make the kernel look old.
func (s scenario) forcing(t *testing.T, w *worker) int {
	t.Helper()
	for _, c := range s.calls(t, w, 0) {
		if strings.Contains(c.Text, "l4d2_no_such_option") {
			return c.N
		}
	}
	t.Fatal("it asks the kernel for no impossible option any more")
	return 0
}

// tries is how often a run is repeated that took another way. An unmount looks
// closer when the other worker has been given the device number in between.
const tries = 5

// calls returns the calls of a good run.
func (s scenario) calls(t *testing.T, w *worker, force int) []call {
	t.Helper()
	for range tries {
		o, err := w.do(job{Scenario: s.name, Force: force, Then: s.thens[0]})
		if err != nil {
			t.Fatal(err)
		}
		if len(o.Problems) > 0 {
			t.Fatalf("without any fault:\n%s\n%s", o.Command, strings.Join(o.Problems, "\n"))
		}
		if force == 0 || slices.ContainsFunc(o.Calls, func(c call) bool { return c.Own && c.Name == "mount" }) {
			return o.Calls
		}
	}
	t.Fatal("it does not fall back to mount(2)")
	return nil
}

func (s scenario) test(t *testing.T, pool []*worker, force int) {
	calls := s.calls(t, pool[0], force)
	jobs := s.jobs(calls, force)
	wanted := regexp.MustCompile(*only)
	jobs = slices.DeleteFunc(jobs, func(j job) bool { return !wanted.MatchString(j.String()) })
	began := time.Now()
	count := tally{interrupted: map[string]bool{}}
	var all sync.WaitGroup
	queue := make(chan job)
	for _, w := range pool {
		all.Add(1)
		go func() {
			defer all.Done()
			for j := range queue {
				o, err := w.reach(j)
				count.add(t, j, o, err)
			}
		}()
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	all.Wait()
	t.Logf("%d calls; %d cases in %.1f s: %s", len(calls), len(jobs), time.Since(began).Seconds(), &count)
}

// tally counts what came of the cases, and reports what must not.
type tally struct {
	sync.Mutex
	killed, failed, passed, crashed, missed, bad int

	interrupted map[string]bool // calls after whose EINTR the program gave up
	broken      bool
}

// maxReported is how many bad cases are shown of a scenario.
const maxReported = 12

func (c *tally) add(t *testing.T, j job, o outcome, err error) {
	c.Lock()
	defer c.Unlock()
	if err != nil {
		if !c.broken {
			t.Error(err)
		}
		c.broken = true
		return
	}
	switch {
	case !o.Happened:
		c.missed++
		if j.Call.Own {
			o.Problems = append(o.Problems, "the call was never made: the program does not do the same in each run")
		}
	case o.Code == -1:
		c.killed++
	case o.Code == 0:
		c.passed++
	case o.Code == 1:
		c.failed++
		if j.Fault == "EINTR" {
			c.interrupted[j.Call.Name] = true
		}
	default:
		c.crashed++
	}
	if len(o.Problems) == 0 {
		return
	}
	if c.bad++; c.bad <= maxReported {
		t.Errorf("%s\n%s\n%s", j, o.Command, strings.Join(o.Problems, "\n"))
	}
}

func (c *tally) String() string {
	return fmt.Sprintf("%d killed, %d went on, %d ended with an error, %d crashed in the Go runtime, %d not reached; %d bad; gives up at EINTR in %s",
		c.killed, c.passed, c.failed, c.crashed, c.missed, c.bad,
		strings.Join(slices.Sorted(maps.Keys(c.interrupted)), " "))
}

// jobs returns the cases to run. All of them are: each of the program's own
// calls killed, once for everything that may come next, and failing with each
// error; each of the runtime's with one of these. In the sample only the own
// ones count, of some scenarios not every one, and each fails with one error.
func (s scenario) jobs(calls []call, force int) []job {
	var jobs []job
	add := func(c call, f fault, turn int) {
		jobs = append(jobs, job{s.name, c, f, s.thens[turn%len(s.thens)], force})
	}
	own, others := 0, 0
	for _, c := range parted(calls, force) {
		if c.Own {
			own++
		} else {
			others++ // of which there is another number in every run
		}
		switch {
		case c.N == 0: // the start
		case *full && c.Own:
			for turn := range s.thens {
				add(c, kill, turn)
			}
			for k, f := range faultErrors {
				add(c, f, own+k)
			}
		case *full:
			add(c, append(faultErrors, kill)[others%(len(faultErrors)+1)], others)
		case c.Own && own%max(s.every, 1) == 0:
			add(c, kill, own)
			add(c, faultErrors[own%len(faultErrors)], own+1)
		}
	}
	return jobs
}

// parted leaves out the calls that the second way to mount has in common with
// the first one, where they come before the two part.
func parted(calls []call, force int) []call {
	if force == 0 {
		return calls
	}
	i := slices.IndexFunc(calls, func(c call) bool { return c.Name == "fsconfig" && c.N == force })
	return calls[i+1:]
}
