package kernel

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// row is one kernel's line in the table.
type row struct {
	series, kernel, method string
	passed, fallbacks      int
}

const tableFile = "KERNELS.md"

const tableHead = `# The kernels that the mounts are tested under

Written by ` + "`go test ./internal/kernel -update`" + `, which runs the tests of these
packages in virtual machines: ` + "%s" + `. Some of the first
are run once more with the kernel's defaults for overlays changed. The oldest and
the newest alone run those that are about what can lie in a directory, and some
of the packages release and staging. Without -update, the same test fails when a
kernel does not pass them all, or when the list of series or the method of one
changes. The exact versions and the numbers are those of the last update.

- **Method** is what a mount uses by itself: fsopen(2), or
  mount(2).
- **Passed** counts tests and their cases; none failed and none was skipped.
- **Fell back** counts those among them that asked for fsopen, found that the
  kernel does not take layers one by one, and saw the mount succeed by mount(2).

| Series | Debian package | Method | Passed | Fell back |
|---|---|---|---:|---:|
`

func table(rows []row) string {
	var b strings.Builder
	fmt.Fprintf(&b, tableHead, strings.Join(tested, ", "))
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d |\n", r.series, r.kernel, r.method, r.passed, r.fallbacks)
	}
	return b.String()
}

// structure keeps of a table what does not change by an update of a Debian
// package or another test: series and methods.
func structure(table string) string {
	var b strings.Builder
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) == 7 {
			b.WriteString(strings.TrimSpace(cells[1]) + ": " + strings.TrimSpace(cells[3]) + "\n")
		}
	}
	return b.String()
}

func checkTable(t *testing.T, rows []row) {
	now := table(rows)
	if *update {
		if t.Failed() {
			t.Fatalf("%s is left as it is", tableFile)
		}
		if err := os.WriteFile(tableFile, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	was, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := structure(now), structure(string(was)); got != want {
		t.Errorf("%s says\n%s\nbut found was\n%s\nif that is right: go test ./internal/kernel -update", tableFile, want, got)
	}
}

// A newer package of the same series changes nothing; another method does.
func TestStructure(t *testing.T) {
	was := table([]row{{"6.1", "linux-image-6.1.0-50 6.1.176-1", "mount", 300, 40}})
	if newer := table([]row{{"6.1", "linux-image-6.1.0-51 6.1.180-1", "mount", 310, 41}}); structure(was) != structure(newer) {
		t.Errorf("%q is not %q", structure(newer), structure(was))
	}
	for _, r := range []row{{"6.1", "", "fsopen", 300, 40}, {"6.2", "", "mount", 300, 40}} {
		if structure(was) == structure(table([]row{r})) {
			t.Errorf("%v is not told from the table", r)
		}
	}
}
