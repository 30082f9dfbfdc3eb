package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
)

// Bounds of what is taken from an archive. The game and all known mods are far
// below them; they are for those who want to fill the disk.
const (
	maxFiles     = 500_000
	maxPath      = 1024
	maxComponent = 255
	maxDepth     = 48 // package beneath walks 64 deep
	// An archive may unpack to some hundred times its size: text does to ten or
	// twenty, zeros without end do to a thousand or a million.
	freeOfRatio = 256 << 20
	maxRatio    = 200
	// reserve is what is left free on the disk, in bytes.
	reserve = 256 << 20
	// block is what each file and directory takes on the disk at the least, in
	// bytes: a block, or its inode.
	block = 4096
)

var errNoRoom = advice.With(errors.New("the disk has no room for it"), "make room on the file system of the layers")

// sink makes the files of an archive in a directory that nobody else can
// reach. It takes regular files, directories and links that stay inside, and
// gives them owners and modes of its own: what else an archive says of them
// (set-user-ID, owners, extended attributes) it never sees.
type sink struct {
	ctx    context.Context
	dir    int
	owner  activation.Owner
	packed int64 // size of the archive in bytes, 0 if there is none
	room   int64 // bytes that may be written
	used   int64 // of these

	Files int
	Bytes int64
	seen  map[string]claimed // by the path in lower case
	up    map[string]int     // of each link that begins so, how many ".."
}

type claimed struct {
	path string
	dir  bool
}

func newSink(ctx context.Context, dir int, owner activation.Owner, packed int64) (*sink, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir, &fs); err != nil {
		return nil, fmt.Errorf("statfs: %w", err)
	}
	room := int64(fs.Bavail)*fs.Bsize - reserve
	return &sink{ctx: ctx, dir: dir, owner: owner, packed: packed, room: room, seen: map[string]claimed{}, up: map[string]int{}}, nil
}

// refuse is the error about one entry; its name is anyone's text.
func refuse(name, format string, args ...any) error {
	return fmt.Errorf("%s: %s", strconv.Quote(name), fmt.Sprintf(format, args...))
}

