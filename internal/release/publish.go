package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/beneath"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/tree"
)

// Info is what is known of a release that is about to be.
type Info struct {
	Build string    // Steam's build id; if it is "", what the tree says, or that of the release below
	Date  time.Time // when it was made: its name comes from the day
}

// nextFile is in a release that is to be current and perhaps is not yet: it holds
// the name of the release that was current until then, or nothing. One that is
// made to lie beside the current one never has it.
const nextFile = ".next"

// Publish makes a release of the directory called staging in releases/, whose
// tree/ is finished, and switches to it. base is the chain that the tree lies
// over, topmost first: the chain of a release, or nothing for a tree that is
// whole by itself. The directory gets the release's name in one rename, and then
// loses all that is in it besides the tree; a crash before leaves it as it was,
// one after it leaves a whole release, which the next Begin switches to.
func (ch *Change) Publish(ctx context.Context, staging string, base []instance.Name, info Info) (instance.Name, error) {
	n, err := ch.newName(info.Date)
	if err != nil {
		return "", err
	}
	if err := ch.complete(base); err != nil {
		return "", err
	}
	err = ch.mark(staging)
	if err == nil {
		err = ch.publish(ctx, staging, n, base, info)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(ch.Layout.Releases(), staging), err)
	}
	return n, ch.finish(n)
}

// publish describes the finished tree in staging, and names it.
func (ch *Change) publish(ctx context.Context, staging string, n instance.Name, base []instance.Name, info Info) error {
	dir, err := beneath.OpenDir(ch.dir, staging)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := notMounted(dir); err != nil {
		return err
	}
	// In a release of an operator's elsewhere it is a link, and root's.
	fd, err := unix.Openat(dir, instance.ReleaseTreeDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: instance.ReleaseTreeDir, Err: err}
	}
	defer unix.Close(fd)
	if err := ch.write(ctx, dir, fd, n, base, info); err != nil {
		return err
	}
	return ch.give(dir, staging, n)
}

// mark makes what is in the directory staging the next to be current, once it has
// a name.
func (ch *Change) mark(staging string) error {
	current, err := chain.Current(ch.Layout)
	if err != nil {
		return err
	}
	dir, err := beneath.OpenDir(ch.dir, staging)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	return beneath.WriteFile(dir, nextFile, beneath.File{Data: []byte(current), Mode: 0o600})
}

// give gives the directory staging, open as dir, the name of release n.
func (ch *Change) give(dir int, staging string, n instance.Name) error {
	if err := ch.own(ch.dir, staging); err != nil {
		return err
	}
	// Before it has a name: after a power cut it is whole or not there.
	if err := unix.Syncfs(dir); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	ch.at("written")
	if err := unix.Renameat2(ch.dir, staging, ch.dir, string(n), unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: staging, New: string(n), Err: err}
	}
	ch.at("named")
	return ch.sync(ch.dir)
}

// write writes the release.env of the tree, which is open, into the directory dir.
func (ch *Change) write(ctx context.Context, dir, content int, n instance.Name, base []instance.Name, info Info) error {
	if info.Build == "" {
		info.Build = Build(content)
	}
	if info.Build == "" && len(base) > 0 {
		if below, err := ch.Read(base[0]); err == nil {
			info.Build = below.Build
		}
	}
	r := chain.Release{
		Chain: append([]instance.Name{n}, base...),
		Build: info.Build, Date: info.Date.UTC().Truncate(time.Second),
		Size: tree.DiskUse(ctx, content).Bytes, // of what can be seen
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(r.Chain) > instance.MaxLayers {
		return advice.With(fmt.Errorf("it lies over %d others, and the kernel allows at most %d layers", len(base), instance.MaxLayers),
			"fold them into one with: l4d2ctl flatten")
	}
	text, err := r.Format()
	if err != nil {
		return err
	}
	return beneath.WriteFile(dir, instance.ReleaseFile, beneath.File{Data: text, Mode: 0o644})
}

// notMounted makes sure that nothing is mounted on what is in the directory.
func notMounted(dir int) error {
	names, err := list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		mounted, err := isMount(dir, name)
		if err != nil {
			return err
		}
		if mounted {
			return fmt.Errorf("something is mounted at %s", strconv.Quote(name))
		}
	}
	return nil
}

// isMount reports whether something is mounted on name in dir.
func isMount(dir int, name string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(dir, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	if err != nil {
		return false, &beneath.Error{Op: "statx", Path: name, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// finish switches to a published release and clears it of what made it.
func (ch *Change) finish(n instance.Name) error {
	if err := ch.Use(n); err != nil {
		if now, _ := chain.Current(ch.Layout); now == n {
			return err
		}
		return fmt.Errorf("release %s is made, and not current: %w", n, err)
	}
	ch.at("current")
	if err := ch.clear(n); err != nil {
		return fmt.Errorf("release %s is current, but what made it is not cleared away: %w", n, err)
	}
	return nil
}

// clear removes from a release what is not part of it, the mark last.
func (ch *Change) clear(n instance.Name) error {
	dir, err := beneath.OpenDir(ch.dir, string(n))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	names, err := list(dir)
	if err != nil {
		return err
	}
	parts := []string{instance.ReleaseFile, instance.ReleaseTreeDir, nextFile}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(parts, name) })
	for _, name := range append(names, nextFile) {
		if err := beneath.RemoveAll(dir, name); err != nil {
			return fmt.Errorf("%s: %w", ch.Layout.Release(n), err)
		}
	}
	return nil
}

// newName returns a name for a release made at t: the UTC date, and from the
// second of a day on a number behind it.
func (ch *Change) newName(t time.Time) (instance.Name, error) {
	day := t.UTC().Format(time.DateOnly)
	// One that a chain names must not come back as something else.
	named := map[instance.Name]bool{}
	all, _ := ch.List() // without those that cannot be read, and so not used
	for _, r := range all {
		for _, m := range r.Chain {
			named[m] = true
		}
	}
	for i := 1; ; i++ {
		n := instance.Name(day)
		if i > 1 {
			n += instance.Name("." + strconv.Itoa(i))
		}
		taken := named[n]
		for _, name := range []string{string(n), hidden(n, "new"), hidden(n, "deleted")} {
			_, err := os.Lstat(filepath.Join(ch.Layout.Releases(), name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
			taken = taken || err == nil
		}
		if !taken {
			return n, nil
		}
	}
}

// number is the number behind the date in a name; 1 for the first of a day.
func number(n instance.Name) int {
	_, digits, _ := strings.Cut(string(n), ".")
	i, err := strconv.Atoi(digits)
	if err != nil {
		return 1
	}
	return i
}

// sync makes sure that the names in an open directory outlive a power cut.
func (ch *Change) sync(dir int) error {
	if err := unix.Fsync(dir); err != nil {
		return fmt.Errorf("the change is made, but may not outlive a power cut: %w", err)
	}
	return nil
}

// list returns the names in an open directory.
func list(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "")
	defer f.Close()
	return f.Readdirnames(-1)
}
