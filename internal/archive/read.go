package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
)

// Reader reads an archive.
type Reader struct {
	Name instance.Name // whose backup it is
	Spec []byte
	At   time.Time // when it was made

	source io.Reader
	tar    *tar.Reader
}

// ErrNoBackup says that a file is no backup of an instance.
var ErrNoBackup = errors.New("not a backup of an instance")

// Open reads the head of an archive. The spec is as it was written there:
// whoever applies it checks it.
func Open(r io.Reader) (*Reader, error) {
	a := &Reader{source: r, tar: tar.NewReader(r)}
	h, err := a.tar.Next()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	switch {
	case h.Name != specName || h.Typeflag != tar.TypeReg || h.PAXRecords[formatRecord] == "":
		return nil, ErrNoBackup
	case h.PAXRecords[formatRecord] != format:
		return nil, errors.New("a backup of a newer version of l4d2-host")
	case h.Size > spec.MaxFile:
		return nil, fmt.Errorf("%w: its spec is too long", ErrNoBackup)
	}
	if a.Name, err = instance.ParseName(h.PAXRecords[nameRecord]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBackup, err)
	}
	if a.Spec, err = io.ReadAll(a.tar); err != nil {
		return nil, err
	}
	a.At = h.ModTime
	return a, nil
}

// maxTail, in bytes, is what may follow the end mark: tar fills up a block.
const maxTail = 1 << 20

// Unpack makes the upper directory in dir, which is empty and nobody's but
// root's until Unpack is done: then it has the owner and mode of the archived
// one. An error leaves dir as it got, to be removed.
//
// The archive can be anyone's, so it is held to what Write writes. Refused are
// names that are absolute, lead out, come twice or lie in anything but an
// archived directory; hard links to anything but an archived file; devices but
// whiteouts; FIFOs; every extended attribute but the one for opaque directories
// (a redirect or metacopy could show the game files that it may not see);
// sparse files; and more than the disk holds. Set-user-ID and set-group-ID
// bits of files are dropped. Where symbolic links lead is no matter: the game's
// user can make any, and nothing of ours follows them.
func (a *Reader) Unpack(ctx context.Context, dir int, owner Owner) error {
	u := &unpacker{ctx: ctx, root: dir, owner: owner, parent: -1}
	defer u.close()
	var err error
	if u.room, err = capacity(dir); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := a.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := u.entry(h, a.tar); err != nil {
			return err
		}
	}
	// To the end, where the checksum is.
	tail, err := io.Copy(io.Discard, io.LimitReader(a.source, maxTail+1))
	if err != nil {
		return err
	}
	if tail > maxTail {
		return errors.New("something follows the end of the archive")
	}
	return u.finish()
}

// known are the PAX records that every entry may have: archive/tar has read
// them into the header. Others could ask for what Unpack does not know of.
var known = map[string]bool{
	"path": true, "linkpath": true, "size": true, "uid": true, "gid": true,
	"uname": true, "gname": true, "mtime": true,
}

// maxID is what the kernel takes for "no owner", and numbers from there on.
const maxID = 1<<32 - 1

// check returns the path of an entry relative to upper, and whether the
// directory is opaque.
func check(h *tar.Header) (name string, opaque bool, err error) {
	full := h.Name
	if h.Typeflag == tar.TypeDir {
		full = strings.TrimSuffix(full, "/")
	}
	name, below := strings.CutPrefix(full, upperName+"/")
	if full == upperName && h.Typeflag == tar.TypeDir {
		name, below = ".", true
	}
	if !below || path.Clean(name) != name || path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsRune(name, 0) {
		return "", false, errors.New("not a name below " + upperName + "/")
	}
	for key, value := range h.PAXRecords {
		switch {
		case key == opaqueRecord && h.Typeflag == tar.TypeDir && value == "y" && name != ".":
			opaque = true
		case !known[key]:
			return "", false, fmt.Errorf("a record %q of which nothing is known here", key)
		}
	}
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= maxID || h.Gid >= maxID {
		return "", false, errors.New("an owner that nobody can have")
	}
	if h.Size < 0 || h.Size > 0 && h.Typeflag != tar.TypeReg {
		return "", false, errors.New("a size that it cannot have")
	}
	return name, opaque, nil
}
