package layer

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/layers"
)

// Formats are known by their first bytes, whatever the file is called.
var magics = []struct {
	magic string
	tar   func(io.Reader) (io.Reader, error) // decompresses a tar
	read  func(*sink, *os.File) error        // anything else
}{
	{magic: "PK\x03\x04", read: readZip},
	{magic: "\x34\x12\xaa\x55", read: readVPK},
	{magic: "\x1f\x8b", tar: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{magic: "BZh", tar: func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{magic: "\xfd7zXZ\x00", tar: func(r io.Reader) (io.Reader, error) { return xz.NewReader(r) }},
	{magic: "\x28\xb5\x2f\xfd", tar: newZstd},
}

// zstdWindow bounds the decoder's memory: what zstd --ultra -22 --long makes.
const zstdWindow = 128 << 20

func newZstd(r io.Reader) (io.Reader, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// maxMagic is how much of a file is looked at: tar has its own at 257.
const (
	maxMagic = 512
	tarMagic = 257
)

var unsupported = map[string]string{"7z\xbc\xaf\x27\x1c": "7z", "Rar!\x1a\x07": "RAR"}

// readArchive puts what the file holds into s.
func readArchive(s *sink, f *os.File) error {
	head := make([]byte, maxMagic)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return err
	}
	head = head[:n]
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for _, m := range magics {
		if !bytes.HasPrefix(head, []byte(m.magic)) {
			continue
		}
		if m.read != nil {
			return m.read(s, f)
		}
		r, err := m.tar(bufio.NewReader(f))
		if err != nil {
			return err
		}
		return readTar(s, r)
	}
	if len(head) > tarMagic && bytes.HasPrefix(head[tarMagic:], []byte("ustar")) {
		return readTar(s, f)
	}
	hint := "a layer is made from a zip, a tar (plain, gzip, bzip2, xz or zstd), a .vpk or a directory"
	for magic, name := range unsupported {
		if bytes.HasPrefix(head, []byte(magic)) {
			return advice.With(fmt.Errorf("a %s archive, which cannot be read here", name), "unpack it yourself, and add the directory")
		}
	}
	return advice.With(errors.New("no archive of a known kind"), hint)
}

// endOfTar is the least that a whole tar ends with: blocks of zeros. A shorter
// end is that of a download that broke off.
const endOfTar = 512

// maxAfter is how much of a stream is read behind the end of the tar, for the
// checksum at its own end.
const maxAfter = 1 << 20

func readTar(s *sink, r io.Reader) error {
	end := &tail{Reader: r}
	t := tar.NewReader(end)
	for first := true; ; first = false {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			if end.zeros < endOfTar {
				return io.ErrUnexpectedEOF
			}
			_, err = io.CopyN(io.Discard, r, maxAfter)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if err != nil && first {
			return fmt.Errorf("no tar inside: %w", err)
		}
		if err != nil {
			return err
		}
		if err := putTarEntry(s, t, h); err != nil {
			return err
		}
	}
}

// tail counts the zeros at the end of what was read.
type tail struct {
	io.Reader
	zeros int
}

func (t *tail) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	kept := len(bytes.TrimRight(p[:n], "\x00"))
	if kept > 0 {
		t.zeros = 0
	}
	t.zeros += n - kept
	return n, err
}

func putTarEntry(s *sink, t *tar.Reader, h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeXGlobalHeader: // a comment, in what git archive makes
		return s.ctx.Err()
	case tar.TypeDir:
		return s.Directory(h.Name)
	case tar.TypeReg, tar.TypeGNUSparse:
		return s.File(h.Name, h.Mode&0o111 != 0, t)
	case tar.TypeSymlink:
		return s.Link(h.Name, h.Linkname)
	case tar.TypeLink:
		return refuse(h.Name, "a hard link")
	case tar.TypeChar, tar.TypeBlock:
		return refuse(h.Name, "a device")
	case tar.TypeFifo:
		return refuse(h.Name, "a FIFO")
	}
	return refuse(h.Name, "an entry of type %s", strconv.QuoteRune(rune(h.Typeflag)))
}

const zipEncrypted = 1 // general purpose bit 0 (APPNOTE 4.4.4)

func readZip(s *sink, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(f, info.Size())
	if err != nil {
		return err
	}
	for _, e := range z.File {
		if err := putZipEntry(s, e); err != nil {
			return err
		}
	}
	return nil
}

func putZipEntry(s *sink, e *zip.File) error {
	mode := e.Mode()
	switch {
	case e.Flags&zipEncrypted != 0:
		return refuse(e.Name, "encrypted")
	case strings.HasSuffix(e.Name, "/"):
		return s.Directory(e.Name)
	case mode&fs.ModeSymlink != 0:
		return putZipLink(s, e)
	case !mode.IsRegular():
		return refuse(e.Name, "neither a file nor a directory (%v)", mode)
	}
	r, err := e.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(e.Name), err)
	}
	defer r.Close()
	return s.File(e.Name, mode.Perm()&0o111 != 0, r)
}

func putZipLink(s *sink, e *zip.File) error {
	r, err := e.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(e.Name), err)
	}
	defer r.Close()
	target, err := io.ReadAll(io.LimitReader(r, maxPath+1))
	if err != nil {
		return fmt.Errorf("%s: %w", strconv.Quote(e.Name), err)
	}
	return s.Link(e.Name, string(target))
}

// readVPK takes the game's own kind of archive as it is: the game reads it from
// left4dead2/addons.
func readVPK(s *sink, f *os.File) error {
	name := filepath.Base(f.Name())
	if !strings.EqualFold(filepath.Ext(name), ".vpk") {
		return refuse(name, "a VPK whose name does not end in .vpk: the game would not find it")
	}
	return s.File(name, false, f)
}

// readDir copies a directory. Links in it are copied and not followed.
func readDir(s *sink, l *layers.Layer, dir string) error {
	names, err := l.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.ctx.Err(); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		if err := putDirEntry(s, l, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func putDirEntry(s *sink, l *layers.Layer, p string) error {
	e, err := l.Stat(p)
	if err != nil {
		return err
	}
	switch e.Type {
	case layers.Directory:
		if err := s.Directory(p); err != nil {
			return err
		}
		return readDir(s, l, p)
	case layers.File:
		f, e, err := l.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.File(p, e.Mode&0o111 != 0, f)
	case layers.Symlink:
		target, err := l.Readlink(p)
		if err != nil {
			return err
		}
		return s.Link(p, target)
	}
	return refuse(p, "a %s", e.Type)
}

// Source is an archive or a directory to make a layer from.
type Source struct {
	file *os.File      // an archive
	dir  *layers.Layer // or a directory
	size int64
}

// OpenSource opens what is at path.
func OpenSource(path string) (*Source, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: neither a file nor a directory", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if !info.IsDir() {
		return &Source{file: f, size: info.Size()}, nil
	}
	defer f.Close()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return &Source{dir: &layers.Layer{Name: path, Path: path, Dir: fd}}, nil
}

// Close closes it.
func (s *Source) Close() {
	if s.file != nil {
		s.file.Close()
	} else {
		s.dir.Close()
	}
}

func (s *Source) unpack(to *sink) error {
	if s.file != nil {
		return readArchive(to, s.file)
	}
	return readDir(to, s.dir, ".")
}
