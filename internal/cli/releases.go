package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/inuse"
	"l4d2-host/internal/record"
	"l4d2-host/internal/release"
)

type releasesCommand struct {
	JSON bool `help:"Print an array of objects, for programs."`
}

// Help is what --help prints besides.
func (*releasesCommand) Help() string {
	return "The newest first. A release holds only what it changed over the one before it, and lies over that one. " +
		"OVER counts those that it lies over; RUNNING are the servers that run on it now, whatever is current.\n\n" +
		"Example: l4d2ctl releases"
}

// listedRelease is one release, and its JSON: these keys are what programs may
// rely on.
type listedRelease struct {
	Name    instance.Name   `json:"name"`
	Build   *string         `json:"build"` // Steam's build id; null if it is not known
	Date    time.Time       `json:"date"`  // when it was made; RFC 3339, UTC
	Bytes   int64           `json:"bytes"` // on disk, of what it changed
	Chain   []instance.Name `json:"chain"` // the release and those that it lies over, topmost first
	Current bool            `json:"current"`
	Pinned  []instance.Name `json:"pinned"`        // instances whose spec names it
	Running []instance.Name `json:"running"`       // instances that run on it now
	Above   []instance.Name `json:"running_above"` // instances that run on one that lies over it
}

func (c *releasesCommand) Run(s *session) error {
	catalog, err := s.releases()
	if err != nil {
		return err
	}
	uses, broken := catalog.Uses()
	list := make([]listedRelease, len(uses))
	for i, u := range uses {
		list[i] = listedRelease{
			Name: u.Name, Date: u.Date, Bytes: u.Size, Chain: u.Chain, Current: u.Current,
			Pinned: noNull(u.Pinned), Running: noNull(u.Running), Above: noNull(u.Beneath),
		}
		if u.Build != "" {
			list[i].Build = &u.Build
		}
	}
	if c.JSON {
		if err := s.printJSON(list); err != nil {
			return err
		}
	} else if len(list) > 0 {
		s.print(releaseTable(list))
	}
	if _, err := catalog.Current(); errors.Is(err, release.ErrPlain) {
		s.hint("%s is no release: %s adopt makes it the first, without moving a byte", s.layout.Installation(), program)
	}
	return readable(broken)
}

func noNull(names []instance.Name) []instance.Name { return append([]instance.Name{}, names...) }

func releaseTable(list []listedRelease) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "RELEASE\tBUILD\tMADE\tSIZE\tOVER\tPINNED\tRUNNING\t")
	for _, r := range list {
		current := ""
		if r.Current {
			current = "current"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", r.Name, orDash(r.Build), r.Date.Local().Format("2006-01-02 15:04"),
			size(r.Bytes), len(r.Chain)-1, namesOrDash(r.Pinned), namesOrDash(r.Running), current)
	}
	_ = w.Flush() // a strings.Builder takes everything
	lines := strings.SplitAfter(text.String(), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.TrimRight(line, " \n") + "\n"
		}
	}
	return strings.Join(lines, "")
}

// releases returns the game's releases, to be looked at.
func (s *session) releases() (*release.Catalog, error) {
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	return &release.Catalog{Layout: s.layout, Store: st, Say: func(format string, args ...any) {
		s.note(fmt.Sprintf("%s: %s\n", program, fmt.Sprintf(format, args...)))
	}}, nil
}

// changeReleases begins a change of the releases; the caller ends it.
func (s *session) changeReleases() (*release.Change, error) {
	if err := s.superuser(); err != nil {
		return nil, err
	}
	c, err := s.releases()
	if err != nil {
		return nil, err
	}
	return c.Begin()
}

// explainRelease adds to an error which releases there are.
func explainRelease(err error) error {
	if errors.Is(err, release.ErrUnknown) {
		return &problem{err: err, hints: []string{"see: " + program + " releases"}}
	}
	return err
}

// tellRunning says which running servers take another release at their next
// start than the one that they run on.
func (s *session) tellRunning() {
	use, err := inuse.Find(s.layout)
	if err != nil {
		s.warn("cannot tell what the running servers take at their next start: %v", err)
		return
	}
	running := append([]instance.Name{}, use.Unclear...)
	for n := range use.Starts {
		running = append(running, n)
	}
	slices.Sort(running)
	for _, n := range running {
		start, known := use.Starts[n]
		if text := s.outdatedText(n, start, known); text != "" {
			s.step(n, "%s", text)
		}
	}
}

// outdated are these servers. It asks systemd what runs: not everybody who asks
// may look at the mounts.
func (s *session) outdated(m Manager) (names []instance.Name, err error) {
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	all, err := st.List()
	if err != nil {
		return nil, readable(err)
	}
	running, _, err := s.upAndDown(m, all)
	if err != nil {
		return nil, err
	}
	for _, n := range running {
		start, unknown := record.ReadStart(s.layout, n)
		if s.outdatedText(n, start, unknown == nil) != "" {
			names = append(names, n)
		}
	}
	return names, nil
}

func (s *session) outdatedText(n instance.Name, start record.Start, known bool) string {
	text, err := s.nextRelease(n, start, known)
	if err != nil {
		s.warn("%s is running, and what it takes at its next start is not known: %v", n, err)
	}
	return text
}

// nextRelease says what becomes of the game of a running server at its next
// start; nothing if it stays what it is.
func (s *session) nextRelease(n instance.Name, start record.Start, known bool) (string, error) {
	env, err := instance.ReadEnv(s.layout, n)
	if err != nil {
		return "", err
	}
	next, err := chain.Base(s.layout, env.Lowers)
	if err != nil {
		return "", err
	}
	path := s.layout.Installation()
	if next != "" {
		path = s.layout.ReleaseTree(next)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	to := fmt.Sprintf("takes %s at its next start: %s restart %s", next, program, n)
	switch {
	case !known:
		return "runs on what nobody has written down, and " + to, nil
	case start.Base() == record.Directory{Dev: st.Dev, Ino: st.Ino}:
		return "", nil
	}
	start = s.named(start)
	on := baseName(start.Layers[len(start.Env.Lowers)-1].Name)
	if env.Release() != "" {
		to = "is pinned: it " + to
	}
	return fmt.Sprintf("runs on %s, and %s", on, to), nil
}
