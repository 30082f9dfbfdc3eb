// Package chain says what the last layer of an instance is made of: which
// directories the installation, or the release that an instance is pinned to,
// stands for.
//
// A release holds in its tree only what it changed over the one before it, and
// in its release.env the whole chain of those that it lies over; so one small
// file tells everything. A chain never changes once it is written. What makes,
// switches and removes releases is package release; this one only reads, and is
// all that the privileged helper needs.
package chain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
)

// Release is what the release.env of a release says.
type Release struct {
	// Chain is the releases whose trees make up the game, topmost first: this
	// one, and those that it lies over.
	Chain []instance.Name
	Build string    // Steam's build id, in decimal digits; "" if it is not known
	Date  time.Time // when it was made; UTC, to the second
	Size  int64     // what its tree takes on the disk, in bytes
}

// The variables of release.env.
const (
	chainVariable = "CHAIN"
	buildVariable = "BUILD"
	dateVariable  = "DATE"
	sizeVariable  = "SIZE"
)

// Format returns the file that Parse reads as r.
func (r Release) Format() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	names := make([]string, len(r.Chain))
	for i, n := range r.Chain {
		names[i] = string(n)
	}
	return envfile.Format([]envfile.Var{
		{Name: chainVariable, Value: strings.Join(names, ":")},
		{Name: buildVariable, Value: r.Build},
		{Name: dateVariable, Value: r.Date.UTC().Format(time.RFC3339)},
		{Name: sizeVariable, Value: strconv.FormatInt(r.Size, 10)},
	})
}

// Parse reads data, the contents of a release.env; file is its name for errors.
// Variables that it does not know are another version's and left alone.
func Parse(file string, data []byte) (Release, error) {
	vars, err := envfile.Parse(file, data)
	if err != nil {
		return Release{}, err
	}
	r, err := parseVars(vars)
	if err != nil {
		return Release{}, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

func parseVars(vars map[string]string) (r Release, err error) {
	for _, name := range strings.Split(vars[chainVariable], ":") {
		n, err := instance.ParseName(name)
		if err != nil {
			return r, fmt.Errorf("%s: %w", chainVariable, err)
		}
		r.Chain = append(r.Chain, n)
	}
	r.Build = vars[buildVariable]
	if r.Date, err = time.Parse(time.RFC3339, vars[dateVariable]); err != nil {
		return r, fmt.Errorf("%s: %w", dateVariable, err)
	}
	r.Date = r.Date.UTC()
	if r.Size, err = strconv.ParseInt(vars[sizeVariable], 10, 64); err != nil {
		return r, fmt.Errorf("%s: %w", sizeVariable, err)
	}
	return r, r.check()
}

func (r Release) check() error {
	if len(r.Chain) == 0 {
		return fmt.Errorf("%s: no release", chainVariable)
	}
	seen := map[instance.Name]bool{}
	for _, n := range r.Chain {
		if seen[n] {
			return fmt.Errorf("%s: %s is named twice", chainVariable, n)
		}
		seen[n] = true
	}
	if strings.Trim(r.Build, "0123456789") != "" || len(r.Build) > maxBuild {
		return fmt.Errorf("%s: %.40q is not a build id of Steam's", buildVariable, r.Build)
	}
	if r.Size < 0 {
		return fmt.Errorf("%s: %d is less than nothing", sizeVariable, r.Size)
	}
	return nil
}

// maxBuild is the greatest length of a build id: any 64-bit number.
const maxBuild = 20

// Read returns what is known of release n. The error is fs.ErrNotExist where
// there is no such release.
func Read(l instance.Layout, n instance.Name) (Release, error) {
	file := l.ReleaseFile(n)
	data, err := instance.ReadFile(file, envfile.MaxFile)
	if err != nil {
		return Release{}, err
	}
	r, err := Parse(file, data)
	if err == nil && r.Chain[0] != n {
		err = fmt.Errorf("%s: its %s begins with %s: it is another release's", file, chainVariable, r.Chain[0])
	}
	return r, err
}

// Tree is how a list of layers names the tree of release n, and where the link
// at the installation leads while n is the current one: a path below the root.
func Tree(n instance.Name) string {
	return instance.ReleasesDir + "/" + string(n) + "/" + instance.ReleaseTreeDir
}

// Of returns the release whose tree a layer is: of a name as Tree makes it.
func Of(layer string) (n instance.Name, ok bool) {
	name, found := strings.CutPrefix(layer, instance.ReleasesDir+"/")
	name, isTree := strings.CutSuffix(name, "/"+instance.ReleaseTreeDir)
	if !found || !isTree {
		return "", false
	}
	n, err := instance.ParseName(name)
	return n, err == nil
}

// IsBase reports whether a layer, as Expand names them, is part of the game and
// not one of the operator's.
func IsBase(layer string) bool { return !strings.HasPrefix(layer, instance.OverlaysDir+"/") }

// Current returns the release that is current, or "" where the installation is
// none: a directory, a link of the operator's, or not there. A link into the
// releases in other words than Tree's is an error: it shows one tree, perhaps
// without those that it lies over, and nothing would keep that one from being
// removed.
func Current(l instance.Layout) (instance.Name, error) {
	target, err := os.Readlink(l.Installation())
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // no link
		return "", nil
	case err != nil:
		return "", err
	}
	if n, ok := Of(target); ok {
		return n, nil
	}
	return "", elsewhere(l, target)
}

// elsewhere returns an error unless the link at the installation, to target,
// leads out of the releases, or to nothing.
func elsewhere(l instance.Layout, target string) error {
	path := filepath.Clean(target)
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.Root(), path)
	}
	inside, err := within(l.Releases(), filepath.Dir(path)) // its tree may be a link out of there
	if err == nil && !inside {
		inside, err = within(l.Releases(), l.Installation())
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission): // nothing there, or nothing for this user
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w", l.Installation(), err)
	case !inside:
		return nil
	}
	return advice.With(fmt.Errorf("%s leads into %s by a way of its own (%s)", l.Installation(), l.Releases(), strconv.Quote(target)),
		"switch to the release with: l4d2ctl rollback RELEASE, after: rm "+l.Installation())
}

