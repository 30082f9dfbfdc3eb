package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Each of the disks lives through this many cuts.
const (
	disks       = 2
	cutsPerDisk = 11
)

// powerCutKernel is the index in Versions: the kernel of Debian 13.
const powerCutKernel = 2

// TestPowerCut takes the power from machines that make, mount and change
// instances, again and again on the same disk: what the guest has not synced
// is lost with its memory. Whatever the moment, the next boot must find
// everything that was synced, every file whole, every instance wholly old or
// new, and must mount it. (What the virtual disk was given it keeps, so a disk
// that loses its own cache, or writes it out of order, is not tried here.)
//
// The seeds are fixed and the moments nearly so: after a number of lines of
// the guest, and some milliseconds more.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines: not run under -short")
	}
	program := filepath.Join(t.TempDir(), "powercut")
	if err := Build(program, "build", "l4d2-host/internal/kernel/powercut"); err != nil {
		t.Fatal(err)
	}
	k := needKernel(t, Versions[powerCutKernel])
	for i := range disks {
		t.Run(fmt.Sprintf("disk %d", i+1), func(t *testing.T) {
			t.Parallel()
			disk := filepath.Join(t.TempDir(), "disk")
			if err := MakeDisk(t.Context(), k, disk, 96, map[string]string{"powercut": program}); err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(uint64(i), 1))
			l := newLedger()
			for range cutsPerDisk {
				cutPower(t, k, disk, l, random)
				checkDisk(t, disk)
				if t.Failed() {
					return
				}
			}
			results, err := Boot(t.Context(), k, Payload{
				Commands: [][]string{{"powercut", "check"}}, Disk: disk, Keep: true, Lines: l.line,
			})
			if err != nil || results[0].Code != 0 {
				t.Errorf("the last boot: %v, %+v", err, results)
			}
			for _, wrong := range l.endBoot() {
				t.Error(wrong)
			}
			t.Logf("%d cuts, %d checks, %d things synced, %d found that had to be there, %d that were under way",
				cutsPerDisk, l.checks, l.synced, l.kept, l.underWay)
			if l.kept < cutsPerDisk || l.checks < cutsPerDisk/2 {
				t.Errorf("the cuts come too early to tell anything: %d checks", l.checks)
			}
		})
	}
}

// cutPower boots, lets the guest check and work, and takes its power.
func cutPower(t *testing.T, k Kernel, disk string, l *ledger, random *rand.Rand) {
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	lines := 1 + random.IntN(150)
	delay := time.Duration(random.IntN(15_000)) * time.Microsecond
	results, err := Boot(ctx, k, Payload{
		Commands: [][]string{{"powercut", strconv.FormatUint(random.Uint64(), 10)}},
		Disk:     disk, Keep: true,
		Lines: func(line string) {
			l.line(line)
			if lines--; lines == 0 {
				time.AfterFunc(delay, cut)
			}
		},
	})
	if !errors.Is(err, ErrCut) {
		t.Errorf("error %v, results %+v; want the cut", err, results)
	}
	for _, wrong := range l.endBoot() {
		t.Error(wrong)
	}
}

// checkDisk replays the journal and looks for damage, in a copy: the next boot
// is to replay it itself.
func checkDisk(t *testing.T, disk string) {
	t.Helper()
	image := disk + ".copy"
	defer os.Remove(image)
	if err := copyFile(image, disk); err != nil {
		t.Fatal(err)
	}
	// 1 is for a journal or unlinked files that were in use: no damage.
	out, err := exec.Command("e2fsck", "-p", image).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Errorf("e2fsck -p: %v:\n%s", err, out)
	}
	if out, err := exec.Command("e2fsck", "-fn", image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck -fn: %v:\n%s", err, out)
	}
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// ledger keeps which versions everything may have, from what the guest says;
// see the guest's program for the lines.
type ledger struct {
	possible map[string]map[int]bool
	seen     map[string]int // found since the boot
	wrong    []string

	checks, synced, kept, underWay int
}

func newLedger() *ledger {
	l := &ledger{possible: map[string]map[int]bool{}, seen: map[string]int{}}
	for _, name := range []string{"left4dead2/f0", "left4dead2/f1", "left4dead2/lower/f2"} {
		l.possible[name] = map[int]bool{1: true} // in the lower layers
	}
	return l
}

func (l *ledger) line(text string) {
	words := strings.Fields(text)
	if text == "checked" {
		l.compare()
		return
	}
	if len(words) != 3 {
		return // what the mounts say
	}
	name := words[1]
	v, err := strconv.Atoi(words[2])
	if err != nil {
		return
	}
	if l.possible[name] == nil {
		l.possible[name] = map[int]bool{0: true}
	}
	switch words[0] {
	case "begin":
		l.possible[name][v] = true
	case "synced":
		l.synced++
		l.possible[name] = map[int]bool{v: true}
	case "found":
		l.seen[name] = v
	}
}

// compare judges what was found at a boot; it is the truth from then on. The
// files of the lasting instance say nothing before it exists.
func (l *ledger) compare() {
	l.checks++
	mounted := l.seen["instance/a"] != 0
	for name, versions := range l.possible {
		if !mounted && !strings.HasPrefix(name, "instance/") {
			continue
		}
		v := l.seen[name]
		if !versions[v] {
			l.wrong = append(l.wrong, fmt.Sprintf("%s is at version %d after the cut, possible are %v", name, v, versions))
		}
		if len(versions) == 1 {
			l.kept++
		} else {
			l.underWay++
		}
		l.possible[name] = map[int]bool{v: true}
	}
}

// endBoot returns what was wrong, and gets ready for the next boot.
func (l *ledger) endBoot() []string {
	wrong := l.wrong
	l.wrong = nil
	clear(l.seen)
	return wrong
}

func TestLedger(t *testing.T) {
	for name, tt := range map[string]struct {
		lines string
		want  string
	}{
		"synced and kept": {"begin x 2,synced x 2,cut,found instance/a 2,found x 2,checked", ""},
		"synced and lost": {"begin x 2,synced x 2,cut,found instance/a 2,checked", "x is at version 0"},
		"synced and torn": {"begin x 2,synced x 2,cut,found instance/a 2,found x -1,checked", "x is at version -1"},
		"under way, new":  {"begin x 2,synced x 2,begin x 3,cut,found instance/a 2,found x 3,checked", ""},
		"under way, old":  {"begin x 2,synced x 2,begin x 3,cut,found instance/a 2,found x 2,checked", ""},
		"never written":   {"begin x 2,synced x 2,cut,found instance/a 2,found x 3,checked", "x is at version 3"},
		"removed":         {"begin x 2,synced x 2,begin x 0,synced x 0,cut,found instance/a 2,found x 2,checked", "x is at version 2"},
		"lost later": {"begin x 2,cut,found instance/a 2,found x 2,checked,cut,found instance/a 2,checked",
			"x is at version 0"},
		"instance lost": {"begin instance/a 2,synced instance/a 2,cut,checked", "instance/a is at version 0"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			clear(l.possible) // of the lower layers
			l.line("begin instance/a 2")
			var wrong []string
			for line := range strings.SplitSeq(tt.lines, ",") {
				if line == "cut" {
					wrong = append(wrong, l.endBoot()...)
				} else {
					l.line(line)
				}
			}
			wrong = append(wrong, l.endBoot()...)
			if got := strings.Join(wrong, "; "); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("wrong are %q, want %q", got, tt.want)
			}
		})
	}
}
