package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/instance"
)

// Remove removes layer n with all its versions. The error is ErrUsed, and
// nothing is removed, while an instance names it or is mounted with a version
// of it, or another layer is a link to it; ErrUnknown where there is none.
func (c *Catalog) Remove(n instance.Name) error {
	return c.change(n, func(ch *change) error {
		numbers, err := ch.versions(n)
		if err != nil {
			return err
		}
		if !ch.exists && len(numbers) == 0 {
			return ErrUnknown
		}
		if err := ch.checkUnused(numbers); err != nil {
			return err
		}
		if ch.exists {
			// One rename, and no instance can be made or started with it.
			if err := unix.Renameat2(ch.dir, string(n), ch.dir, hidden(n, "deleted"), unix.RENAME_NOREPLACE); err != nil {
				return &os.LinkError{Op: "rename", Old: string(n), New: hidden(n, "deleted"), Err: err}
			}
		}
		for _, number := range numbers {
			if err := beneath.RemoveAll(ch.dir, version(n, number)); err != nil {
				return fmt.Errorf("%s: %w", ch.Layout.Overlays(), err)
			}
		}
		return nil
	})
}

func (ch *change) checkUnused(numbers []int) error {
	users, err := ch.Users(ch.name)
	if err != nil {
		return err
	}
	if len(users) > 0 {
		return advice.With(fmt.Errorf("%w: named by %s", ErrUsed, join(users)), "take it out of their specs first: l4d2ctl edit "+string(users[0]))
	}
	links, err := ch.links()
	if err != nil {
		return err
	}
	if len(links) > 0 {
		return advice.With(fmt.Errorf("%w: %s is a link to it", ErrUsed, join(links)), "remove that layer first")
	}
	var names []string
	for _, number := range numbers {
		names = append(names, version(ch.name, number))
	}
	if ch.exists {
		names = append(names, string(ch.name))
	}
	for _, name := range names {
		fd, err := unix.Openat(ch.dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // a link to nothing: nobody can be mounted with it
		}
		running, err := ch.runningWith(fd)
		unix.Close(fd)
		if err != nil {
			return err
		}
		if len(running) > 0 {
			return advice.With(fmt.Errorf("%w: %s is running with it", ErrUsed, join(running)), "stop it first: l4d2ctl stop "+string(running[0]))
		}
	}
	return nil
}

// links returns the layers that are links to this one.
func (ch *change) links() ([]instance.Name, error) {
	names, err := ch.Names()
	if err != nil {
		return nil, err
	}
	var links []instance.Name
	for _, n := range names {
		target, err := os.Readlink(filepath.Join(ch.Layout.Overlays(), string(n)))
		if err == nil && n != ch.name && (filepath.Clean(target) == string(ch.name) || strings.HasPrefix(target, hidden(ch.name, "v"))) {
			links = append(links, n)
		}
	}
	return links, nil
}

// targets is what the layers that are links lead to.
func (ch *change) targets() (map[string]bool, error) {
	names, err := ch.Names()
	if err != nil {
		return nil, err
	}
	targets := map[string]bool{}
	for _, n := range names {
		if target, err := os.Readlink(filepath.Join(ch.Layout.Overlays(), string(n))); err == nil {
			targets[filepath.Clean(target)] = true
		}
	}
	return targets, nil
}

func join(names []instance.Name) string {
	texts := make([]string, len(names))
	for i, n := range names {
		texts[i] = string(n)
	}
	return strings.Join(texts, ", ")
}

// LeftOvers returns, each as an error with advice, what interrupted commands
// have left in overlays/.
func (c *Catalog) LeftOvers() ([]error, error) {
	entries, err := os.ReadDir(c.Layout.Overlays())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var found []error
	for _, e := range entries {
		rest, dot := strings.CutPrefix(e.Name(), ".")
		for _, suffix := range []string{".new", ".link", ".deleted"} {
			n, ok := strings.CutSuffix(rest, suffix)
			if _, bad := instance.ParseName(n); dot && ok && bad == nil {
				found = append(found, advice.With(fmt.Errorf("%s: an interrupted command has left it", filepath.Join(c.Layout.Overlays(), e.Name())),
					"the next l4d2ctl layer add or update "+n+" clears it away"))
			}
		}
	}
	return found, err
}
