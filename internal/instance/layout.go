package instance

import (
	"fmt"
	"path/filepath"
)

// DefaultRoot is where everything lies unless L4D2_ROOT or --root says
// otherwise.
const DefaultRoot = "/var/lib/l4d2"

// RootVariable is the environment variable that moves the root.
const RootVariable = "L4D2_ROOT"

// Layout knows the path of everything under one root. The zero value is not
// usable; make one with NewLayout.
type Layout struct{ root string }

// NewLayout returns the layout under root, an absolute path; an empty root
// means DefaultRoot.
func NewLayout(root string) (Layout, error) {
	if root == "" {
		root = DefaultRoot
	}
	if !filepath.IsAbs(root) {
		return Layout{}, fmt.Errorf("root %q: not an absolute path", root)
	}
	return Layout{filepath.Clean(root)}, nil
}

// Root is the directory that holds all the others.
func (l Layout) Root() string { return l.root }

// Installation is the game, the lowest layer of every instance that is not
// pinned to a release: a directory as steamcmd leaves it, a symbolic link to one,
// or the link that says which release is current (package chain).
func (l Layout) Installation() string { return filepath.Join(l.root, InstallationLayer) }

// Releases is the directory of the game's releases, root's alone to write.
func (l Layout) Releases() string { return filepath.Join(l.root, ReleasesDir) }

// Release is the directory of release n; owned by root.
func (l Layout) Release(n Name) string { return filepath.Join(l.Releases(), string(n)) }

// ReleaseFile is what is known of release n (package chain).
func (l Layout) ReleaseFile(n Name) string { return filepath.Join(l.Release(n), ReleaseFile) }

// ReleaseTree is what release n changed over those below it: a tree over the
// game's root, owned by the game's user.
func (l Layout) ReleaseTree(n Name) string { return filepath.Join(l.Release(n), ReleaseTreeDir) }

// Staging is the directory of the release that an update is making: it has the
// files of one, besides what the update needs.
func (l Layout) Staging() string { return filepath.Join(l.Releases(), StagingDir) }

// ReleasesLock is the file whose lock keeps what a start is about to mount from
// being removed: the helper shares it, whoever removes releases has it alone.
func (l Layout) ReleasesLock() string { return filepath.Join(l.Releases(), ".lock") }

// ReleasesChange is the file whose lock lets one process at a time change the
// releases.
func (l Layout) ReleasesChange() string { return filepath.Join(l.Releases(), ".change") }

// Steam is the home of steamcmd, which downloads the game; it is the game's
// user's.
func (l Layout) Steam() string { return filepath.Join(l.root, "steam") }

// Overlays is the directory of the layers.
func (l Layout) Overlays() string { return filepath.Join(l.root, OverlaysDir) }

// Overlay is the layer called n: a tree over the game's root.
func (l Layout) Overlay(n Name) string { return filepath.Join(l.Overlays(), string(n)) }

// Instances is the directory of what the operator decided.
func (l Layout) Instances() string { return filepath.Join(l.root, "instances") }

// Instance is the directory of one instance's spec and generated files, owned
// by root.
func (l Layout) Instance(n Name) string { return filepath.Join(l.Instances(), string(n)) }

// Spec is the instance's instance.yaml.
func (l Layout) Spec(n Name) string { return filepath.Join(l.Instance(n), SpecFile) }

// Env is the instance's generated instance.env.
func (l Layout) Env(n Name) string { return filepath.Join(l.Instance(n), EnvFile) }

// ServerConfig is the instance's generated server.cfg.
func (l Layout) ServerConfig(n Name) string { return filepath.Join(l.Instance(n), ServerConfigFile) }

// Backups is the directory of the backups, root's alone.
func (l Layout) Backups() string { return filepath.Join(l.root, "backups") }

// RuntimeDir is the parent of every Runtime directory.
func (l Layout) RuntimeDir() string { return filepath.Join(l.root, "runtime") }

// Runtime is the directory of what the instance has become; owned by root.
func (l Layout) Runtime(n Name) string { return filepath.Join(l.RuntimeDir(), string(n)) }

// Upper is the instance's own state: the overlay's upper directory, owned by
// the game's user.
func (l Layout) Upper(n Name) string { return filepath.Join(l.Runtime(n), "upper") }

// Work is the overlay's work directory, owned by root.
func (l Layout) Work(n Name) string { return filepath.Join(l.Runtime(n), "work") }

// Merged is the mount point.
func (l Layout) Merged(n Name) string { return filepath.Join(l.Runtime(n), "merged") }

// Started is what the helper wrote down when it mounted the instance (package
// record).
func (l Layout) Started(n Name) string { return filepath.Join(l.Runtime(n), StartedFile) }

// Ended is what the helper wrote down when the instance last ended.
func (l Layout) Ended(n Name) string { return filepath.Join(l.Runtime(n), EndedFile) }

// Lock is the file whose lock serialises everything that mounts, unmounts or
// removes the instance. Only root can open it.
func (l Layout) Lock(n Name) string { return filepath.Join(l.Runtime(n), "lock") }

// The names of the files in an instance's directory and in a release's, and of
// the places that L4D2_LOWERDIRS can name.
const (
	SpecFile         = "instance.yaml"
	EnvFile          = "instance.env"
	ServerConfigFile = "server.cfg"

	// In the instance's runtime directory.
	StartedFile = "started"
	EndedFile   = "ended"

	ReleaseFile    = "release.env"
	ReleaseTreeDir = "tree"
	StagingDir     = ".staging" // in the directory of the releases

	InstallationLayer = "installation"
	OverlaysDir       = "overlays"
	ReleasesDir       = "releases"
)

// User is the system user, and group, that the game runs as.
const User = "l4d2"