// clean returns the path that an entry's name means, or why it is refused.
func clean(name string) (string, error) {
	switch {
	case !utf8.ValidString(name):
		return "", refuse(name, "the name is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return "", refuse(name, "the name holds a control character")
	case strings.Contains(name, `\`):
		return "", refuse(name, "the name holds a backslash")
	case strings.HasPrefix(name, "/"):
		return "", refuse(name, "the path is absolute")
	case len(name) > maxPath:
		return "", refuse(name[:64]+"…", "the path is longer than %d bytes", maxPath)
	}
	if len(name) > 1 && name[1] == ':' && unicode.IsLetter(rune(name[0])) {
		return "", refuse(name, "the path begins with a drive")
	}
	parts := strings.Split(name, "/")
	for _, p := range parts {
		if p == ".." {
			return "", refuse(name, `the path holds ".."`)
		}
		if len(p) > maxComponent {
			return "", refuse(name[:64]+"…", "a name in it is longer than %d bytes", maxComponent)
		}
	}
	p := path.Clean(name)
	if strings.Count(p, "/") >= maxDepth {
		return "", refuse(name, "nested deeper than %d directories", maxDepth)
	}
	// The name is a part of the entry's PAX header, which may be 1 MiB long and
	// would be kept with it.
	return strings.Clone(p), nil
}

// claim takes the path for one entry, and those of its parents for
// directories. The game looks files up without regard to case, so two names
// that differ in nothing else would be one file to some and two to others.
func (s *sink) claim(p string, dir bool) error {
	// An archive of directories and links alone comes by here and nowhere else.
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if s.Files++; s.Files > maxFiles {
		return fmt.Errorf("more than %d files", maxFiles)
	}
	for up := path.Dir(p); up != "."; up = path.Dir(up) {
		if err := s.take(up, true); err != nil {
			return err
		}
	}
	return s.take(p, dir)
}

func (s *sink) take(p string, dir bool) error {
	key := strings.ToLower(p)
	before, taken := s.seen[key]
	switch {
	case !taken:
		// Parents count as well: one file can have dozens that nothing else names.
		if len(s.seen) == maxFiles {
			return fmt.Errorf("more than %d files and directories", maxFiles)
		}
		if s.used += block; s.used > s.room {
			return errNoRoom
		}
		s.seen[key] = claimed{p, dir}
	case before.path != p:
		return refuse(p, "%s is there too, and differs in upper and lower case alone", strconv.Quote(before.path))
	case !dir || !before.dir:
		return refuse(p, "it is there twice")
	}
	return nil
}

// below opens the directory p, which is made with its parents if missing.
func (s *sink) below(p string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(s.dir, p, &how)
	if !errors.Is(err, unix.ENOENT) {
		return fd, explain(p, err)
	}
	parent, err := s.below(path.Dir(p))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	if err := unix.Mkdirat(parent, path.Base(p), 0o700); err != nil {
		return -1, explain(p, err)
	}
	if fd, err = unix.Openat2(parent, path.Base(p), &how); err != nil {
		return -1, explain(p, err)
	}
	if err := s.own(fd, 0o755); err != nil {
		unix.Close(fd)
		return -1, explain(p, err)
	}
	return fd, nil
}

func (s *sink) own(fd int, mode uint32) error {
	if err := unix.Fchown(fd, s.owner.UID, s.owner.GID); err != nil {
		return err
	}
	return unix.Fchmod(fd, mode)
}

func explain(p string, err error) error {
	if errors.Is(err, unix.ELOOP) {
		return refuse(p, "its path leads through a symbolic link")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(p), err)
	}
	return nil
}

// Directory makes a directory.
func (s *sink) Directory(name string) error {
	p, err := clean(name)
	if err != nil || p == "." {
		return err
	}
	if err := s.claim(p, true); err != nil {
		return err
	}
	fd, err := s.below(p)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// File makes a regular file.
func (s *sink) File(name string, executable bool, r io.Reader) error {
	p, err := s.entry(name)
	if err != nil {
		return err
	}
	dir, err := s.below(path.Dir(p))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, path.Base(p), unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return explain(p, err)
	}
	defer unix.Close(fd)
	if _, err := io.CopyBuffer(writer{s, fd}, onlyReader{r}, make([]byte, 256<<10)); err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(p), err)
	}
	mode := uint32(0o644)
	if executable {
		mode = 0o755
	}
	return explain(p, s.own(fd, mode))
}

// entry is for what has to be named: a file or a link.
func (s *sink) entry(name string) (string, error) {
	p, err := clean(name)
	if err != nil {
		return "", err
	}
	if p == "." || strings.HasSuffix(name, "/") {
		return "", refuse(name, "not the name of a file")
	}
	return p, s.claim(p, false)
}

// Link makes a symbolic link. Where it leads from its own directory, which is a
// real one, it must stay inside; ".." is taken in front alone, since behind a
// name that is a link itself it leads elsewhere than it reads.
func (s *sink) Link(name, target string) error {
	p, err := s.entry(name)
	if err != nil {
		return err
	}
	up, down := 0, false
	for _, part := range strings.Split(target, "/") {
		if part == ".." && down {
			return refuse(name, "a symbolic link with .. inside its path: %s", strconv.Quote(target))
		}
		if part == ".." {
			up++
		} else if part != "." && part != "" {
			down = true
		}
	}
	if target == "" || strings.HasPrefix(target, "/") || up > strings.Count(p, "/") || len(target) > maxPath {
		return refuse(name, "a symbolic link that leaves the layer: %s", strconv.Quote(target))
	}
	if up > 0 {
		s.up[p] = up
	}
	dir, err := s.below(path.Dir(p))
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Symlinkat(target, dir, path.Base(p)); err != nil {
		return explain(p, err)
	}
	return explain(p, unix.Fchownat(dir, path.Base(p), s.owner.UID, s.owner.GID, unix.AT_SYMLINK_NOFOLLOW))
}

// leaving returns an error if a link stays in the archive but leaves dir, which
// is all of it that is taken.
func (s *sink) leaving(dir string) error {
	for p, up := range s.up {
		if inside, ok := strings.CutPrefix(p, dir+"/"); ok && up > strings.Count(inside, "/") {
			return refuse(p, "a symbolic link that leaves the layer, whose contents are those of %s", strconv.Quote(dir))
		}
	}
	return nil
}

// onlyReader hides WriteTo, which would go past the bounds of writer's chunks.
type onlyReader struct{ io.Reader }

// writer counts what is written to one file.
type writer struct {
	s  *sink
	fd int
}

func (w writer) Write(data []byte) (int, error) {
	s := w.s
	if err := s.ctx.Err(); err != nil {
		return 0, fmt.Errorf("interrupted: %w", err)
	}
	s.Bytes += int64(len(data))
	if s.used += int64(len(data)); s.used > s.room {
		return 0, errNoRoom
	}
	if s.packed > 0 && s.Bytes > freeOfRatio && s.Bytes/maxRatio > s.packed {
		return 0, fmt.Errorf("it unpacks to more than %d times its size: it is made to fill the disk", maxRatio)
	}
	for n := 0; n < len(data); {
		m, err := unix.Write(w.fd, data[n:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return n, err
		}
		n += max(m, 0)
	}
	return len(data), nil
}
