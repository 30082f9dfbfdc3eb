package layers

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// Stale is a regular file of an upper layer in the place of one that a lower
// layer got after it.
type Stale struct {
	Path string
	// Reset is what has to go from the upper layer for the newer one to show:
	// Path, or a directory above it that the upper layer has replaced as a whole.
	Reset        string
	Upper, Newer Found
	// When both were made where they are.
	UpperBorn, NewerBorn time.Time
}

// ErrLimit says that a search ended before all was looked at.
var ErrLimit = errors.New("there is too much to look at")

// Newer calls f for each regular file of the layer upper that stands where
// lowers show a regular file which was made later, in no order. It looks at no
// more than limit names, unless that is 0, and then returns ErrLimit: whoever
// writes to upper decides how much is there.
func Newer(ctx context.Context, upper *Layer, lowers View, limit int, f func(Stale) error) error {
	root, err := lowers.Root()
	if err != nil {
		return err
	}
	s := search{ctx, upper, lowers, limit, 0, f}
	return s.directory(root, "")
}

type search struct {
	ctx           context.Context
	upper         *Layer
	lowers        View
	limit, looked int
	report        func(Stale) error
}

// directory looks at what upper has in the place of a directory of lowers;
// replaced is the topmost directory above it, or itself, that is opaque.
func (s *search) directory(beneath Node, replaced string) error {
	return s.upper.eachName(beneath.Path, func(name string) error {
		if s.looked++; s.limit > 0 && s.looked > s.limit {
			return ErrLimit
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		e, err := s.upper.Stat(path.Join(beneath.Path, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		if err != nil {
			return err
		}
		if e.Type != File && e.Type != Directory {
			return nil
		}
		n, err := s.lowers.Child(beneath, name)
		if err != nil || n.Top() == nil || n.Top().Type != e.Type {
			return err
		}
		if e.Type == File {
			return s.file(n, Found{s.upper, e}, replaced)
		}
		if e.Opaque && replaced == "" {
			return s.directory(n, n.Path)
		}
		return s.directory(n, replaced)
	})
}

func (s *search) file(beneath Node, upper Found, replaced string) error {
	ours, err := upper.Layer.born(beneath.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	lower := *beneath.Top()
	theirs, err := lower.Layer.born(beneath.Path)
	if err != nil || !theirs.After(ours) {
		return err
	}
	if replaced == "" {
		replaced = beneath.Path
	}
	return s.report(Stale{beneath.Path, replaced, upper, lower, ours, theirs})
}

// born returns when the file at name was made in this layer: a copy, when it
// was copied. Where the file system does not keep that, it is when the file was
// last changed in any way, which is later.
func (l *Layer) born(name string) (time.Time, error) {
	fd, err := l.open(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		if absent(err) {
			err = fs.ErrNotExist
		}
		return time.Time{}, l.fail("look up", name, err)
	}
	defer unix.Close(fd)
	born, err := Born(fd)
	if err != nil {
		return time.Time{}, l.fail("look at", name, err)
	}
	return born, nil
}

// Born returns when what is open as fd was made, or last changed where the file
// system does not keep that.
func Born(fd int) (time.Time, error) {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME|unix.STATX_CTIME, &st)
	if err != nil {
		return time.Time{}, os.NewSyscallError("statx", err)
	}
	at := st.Btime
	if st.Mask&unix.STATX_BTIME == 0 || at.Sec == 0 && at.Nsec == 0 {
		at = st.Ctime
	}
	return time.Unix(at.Sec, int64(at.Nsec)), nil
}

// eachName calls f for what the layer has in the directory name, in no order and
// without reading all names before; nothing if it is no directory.
func (l *Layer) eachName(name string, f func(string) error) error {
	fd, err := l.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		if absent(err) {
			return nil
		}
		return l.fail("open", name, err)
	}
	dir := os.NewFile(uintptr(fd), unnamed)
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return l.fail("list", name, err)
		}
		for _, n := range names {
			if err := f(n); err != nil {
				return err
			}
		}
	}
}
