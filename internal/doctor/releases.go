package doctor

import (
	"os"
	"path/filepath"
	"slices"

	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/release"
)

// checkReleases looks at the game's releases, if there are any, and at those
// that the instances called names take at their next start in particular.
func (d *Doctor) checkReleases(names []instance.Name) {
	c := &release.Catalog{Layout: d.Layout}
	used := c.Needed(names)
	slices.Sort(used)
	found, err := c.Check(used)
	if err != nil {
		d.fail(Error, "releases", err)
		return
	}
	for _, p := range found {
		level := Warning
		if p.Needed {
			level = Error
		}
		d.fail(level, "releases", p.Err)
	}
	if all, err := release.Names(d.Layout); err == nil && len(found) == 0 && len(all) > 0 {
		d.ok("releases", "the %d releases in %s are whole", len(all), d.Layout.Releases())
	}
}

// game returns the directories that the installation is made of, topmost first.
func (d *Doctor) game() ([]string, error) {
	names, err := chain.Expand(d.Layout, []string{instance.InstallationLayer})
	for i, name := range names {
		names[i] = filepath.Join(d.Layout.Root(), name)
	}
	return names, err
}

// find returns where name is in the first of dirs that has it, or else in the
// last. What a whole directory hides is not considered.
func find(dirs []string, name string) string {
	for _, dir := range dirs {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return filepath.Join(dirs[len(dirs)-1], name)
}
