package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// diskSize is in MiB: a layer is only made where it leaves 256 free.
const diskSize = 400

// powerCutKernel is the index in Versions: the kernel of Debian 13.
const powerCutKernel = 2

// TestPowerCut takes the power from machines that make, mount and change
// instances, and update the game and a layer, again and again on the same disk:
// what the guest has not synced is lost with its memory. Whatever the moment, the
// next boot must find everything that was synced, every file whole, every
// instance, the layer and the current release wholly old or new and every other
// release whole, and must mount them; and the next update must succeed. (What the virtual disk was given it keeps, so a disk
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
			if err := MakeDisk(t.Context(), k, disk, diskSize, map[string]string{"powercut": program}); err != nil {
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
			t.Logf("%d cuts (during %v), %d checks, %d things synced, %d found that had to be there, %d that were under way, %d interrupted changes of the game taken up",
				cutsPerDisk, l.cuts, l.checks, l.synced, l.kept, l.underWay, l.healed)
			if l.kept < cutsPerDisk || l.checks < cutsPerDisk/2 {
				t.Errorf("the cuts come too early to tell anything: %d checks", l.checks)
			}
			changing := 0
			for _, step := range ofReleases {
				changing += l.cuts[step]
			}
			if changing < cutsPerDisk/4 {
				t.Errorf("only %d cuts came when releases or a layer changed", changing)
			}
		})
	}
}

// cutPower boots, lets the guest check and work, and takes its power: at a
// moment when it changes the releases or a layer, or at any.
func cutPower(t *testing.T, k Kernel, disk string, l *ledger, random *rand.Rand) {
	ctx, cut := context.WithCancel(t.Context())
	defer cut()
	lines := 1 + random.IntN(150)
	delay := time.Duration(random.IntN(15_000)) * time.Microsecond
	releases := random.IntN(2) == 0
	if releases { // these do more between two lines, or nothing after the last
		lines = 1 + random.IntN(40)
		delay *= time.Duration(2 * random.IntN(4))
	}
	results, err := Boot(ctx, k, Payload{
		Commands: [][]string{{"powercut", strconv.FormatUint(random.Uint64(), 10)}},
		Disk:     disk, Keep: true,
		Lines: func(line string) {
			l.line(line)
			if releases && !slices.Contains(ofReleases, l.at) {
				return
			}
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
	if err := exec.Command("cp", "--sparse=always", disk, image).Run(); err != nil {
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

// ofReleases are the steps of the guest that change releases or a layer.
var ofReleases = []string{"stage", "fetch", "unstage", "commit", "rollback", "flatten", "prune", "layer"}

// ledger keeps which versions everything may have, from what the guest says;
// see the guest's program for the lines.
type ledger struct {
	possible map[string]map[int]bool
	seen     map[string]int // found since the boot
	wrong    []string
	at       string // what the guest does

	checks, synced, kept, underWay int
	cuts                           map[string]int // by what the guest did
	healed                         int            // updates that were resumed, and others that were completed
}

func newLedger() *ledger {
	l := &ledger{possible: map[string]map[int]bool{}, seen: map[string]int{}, at: "check", cuts: map[string]int{}}
	for _, name := range []string{
		"file/left4dead2/f0", "file/left4dead2/f1", "file/left4dead2/lower/f2", // in the lower layers
		"layer/maps", "release/current", "build/1",
	} {
		l.possible[name] = map[int]bool{1: true}
	}
	return l
}

func (l *ledger) line(text string) {
	words := strings.Fields(text)
	switch {
	case text == "checked":
		l.compare()
		return
	case strings.HasPrefix(text, "resuming the update"), strings.Contains(text, "by an interrupted command"), strings.HasPrefix(text, "removing what an interrupted"):
		l.healed++
		return
	case len(words) == 2 && words[0] == "at":
		l.at = words[1]
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
		l.judge(name, v)
	}
}

func (l *ledger) judge(name string, v int) {
	if !l.possible[name][v] {
		l.wrong = append(l.wrong, fmt.Sprintf("%s is at version %d after the cut, possible are %v", name, v, l.possible[name]))
	}
}

// compare judges what was not found at a boot; all of it is the truth from then
// on. The files of the lasting instance say nothing before it exists.
func (l *ledger) compare() {
	l.checks++
	mounted := l.seen["instance/a"] != 0
	for name, versions := range l.possible {
		if !mounted && strings.HasPrefix(name, "file/") {
			continue
		}
		v, seen := l.seen[name]
		if !seen {
			l.judge(name, 0)
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
	l.cuts[l.at]++
	l.at = "check"
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
		"found twice, once wrong": {"begin x 2,synced x 2,cut,found instance/a 2,found x 1,found x 2,checked", "x is at version 1"},
		"instance lost":           {"begin instance/a 2,synced instance/a 2,cut,checked", "instance/a is at version 0"},
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
