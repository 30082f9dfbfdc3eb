package kernel

import (
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write KERNELS.md anew")

// tested are the packages whose tests are run under every kernel.
var tested = []string{"overlay", "activation", "beneath"}

// otherDefaults turns on all that a distribution may have turned on.
const otherDefaults = `set -e
for name in index metacopy redirect_dir nfs_export xino_auto; do
	echo Y >/sys/module/overlay/parameters/$name
done`

// testedAgain are the tests of the first package that the defaults could break.
var testedAgain = []string{"TestAuto", "TestOptions", "TestReadOnlyResult", "TestChangedStack", "TestInUse"}

// atTheEnds are the tests, more than half of the time of all, that only the oldest
// and the newest kernel run: they are about what can lie in a directory, many cases
// of it. Those of bothWays have subtests for each method: one is enough, the oldest
// kernel's only one and the newest one's own.
var (
	atTheEnds = []string{"TestPlantedAt.*", "TestOverlayAttributes", "TestHidingIsBounded", "TestHugeDirectory", "TestRemoveAll.*", "TestWalk.*"}
	bothWays  = []string{"TestPlantedAt.*", "TestOverlayAttributes"}
)

// updating are the tests of what updates the game, by package, that mount or ask
// the kernel for more than files: for exchanges, for links to open files, for who
// still uses a mount. They are for the two ends as well.
var updating = []struct {
	name  string
	tests []string
}{
	{"release", []string{"TestAdopt", "TestFlatten", "TestPublish", "TestPruneCrossesNoMount"}},
	{"staging", []string{"TestUpdates", "TestResume", "TestMachineDown", "TestExclusion", "TestForeign"}},
}

// testLimit is for everything under one kernel; without KVM it takes one to two
// minutes, and several times that on a busy machine.
const testLimit = 12 * time.Minute

// TestKernels runs the tests of the packages that depend on the kernel under
// each of the versions, and compares with what KERNELS.md says.
func TestKernels(t *testing.T) {
	if testing.Short() {
		t.Skip("boots virtual machines: not run under -short")
	}
	programs := map[string]string{}
	all := slices.Clone(tested)
	for _, p := range updating {
		all = append(all, p.name)
	}
	for _, name := range all {
		path := filepath.Join(t.TempDir(), name)
		if err := Build(path, "test", "l4d2-host/internal/"+name); err != nil {
			t.Fatal(err)
		}
		programs[name+".test"] = path
	}
	rows := make([]row, len(Versions))
	// Those that take longest first: two run side by side.
	queue := make(chan int, len(Versions))
	queue <- len(Versions) - 1
	for i := range len(Versions) - 1 {
		queue <- i
	}
	close(queue)
	var workers sync.WaitGroup
	for range maxMachines {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for i := range queue {
				t.Run(Versions[i].String(), func(t *testing.T) { rows[i] = runTests(t, Versions[i], programs, commands(i)) })
			}
		}()
	}
	workers.Wait()
	checkTable(t, rows)
}

// commands are what the kernel of that index among all runs.
func commands(index int) [][]string {
	oldest, newest := index == 0, index == len(Versions)-1
	of := func(name, option, tests string) []string {
		return []string{name + ".test", "-test.v", "-test.timeout=" + testLimit.String(), option + "=" + tests}
	}
	any := func(tests []string) string { return "^(" + strings.Join(tests, "|") + ")$" }
	left := any(atTheEnds)
	switch {
	case oldest:
		left = any(bothWays) + "/^fsopen$"
	case newest:
		left = any(bothWays) + "/^mount$"
	}
	var all [][]string
	for _, name := range tested {
		all = append(all, of(name, "-test.skip", left))
	}
	if oldest || newest {
		for _, p := range updating {
			all = append(all, of(p.name, "-test.run", any(p.tests)))
		}
	}
	return append(all, []string{"sh", "-c", otherDefaults}, of(tested[0], "-test.run", any(testedAgain)))
}

// runTests runs the commands, most of them test programs, under one kernel.
func runTests(t *testing.T, v Version, programs map[string]string, commands [][]string) row {
	k := needKernel(t, v)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := MakeDisk(t.Context(), k, disk, 512, programs); err != nil {
		t.Fatal(err)
	}
	results, err := Boot(t.Context(), k, Payload{Commands: commands, Disk: disk, Limit: testLimit})
	if err != nil {
		t.Error(err)
	}
	if len(results) != len(commands) {
		t.Errorf("%d of %d programs ended", len(results), len(commands))
	}
	r := row{series: v.String(), kernel: k.Package}
	for i, result := range results {
		tests := readTests(result.Output)
		program := commands[i][0]
		if result.Code != 0 || program != "sh" && tests.passed == 0 || tests.bad != nil {
			t.Errorf("%s: exit status %d, not passed: %q:\n%s", program, result.Code, tests.bad, result.Output)
		}
		r.passed += tests.passed
		r.fallbacks += tests.fallbacks
		if tests.method != "" {
			r.method = tests.method
		}
	}
	if r.method == "" {
		t.Error("no test said which method Auto chose")
	}
	return r
}

func needKernel(t *testing.T, v Version) Kernel {
	t.Helper()
	k, err := Get(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// tests is what the output of a verbose test program says.
type tests struct {
	passed    int
	bad       []string // failed or skipped: no test may pass by not being run
	fallbacks int      // tests that found the method missing and Auto to cope
	method    string   // what Auto chose, "" where no test said it
}

var (
	verdict  = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+)`)
	fallback = regexp.MustCompile(`(?m): Auto fell back to \w+$`)
	chosen   = regexp.MustCompile(`(?m): Auto chose (\w+)$`)
)

func readTests(output string) tests {
	var r tests
	for _, m := range verdict.FindAllStringSubmatch(output, -1) {
		if m[1] == "PASS" {
			r.passed++
		} else {
			r.bad = append(r.bad, m[2])
		}
	}
	r.fallbacks = len(fallback.FindAllString(output, -1))
	if m := chosen.FindStringSubmatch(output); m != nil {
		r.method = m[1]
	}
	return r
}

func TestReadTests(t *testing.T) {
	r := readTests(`=== RUN   TestA
=== RUN   TestA/one
    a_test.go:1: no fsopen in this kernel: Auto fell back to mount
    a_test.go:2: Auto chose mount
--- PASS: TestA (0.10s)
    --- PASS: TestA/one (0.05s)
    --- SKIP: TestA/two (0.00s)
--- FAIL: TestB (0.00s)
FAIL`)
	if got, want := fmt.Sprint(r), "{2 [TestA/two TestB] 1 mount}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
