package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// forge returns an archive with these entries below a head and upper/.
func forge(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	head := tar.Header{
		Typeflag: tar.TypeReg, Name: specName, Size: int64(len(text)), Format: tar.FormatPAX,
		PAXRecords: map[string]string{formatRecord: format, nameRecord: "versus"},
	}
	must(t, w.WriteHeader(&head))
	_, err := w.Write(text)
	must(t, err)
	upper := tar.Header{Typeflag: tar.TypeDir, Name: "upper/", Mode: 0o750}
	for _, h := range append([]tar.Header{upper}, entries...) {
		must(t, w.WriteHeader(&h))
		_, err := w.Write(bytes.Repeat([]byte("#"), int(h.Size)))
		must(t, err)
	}
	must(t, w.Close())
	return out.Bytes()
}

func records(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

func file(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: 1, Mode: 0o644}
}

func TestUnpackRefuses(t *testing.T) {
	symlink := tar.Header{Typeflag: tar.TypeSymlink, Name: "upper/link", Linkname: ".."}
	dir := tar.Header{Typeflag: tar.TypeDir, Name: "upper/d/", Mode: 0o755}
	with := func(h tar.Header, change func(*tar.Header)) tar.Header { change(&h); return h }
	const name, link = "not a name below upper/", "a hard link"
	for what, tt := range map[string]struct {
		entries []tar.Header
		want    string
	}{
		"absolute":        {[]tar.Header{file("/etc/evil")}, name},
		"up":              {[]tar.Header{file("upper/../../evil")}, name},
		"up at once":      {[]tar.Header{file("../evil")}, name},
		"up at the end":   {[]tar.Header{{Typeflag: tar.TypeDir, Name: "upper/.."}}, name},
		"beside":          {[]tar.Header{file("other/evil")}, name},
		"not below":       {[]tar.Header{file("upperevil")}, name},
		"double slash":    {[]tar.Header{file("upper//evil")}, name},
		"dot":             {[]tar.Header{file("upper/./evil")}, name},
		"the root a file": {[]tar.Header{file("upper")}, name},
		"a second spec":   {[]tar.Header{file(specName)}, name},
		"a second root":   {[]tar.Header{{Typeflag: tar.TypeDir, Name: "upper/"}}, "comes twice"},
		"twice":           {[]tar.Header{file("upper/a"), file("upper/a")}, "file exists"},
		"no parent":       {[]tar.Header{file("upper/d/a")}, "its directory is not in the archive"},
		"file for parent": {[]tar.Header{file("upper/a"), file("upper/a/b")}, "its directory is not in the archive"},
		"through a link":  {[]tar.Header{symlink, file("upper/link/evil")}, "it is a symbolic link"},
		"over a link":     {[]tar.Header{symlink, file("upper/link")}, "file exists"},
		"dir over a link": {[]tar.Header{symlink, {Typeflag: tar.TypeDir, Name: "upper/link/"}}, "file exists"},

		"link out":             {[]tar.Header{{Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "/etc/passwd"}}, link},
		"link up":              {[]tar.Header{{Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "upper/../../x"}}, link},
		"link to nothing":      {[]tar.Header{{Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "upper/b"}}, link},
		"link through a link":  {[]tar.Header{symlink, {Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "upper/link/staged"}}, "it is a symbolic link"},
		"link to a link":       {[]tar.Header{symlink, {Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "upper/link"}}, "which is no file"},
		"link to a directory":  {[]tar.Header{dir, {Typeflag: tar.TypeLink, Name: "upper/a", Linkname: "upper/d"}}, "which is no file"},
		"a disk":               {[]tar.Header{{Typeflag: tar.TypeBlock, Name: "upper/sda", Devmajor: 8}}, "of a type"},
		"a device":             {[]tar.Header{{Typeflag: tar.TypeChar, Name: "upper/mem", Devmajor: 1, Devminor: 1}}, "a device (1:1), and no whiteout"},
		"a FIFO":               {[]tar.Header{{Typeflag: tar.TypeFifo, Name: "upper/fifo"}}, "of a type"},
		"a type of tomorrow":   {[]tar.Header{{Typeflag: 'Q', Name: "upper/q"}}, "of a type"},
		"global records":       {[]tar.Header{{Typeflag: tar.TypeXGlobalHeader, PAXRecords: records("path", "/etc/evil")}}, name},
		"a capability":         {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.PAXRecords = records("SCHILY.xattr.security.capability", "x") })}, "of which nothing is known"},
		"a redirect":           {[]tar.Header{with(dir, func(h *tar.Header) { h.PAXRecords = records("SCHILY.xattr.trusted.overlay.redirect", "/x") })}, "of which nothing is known"},
		"metacopy":             {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.PAXRecords = records("SCHILY.xattr.trusted.overlay.metacopy", "x") })}, "of which nothing is known"},
		"an opaque file":       {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.PAXRecords = records(opaqueRecord, "y") })}, "of which nothing is known"},
		"another opaqueness":   {[]tar.Header{with(dir, func(h *tar.Header) { h.PAXRecords = records(opaqueRecord, "x") })}, "of which nothing is known"},
		"libarchive's":         {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.PAXRecords = records("LIBARCHIVE.xattr.security.capability", "eA==") })}, "of which nothing is known"},
		"an owner beyond all":  {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.Uid = 1<<32 + 5 })}, "an owner that nobody can have"},
		"the owner no owner":   {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.Gid = 1<<32 - 1 })}, "an owner that nobody can have"},
		"more than the disk":   {[]tar.Header{with(file("upper/a"), func(h *tar.Header) { h.Size = 17 << 20 })}, "more than the disk holds"},
		"a name that is long":  {[]tar.Header{file("upper/" + strings.Repeat("n", 256))}, "file name too long"},
		"longer than any path": {[]tar.Header{file("upper/" + strings.Repeat("n/", 3000) + "x")}, "its directory is not in the archive"},
	} {
		t.Run(what, func(t *testing.T) {
			place := newDir(t)
			dir := filepath.Join(place, "staged")
			must(t, os.Mkdir(dir, 0o700))
			err := unpack(t, forge(t, tt.entries...), dir)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
			if left, _ := os.ReadDir(place); len(left) != 1 {
				t.Errorf("outside there are %v", left)
			}
		})
	}
}

