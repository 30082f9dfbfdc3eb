package staging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/release"
)

// Commit unmounts the finished tree and makes it the current release, or removes
// it when the update has changed nothing. It returns the new release's name, or
// "". After an error the tree is there for the next update to go on with.
func (s *Staging) Commit(ctx context.Context) (n instance.Name, err error) {
	defer func() { err = s.adviseDisk(err) }()
	change, err := s.change(ctx, commitWait)
	if err != nil {
		return "", err
	}
	defer change.End()
	dir, err := s.open()
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	base, err := s.readBase(dir)
	if err != nil {
		return "", err
	}
	now, err := Base(s.Layout)
	if err != nil {
		return "", err
	}
	if !slices.Equal(base, now) {
		return "", fmt.Errorf("the update lies over %s, but meanwhile %s was made current", title(base), title(now))
	}
	if err := s.unmount(dir); err != nil {
		return "", err
	}
	if exists(dir, mountedFile) {
		if err := s.unused(dir); err != nil {
			return "", err
		}
	}
	return s.publish(ctx, change, dir, base)
}

// publish does the rest once nobody writes to the tree any more.
func (s *Staging) publish(ctx context.Context, change *release.Change, dir int, base []instance.Name) (instance.Name, error) {
	lowers, err := s.openLowers(dir, base)
	if err != nil {
		return "", err
	}
	defer lowers.Close()
	upper, err := s.openUpper(dir)
	if err != nil {
		return "", err
	}
	defer upper.Close()
	all := append(layers.View{upper}, lowers...)
	if err := hasGame(all); err != nil {
		return "", err
	}
	build, err := release.BuildOf(all)
	if err != nil {
		s.Log.Warn("the build id is not known: %v", err)
	}
	before, _ := release.BuildOf(lowers)
	if build == before {
		what, err := changed(ctx, upper, lowers)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err != nil {
			// Of a tree that anyone's program has written; to keep it is safe.
			s.Log.Warn("whether the update has changed anything can't be told: %v", err)
			what = err.Error()
		}
		if what == "" {
			s.Log.Info("the game is up to date: %s, build %s", title(base), orUnknown(build))
			return "", s.remove()
		}
		s.Log.Info("the same build, but %q was put right", what)
	}
	n, err := change.Publish(ctx, instance.StagingDir, base, release.Info{Build: build, Date: time.Now()})
	if err != nil {
		return "", err
	}
	s.Log.Info("release %s is current: build %s, over %s", n, orUnknown(build), title(base))
	return n, nil
}

func orUnknown(build string) string {
	if build == "" {
		return "unknown"
	}
	return build
}

func (s *Staging) openUpper(dir int) (*layers.Layer, error) {
	fd, err := unix.Openat2(dir, upperDir, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: s.Layout.Staging() + "/" + upperDir, Err: err}
	}
	return &layers.Layer{Name: upperDir, Path: s.Layout.Staging() + "/" + upperDir, Dir: fd}, nil
}

// hasGame makes sure that a release can be started from. steamcmd makes no link.
func hasGame(view layers.View) error {
	game, err := view.Game()
	if err == nil && (game == nil || game.Type != layers.File) {
		err = fmt.Errorf("steamcmd says that it is done, but there is no game: it has no %s", layers.ServerBinary)
	}
	return err
}

// appsDir is where steamcmd keeps its own state in what it updates.
const appsDir = "steamapps"

// errEnough ends a comparison that has found what it looked for.
var errEnough = errors.New("enough is known")

// changed returns one path at which the game differs from what lowers show, or
// "". steamcmd writes in its own directory at each run, and the detour by the
// Windows version downloads again what is the same: neither makes a release.
func changed(ctx context.Context, upper *layers.Layer, lowers layers.View) (path string, err error) {
	err = layers.Changes(ctx, upper, lowers, func(c layers.Change) error {
		if significant(c) {
			path = c.Path
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return path, err
}

func significant(c layers.Change) bool {
	switch {
	case c.Kind == layers.Same, c.Path == appsDir, strings.HasPrefix(c.Path, appsDir+"/"):
		return false
	case c.Kind == layers.Deleted:
		return true
	case c.Upper.Type == layers.Directory:
		// Made anew, it differs by what is in it.
		old := c.Beneath
		return old != nil && (old.Type != layers.Directory || old.Mode != c.Upper.Mode)
	}
	return true
}

// readFile returns a small file of root's in the open directory dir.
func readFile(dir int, name string, limit int) ([]byte, error) {
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err == nil && len(data) > limit {
		err = fmt.Errorf("%s: longer than %d bytes", name, limit)
	}
	return data, err
}