// within reports whether path, once all links are followed, is dir or in it.
func within(dir, path string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	path, err = filepath.EvalSymlinks(path)
	return path == dir || strings.HasPrefix(path, dir+"/"), err
}

// Base returns the release that the last of these layers, in the words of
// instance.env, stands for now; "" for an installation that is none.
func Base(l instance.Layout, lowers []string) (instance.Name, error) {
	last := lowers[len(lowers)-1]
	if last == instance.InstallationLayer {
		return Current(l)
	}
	return instance.ParseName(strings.TrimPrefix(last, instance.ReleasesDir+"/"))
}

// Expand returns the layers, paths below the root and topmost first, that
// these, in the words of instance.env, stand for now: a release at their end
// becomes the trees of its chain. An installation that is a directory, or a link
// of the operator's to somewhere else, stays as it is.
func Expand(l instance.Layout, lowers []string) ([]string, error) {
	n, err := Base(l, lowers)
	if err != nil {
		return nil, err
	}
	if n == "" {
		return slices.Clone(lowers), nil
	}
	r, err := Read(l, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(l, lowers, n)
	}
	if err != nil {
		return nil, err
	}
	expanded := make([]string, 0, len(lowers)-1+len(r.Chain))
	expanded = append(expanded, lowers[:len(lowers)-1]...)
	for _, m := range r.Chain {
		expanded = append(expanded, Tree(m))
	}
	if len(expanded) > instance.MaxLayers {
		return nil, advice.With(
			fmt.Errorf("release %s lies over %d others: %d layers in all, and the kernel allows at most %d", n, len(r.Chain)-1, len(expanded), instance.MaxLayers),
			"fold them into one with: l4d2ctl flatten "+string(n))
	}
	return expanded, nil
}

func missing(l instance.Layout, lowers []string, n instance.Name) error {
	if lowers[len(lowers)-1] == instance.InstallationLayer {
		return advice.With(fmt.Errorf("%s leads to release %s, which is not there", l.Installation(), n),
			"see what there is with l4d2ctl releases, and switch to one with l4d2ctl rollback RELEASE")
	}
	return advice.With(fmt.Errorf("there is no release %s, which the spec pins it to", n),
		"see what there is with l4d2ctl releases, and change or drop release: in the spec with l4d2ctl edit")
}
