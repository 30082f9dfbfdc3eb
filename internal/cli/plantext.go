package cli

import (
	"fmt"
	"strings"

	"github.com/kballard/go-shellquote"

	"l4d2-host/internal/layers"
	"l4d2-host/internal/printable"
)

const (
	// planLines is how many files a plan names unless asked for all.
	planLines = 20
	// resetPaths is how many paths the command to give them up names.
	resetPaths = 8
)

// describePlan puts a plan in words, with at most that many files of a kind.
func (s *session) describePlan(v *planned, most int) string {
	var b strings.Builder
	switch {
	case v.Since == nil && len(v.Unknown) == 0:
		fmt.Fprintf(&b, "%s  has never been started\n", v.Name)
	case v.Since == nil:
		fmt.Fprintf(&b, "%s  cannot be compared with its last start\n", v.Name)
	case v.Running:
		fmt.Fprintf(&b, "%s  compared with its present run, of %s\n", v.Name, local(*v.Since))
	default:
		fmt.Fprintf(&b, "%s  stopped; compared with its last start, %s\n", v.Name, local(*v.Since))
	}
	rows := [][]cell{}
	for _, c := range v.Changes {
		rows = append(rows, []cell{{text: "  " + c.What}, {printable.Line(c.Detail), yellow}})
	}
	for i, key := range []string{"changes", "files"} {
		if why := v.Unknown[key]; why != "" && (i == 0 || why != v.Unknown["changes"]) {
			rows = append(rows, plain("  "+key, "not known, or not all: "+printable.Line(why)))
		}
	}
	if v.Unapplied != nil && *v.Unapplied {
		rows = append(rows, []cell{{text: "  spec"}, {s.unappliedText(v.Name), yellow}})
	}
	b.WriteString(s.table(rows))
	s.describeFiles(&b, v, most)
	s.describeHiding(&b, v, most)
	if v.Since != nil && len(v.Changes)+len(v.Files)+len(v.Hiding)+len(v.Unknown) == 0 {
		b.WriteString("  the next start would change nothing\n")
	}
	return b.String()
}

func (s *session) describeFiles(b *strings.Builder, v *planned, most int) {
	if len(v.Files) == 0 {
		return
	}
	counts := map[string]int{}
	for _, f := range v.Files {
		counts[f.Change]++
	}
	var parts []string
	for _, change := range []string{"added", "changed", "rewritten", "removed"} {
		if counts[change] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[change], change))
		}
	}
	fmt.Fprintf(b, "  files of the layers: %s\n", strings.Join(parts, ", "))
	rows := [][]cell{}
	for _, f := range v.Files[:min(most, len(v.Files))] {
		bytes := "-"
		if f.Type == layers.File {
			bytes = size(f.Size)
		}
		rows = append(rows, plain("    "+f.Change, bytes, visible(f.Path)+f.remark()))
	}
	b.WriteString(s.table(rows))
	more(b, len(v.Files)-most)
}

// remark says where a file comes from.
func (f plannedFile) remark() string {
	text := ""
	switch {
	case f.Layer == nil:
		text = "was in " + layerName(*f.Before)
	case f.Before != nil && *f.Before != *f.Layer:
		text = fmt.Sprintf("%s instead of %s", layerName(*f.Layer), layerName(*f.Before))
	default:
		text = layerName(*f.Layer)
	}
	if f.Change == "rewritten" {
		text += ", in place"
	}
	if f.Hidden {
		text += ", not seen: its own files are above"
	}
	return "  (" + text + ")"
}

func more(b *strings.Builder, n int) {
	if n > 0 {
		fmt.Fprintf(b, "    … and %d more: --all\n", n)
	}
}

func (s *session) describeHiding(b *strings.Builder, v *planned, most int) {
	rows := [][]cell{}
	same := 0
	for _, h := range v.Hiding {
		if h.Same {
			same++
			continue
		}
		rows = append(rows, plain("    "+visible(h.Path), fmt.Sprintf("of %s; %s has one of %s", local(h.Since), layerName(h.Layer), local(h.Newer))))
	}
	if len(rows) > 0 {
		fmt.Fprintf(b, "  its own files that hide newer ones: %d\n", len(rows))
		b.WriteString(s.table(rows[:min(most, len(rows))]))
		more(b, len(rows)-most)
	}
	if same > 0 {
		fmt.Fprintf(b, "  its own files that are the same as newer ones: %d\n", same)
	}
}

// hints say how to let go of the files that hide newer ones.
func (v *planned) hints() []string {
	var paths []string
	seen := map[string]bool{}
	for _, h := range v.Hiding {
		if !h.Same && !seen[h.Reset] {
			seen[h.Reset] = true
			paths = append(paths, h.Reset)
		}
	}
	if len(paths) == 0 {
		return nil
	}
	command := fmt.Sprintf("%s reset %s ", program, v.Name)
	arguments := shellquote.Join(paths[:min(resetPaths, len(paths))]...)
	if printable.Line(arguments) != arguments { // to be pasted into a shell
		arguments = "PATH…"
	} else if len(paths) > resetPaths {
		arguments += " …"
	}
	text := "let go of them with: " + command + arguments
	if v.Running {
		text = "once it is stopped, let" + strings.TrimPrefix(text, "let")
	}
	return []string{text, fmt.Sprintf("see first how they differ: %s diff %s --text PATH", program, v.Name)}
}