// The size in a header of a sparse file is what it claims to become.
func TestSparseIsRefused(t *testing.T) {
	data := forge(t, file("upper/a"))
	// GNU tar's old format: a type of its own.
	at := bytes.Index(data, []byte("upper/a\x00"))
	header := data[at : at+512]
	header[156] = tar.TypeGNUSparse
	copy(header[257:], "ustar  \x00")
	copy(header[386:], "00000000000\x0000000000001\x00")
	copy(header[483:], "00000000001\x00")
	sum := 0
	copy(header[148:156], "        ")
	for _, b := range header {
		sum += int(b)
	}
	copy(header[148:], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
	err := unpack(t, data, newDir(t))
	if err == nil || !strings.Contains(err.Error(), "upper/a") {
		t.Errorf("error %v", err)
	}
}

// A full disk ends it, with some left for others.
func TestDiskIsNotFilled(t *testing.T) {
	dir := newDir(t) // of 16 MiB
	h := file("upper/a")
	h.Size = 31 << 19 // and all but a twentieth of that may be used
	err := unpack(t, forge(t, h), dir)
	if err == nil || !strings.Contains(err.Error(), "the disk is nearly full") {
		t.Errorf("error %v", err)
	}
}

func TestNoBackup(t *testing.T) {
	for what, data := range map[string][]byte{
		"nothing": nil, "text": []byte(strings.Repeat("no tar ", 300)), "a tar": func() []byte {
			var out bytes.Buffer
			w := tar.NewWriter(&out)
			must(t, w.WriteHeader(&tar.Header{Name: specName, Typeflag: tar.TypeReg}))
			must(t, w.Close())
			return out.Bytes()
		}(),
	} {
		if _, err := Open(bytes.NewReader(data)); err == nil || !strings.Contains(err.Error(), ErrNoBackup.Error()) {
			t.Errorf("%s: error %v", what, err)
		}
	}
}

// Whatever an archive says, nothing appears outside the directory, and nothing
// in it that upper may not have.
func FuzzUnpack(f *testing.F) {
	f.Add(forge(f, file("upper/a"), tar.Header{Typeflag: tar.TypeSymlink, Name: "upper/l", Linkname: ".."}, file("upper/l/x")))
	f.Add(forge(f, tar.Header{Typeflag: tar.TypeChar, Name: "upper/w"}, tar.Header{Typeflag: tar.TypeLink, Name: "upper/h", Linkname: "upper/w"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		place := t.TempDir()
		dir := filepath.Join(place, "staged")
		must(t, os.Mkdir(dir, 0o700))
		a, err := Open(bytes.NewReader(data))
		if err != nil {
			return
		}
		_ = a.Unpack(context.Background(), open(t, dir).Dir, owner)
		if left, _ := os.ReadDir(place); len(left) != 1 {
			t.Errorf("outside there are %v", left)
		}
		must(t, filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
			var st unix.Stat_t
			must(t, unix.Lstat(path, &st))
			kind := st.Mode & unix.S_IFMT
			if kind == unix.S_IFBLK || kind == unix.S_IFCHR && st.Rdev != 0 || kind == unix.S_IFREG && st.Mode&0o6000 != 0 {
				t.Errorf("%q: mode %#o, device %#x", path, st.Mode, st.Rdev)
			}
			return err
		}))
	})
}
