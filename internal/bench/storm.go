package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
)

const (
	stormLayers = 10              // of each instance
	stormRuns   = 3               // of each number by each setup
	stormLimit  = 5 * time.Minute // bounds one start or stop of all
)

var stormSizes = []int{10, 30, 100}

// storm is the machine with the instances that are started at once.
type storm struct {
	*rig.Rig
	ctx  context.Context
	stat string // cpu.stat of the machine's control group
}

// benchStorm measures many starts and stops at once, through systemd.
func benchStorm(b *bench, out io.Writer) (err error) {
	s, err := newStorm(b.ctx, stormSizes[len(stormSizes)-1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	var t stormTimes
	t.start, t.startCPU, t.stop, t.stopCPU = times{}, times{}, times{}, times{}
	for run := range stormRuns {
		for _, n := range stormSizes {
			for i := range setups {
				u := setups[(run+i)%len(setups)]
				if err := s.run(u, n, &t); err != nil {
					text, _ := s.Journal(context.Background(), "--lines=40", "--unit=l4d2@s001")
					return fmt.Errorf("%d instances, %s: %w\n%s", n, u.name, err, text)
				}
			}
		}
	}
	t.write(out)
	return nil
}

func newStorm(ctx context.Context, most int) (*storm, error) {
	r, err := rig.New(ctx, machine.Debian13, os.Stderr)
	if err != nil {
		return nil, err
	}
	s := &storm{Rig: r, ctx: ctx}
	if s.stat, err = cpuStat(r.Leader()); err == nil {
		err = s.makeInstances(most)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return s, nil
}

// cpuStat finds the cpu.stat of the cgroup2 group that holds the machine.
func cpuStat(leader int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", leader))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		top, _, _ := strings.Cut(path, "/")
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			file := filepath.Join(mount, top, "cpu.stat")
			if _, err := os.Stat(file); err == nil {
				return file, nil
			}
		}
	}
	return "", fmt.Errorf("no cpu.stat for process %d: %s", leader, text)
}

func (s *storm) makeInstances(most int) error {
	var layers []string
	for i := 1; i < stormLayers; i++ {
		name := string(layerName(i))
		layers = append(layers, name)
		if err := s.Layer(s.ctx, name, map[string]string{"addons/" + name + ".txt": name}); err != nil {
			return err
		}
	}
	var script strings.Builder
	script.WriteString("set -e; mkdir -p /srv/plain\n")
	for i := 1; i <= most; i++ {
		fmt.Fprintf(&script, "printf 'port: %d\\noverlays: [%s]\\n' | l4d2ctl init %s - >/dev/null\n",
			27000+i, strings.Join(layers, ", "), stormName(i))
		fmt.Fprintf(&script, "cp -a /var/lib/l4d2/installation /srv/plain/%s\n", stormName(i))
	}
	_, err := s.Sh(s.ctx, script.String())
	return err
}

func stormName(i int) string { return fmt.Sprintf("s%03d", i) }

func units(n int) string {
	var names []string
	for i := 1; i <= n; i++ {
		names = append(names, "l4d2@"+stormName(i))
	}
	return strings.Join(names, " ")
}

// stormTimes is what the storms took, by setup and number of instances: by the
// clock, and in CPU time of all processes of the machine.
type stormTimes struct {
	start, startCPU, stop, stopCPU times
	restarts                       int
}

// run starts and stops n instances at once.
func (s *storm) run(u setup, n int, t *stormTimes) error {
	const dropIn = "/etc/systemd/system/l4d2@.service.d/bench.conf"
	if err := s.WriteFile(dropIn, []byte(u.dropIn), 0o644); err != nil {
		return err
	}
	if _, err := s.Sh(s.ctx, "set -e; systemctl daemon-reload; systemctl reset-failed"); err != nil {
		return err
	}
	took, cpu, err := s.timed("systemctl start " + units(n))
	if err != nil {
		return err
	}
	t.start.add(u.name, strconv.Itoa(n), took)
	t.startCPU.add(u.name, strconv.Itoa(n), cpu)
	restarts, err := s.checkUp(n)
	if err != nil {
		return err
	}
	t.restarts += restarts
	if took, cpu, err = s.timed("systemctl stop " + units(n)); err != nil {
		return err
	}
	t.stop.add(u.name, strconv.Itoa(n), took)
	t.stopCPU.add(u.name, strconv.Itoa(n), cpu)
	left, err := s.Sh(s.ctx, "systemctl --failed --plain --no-legend; grep l4d2: /proc/1/mountinfo || true")
	if err == nil && left != "" {
		err = fmt.Errorf("left behind: %s", left)
	}
	return err
}

// timed returns how long a command in the machine took, and how much CPU time
// the whole machine used meanwhile.
func (s *storm) timed(command string) (took, cpu time.Duration, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, stormLimit)
	defer cancel()
	before, err := s.cpuTime()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if _, err = s.Sh(ctx, command); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	after, err := s.cpuTime()
	return took, after - before, err
}

func (s *storm) cpuTime() (time.Duration, error) {
	text, err := os.ReadFile(s.stat)
	if err != nil {
		return 0, err
	}
	var usec int64
	_, err = fmt.Sscanf(string(text), "usage_usec %d", &usec)
	return time.Duration(usec) * time.Microsecond, err
}

// checkUp makes sure that n instances run, and returns how often systemd
// restarted one.
func (s *storm) checkUp(n int) (restarts int, err error) {
	out, err := s.Sh(s.ctx, "systemctl show --value -p ActiveState -p NRestarts "+units(n))
	if err != nil {
		return 0, err
	}
	active := 0
	for _, field := range strings.Fields(out) {
		if field == "active" {
			active++
		} else if number, err := strconv.Atoi(field); err == nil {
			restarts += number
		}
	}
	if active != n {
		return restarts, fmt.Errorf("%d of %d instances are active", active, n)
	}
	return restarts, nil
}

func (t *stormTimes) write(out io.Writer) {
	var names, sizes []string
	for _, u := range setups {
		names = append(names, u.name)
	}
	for _, n := range stormSizes {
		sizes = append(sizes, strconv.Itoa(n))
	}
	last := names[len(names)-1]
	fmt.Fprintf(out, `
## Many starts at once

So many instances of %d layers, on a booted Debian 13 in a container, by one
"systemctl start"; medians of %d, in turn. The CPU time is that of all processes
of the machine, and hardly depends on what else the host does. Restarts by
systemd: %d.
`, stormLayers, stormRuns, t.restarts)
	t.start.table(out, "Start, by the clock", names, sizes, last)
	t.startCPU.table(out, "Start, CPU time", names, sizes, last)
	t.stop.table(out, "Stop, by the clock", names, sizes, last)
	t.stopCPU.table(out, "Stop, CPU time", names, sizes, last)
}
