// Package archive writes and reads what a backup of an instance is: a tar of
// its spec and its upper directory, and nothing else.
//
// The first entry is instance.yaml, then comes "upper" and all that is in it,
// each directory before its contents. Deleted files are character devices 0:0,
// opaque directories carry the extended attribute trusted.overlay.opaque, as
// overlayfs has them itself and as GNU tar writes them with --xattrs; no other
// attribute is kept, nor access control lists. Owners go by name for root and
// the game's user, whose number differs from host to host. What has no meaning
// on disk, sockets and FIFOs, is left out.
//
// Upper belongs to the game's user, and a file to restore to whoever made it:
// both are read with distrust, see [Reader.Unpack].
package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
)

// The names in the archive, and what its first entry says of it.
const (
	specName  = instance.SpecFile
	upperName = "upper"

	formatRecord = "L4D2.backup"
	format       = "1"
	nameRecord   = "L4D2.instance"
	opaqueRecord = "SCHILY.xattr." + layers.OpaqueAttribute
)

// Owner is the game's user, or -1 where there is none.
type Owner struct{ UID, GID int }

// Backup is what goes into an archive.
type Backup struct {
	Name  instance.Name
	Spec  []byte
	At    time.Time
	Upper *layers.Layer // nil for an instance without state
	Owner Owner
	// Live says that a server goes on writing: what changes under the reader's
	// hands is no error then.
	Live bool
	// Remark is told what is left out, or may be torn, and why.
	Remark func(path, why string)
	// Progress is told how many more bytes have been read; it may be nil.
	Progress func(n int)
}

// Write writes the archive to w.
func Write(ctx context.Context, w io.Writer, b Backup) error {
	p := packer{Backup: b, ctx: ctx, tar: tar.NewWriter(w), links: map[inode]string{}}
	err := p.tar.WriteHeader(&tar.Header{
		Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: specName, Mode: 0o640, Uname: "root", Gname: instance.User,
		Size: int64(len(b.Spec)), ModTime: b.At,
		PAXRecords: map[string]string{formatRecord: format, nameRecord: string(b.Name)},
	})
	if err != nil {
		return err
	}
	if _, err := p.tar.Write(b.Spec); err != nil {
		return err
	}
	if b.Upper != nil {
		if p.room, err = capacity(b.Upper.Dir); err != nil {
			return err
		}
		if err := p.entry("."); err != nil {
			return err
		}
	}
	return p.tar.Close()
}

// Measure adds up the bytes that Write will read.
func Measure(ctx context.Context, l *layers.Layer) (int64, error) {
	sum := int64(0)
	if l == nil {
		return 0, nil
	}
	var walk func(name string) error
	walk = func(name string) error {
		e, err := l.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.Type != layers.Directory {
			sum += e.Size
			return err
		}
		names, err := l.Names(name)
		for _, child := range names {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = walk(path.Join(name, child))
			}
		}
		return err
	}
	return sum, walk(".")
}

// capacity is the size of the file system that fd is on. Files that claim more
// are holes, made to keep whoever reads them busy for days.
func capacity(fd int) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return int64(st.Blocks) * st.Bsize, nil
}

type inode struct{ dev, ino uint64 }

type packer struct {
	Backup
	ctx   context.Context
	tar   *tar.Writer
	links map[inode]string // where a file with several names is in the archive
	room  int64            // bytes that files may still claim
}

// entry writes what is at name in upper, and all below it.
func (p *packer) entry(name string) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	e, err := p.Upper.Stat(name)
	if errors.Is(err, fs.ErrNotExist) && p.Live {
		return nil
	}
	if err != nil {
		return err
	}
	switch e.Type {
	case layers.File:
		return p.file(name)
	case layers.Directory:
		return p.directory(name, e)
	case layers.Symlink:
		h := p.header(name, e, tar.TypeSymlink)
		if h.Linkname, err = p.Upper.Readlink(name); err != nil {
			return p.gone(name, err)
		}
		return p.tar.WriteHeader(h)
	case layers.Whiteout:
		return p.tar.WriteHeader(p.header(name, e, tar.TypeChar))
	}
	p.Remark(name, "left out: it is a "+string(e.Type))
	return nil
}

func (p *packer) header(name string, e layers.Entry, kind byte) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Typeflag: kind, Name: path.Join(upperName, name), Mode: int64(e.Mode),
		Uid: int(e.UID), Gid: int(e.GID), ModTime: e.Modified,
	}
	switch {
	case h.Uid == 0:
		h.Uname = "root"
	case h.Uid == p.Owner.UID:
		h.Uname = instance.User
	}
	switch {
	case h.Gid == 0:
		h.Gname = "root"
	case h.Gid == p.Owner.GID:
		h.Gname = instance.User
	}
	return h
}

func (p *packer) directory(name string, e layers.Entry) error {
	names, err := p.Upper.Names(name)
	if err != nil {
		return err
	}
	h := p.header(name, e, tar.TypeDir)
	h.Name += "/"
	if e.Opaque && name != "." { // at the root it means nothing
		h.PAXRecords = map[string]string{opaqueRecord: "y"}
	}
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	for _, child := range names {
		if err := p.entry(path.Join(name, child)); err != nil {
			return err
		}
	}
	return nil
}

// gone makes an error of something that vanished, unless a server may do that.
func (p *packer) gone(name string, err error) error {
	if !p.Live {
		return err
	}
	p.Remark(name, "left out: it was replaced meanwhile")
	return nil
}

func (p *packer) file(name string) error {
	f, e, err := p.Upper.Open(name)
	if err != nil {
		return p.gone(name, err)
	}
	defer f.Close()
	h := p.header(name, e, tar.TypeReg)
	id := inode{e.Dev, e.Ino}
	if first := p.links[id]; first != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, first
		return p.tar.WriteHeader(h)
	}
	if e.Links > 1 {
		p.links[id] = h.Name
	}
	if p.room -= e.Size; p.room < 0 {
		return fmt.Errorf("%q claims %d bytes: that and the files before are more than the disk holds", name, e.Size)
	}
	h.Size = e.Size
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := copyContext(p.ctx, p.tar, io.LimitReader(f, e.Size), p.Progress)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	now, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if n == e.Size && now.Size() == e.Size && now.ModTime().Equal(e.Modified) {
		return nil
	}
	if !p.Live {
		return fmt.Errorf("%q changed while it was read: something still writes to it", name)
	}
	p.Remark(name, "changed while it was read")
	_, err = copyContext(p.ctx, p.tar, io.LimitReader(zeros{}, e.Size-n), nil)
	return err
}

// zeros stands for what was cut off.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// copyContext is io.Copy that ends with ctx and counts.
func copyContext(ctx context.Context, w io.Writer, r io.Reader, progress func(int)) (int64, error) {
	buf := make([]byte, 256<<10)
	for done := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return done, err
			}
			done += int64(n)
			if progress != nil {
				progress(n)
			}
		}
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
	}
}
