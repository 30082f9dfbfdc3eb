package layer

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// zeros is a gzipped tar of one file of so many zeros.
func zeros(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	must(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "addons/zeros", Mode: 0o644, Size: n}))
	_, err := io.CopyN(w, zeroReader{}, n)
	must(t, err)
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes()
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Each of these is refused whole: no layer, nothing left, nothing outside.
func TestHostileArchives(t *testing.T) {
	link := func(name, target string) entry {
		return entry{name: name, header: tar.Header{Typeflag: tar.TypeSymlink, Linkname: target}}
	}
	special := func(kind byte) entry {
		return entry{name: "addons/it", header: tar.Header{Typeflag: kind, Linkname: "addons/x"}}
	}
	deep := strings.Repeat("d/", 60) + "f"
	for name, tt := range map[string]struct {
		data []byte
		want string
	}{
		"absolute path":          {tarOf(t, entry{name: "/addons/x"}), "absolute"},
		"absolute path in a zip": {zipOf(t, nil, "/addons/x"), "absolute"},
		"dot dot":                {tarOf(t, entry{name: "addons/../../x"}), `".."`},
		"dot dot in a zip":       {zipOf(t, nil, "../x"), `".."`},
		"dot dot that returns":   {tarOf(t, entry{name: "addons/../cfg/x"}), `".."`},
		"backslashes":            {zipOf(t, nil, `addons\..\..\x`), "backslash"},
		"a drive":                {zipOf(t, nil, "C:/addons/x"), "drive"},
		"control characters":     {tarOf(t, entry{name: "addons/\x1b[2Jx"}), "control character"},
		"a newline":              {tarOf(t, entry{name: "addons/a\nb"}), "control character"},
		"no UTF-8":               {tarOf(t, entry{name: "addons/\xff"}), "UTF-8"},
		"nested too deep":        {tarOf(t, entry{name: deep}), "nested deeper"},
		"a path too long":        {tarOf(t, entry{name: strings.Repeat("a/", 700) + "x"}), "longer than"},
		"a name too long":        {tarOf(t, entry{name: "addons/" + strings.Repeat("a", 300)}), "longer than"},
		"link to an absolute":    {tarOf(t, link("addons/x", "/etc/passwd")), "leaves the layer"},
		"link out":               {tarOf(t, link("addons/x", "../../etc")), "leaves the layer"},
		"link out of a zip": {zipOf(t, func(h *zip.FileHeader) {
			h.SetMode(fs.ModeSymlink | 0o777) // leads to "text of ../…"
		}, "../x"), `".."`},
		"link by way of a link":   {tarOf(t, link("addons/up", ".."), link("x", "addons/up/../../etc")), "with .. inside"},
		"write through a link":    {tarOf(t, entry{name: "cfg/y"}, link("addons", "cfg"), entry{name: "addons/x"}), "twice"},
		"write over a link":       {tarOf(t, link("addons/x", "y"), entry{name: "addons/x"}), "twice"},
		"hard link":               {tarOf(t, entry{name: "addons/x"}, special(tar.TypeLink)), "hard link"},
		"character device":        {tarOf(t, special(tar.TypeChar)), "device"},
		"block device":            {tarOf(t, special(tar.TypeBlock)), "device"},
		"FIFO":                    {tarOf(t, special(tar.TypeFifo)), "FIFO"},
		"device in a zip":         {zipOf(t, func(h *zip.FileHeader) { h.SetMode(fs.ModeDevice | 0o644) }, "addons/x"), "neither a file"},
		"names of different case": {tarOf(t, entry{name: "addons/Mod.vpk"}, entry{name: "addons/mod.vpk"}), "upper and lower case"},
		"directories of different case": {
			zipOf(t, nil, "addons/a", "Addons/b"), "upper and lower case"},
		"the same name twice":   {zipOf(t, nil, "addons/x", "addons/x"), "twice"},
		"a file as a directory": {tarOf(t, entry{name: "addons"}, entry{name: "addons/x"}), "twice"},
		"encrypted":             {zipOf(t, func(h *zip.FileHeader) { h.Flags |= zipEncrypted }, "addons/x"), "encrypted"},
		"bomb":                  {zeros(t, 400<<20), "made to fill the disk"},
		"cut off":               {zeros(t, 1<<20)[:900], "unexpected EOF"},
		"cut off at a block":    {tarOf(t, entry{name: "addons/x", text: "x"})[:1024], "unexpected EOF"},
		"cut off zip":           {zipOf(t, nil, "addons/x")[:60], "zip"},
		"no tar inside":         {[]byte("\x1f\x8b rubbish"), "gzip"},
		"nothing known":         {[]byte("hello"), "no archive of a known kind"},
		"7z":                    {[]byte("7z\xbc\xaf\x27\x1c rubbish"), "a 7z archive"},
		"empty":                 {tarOf(t, entry{name: "a/"}), "nothing in it"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCatalog(t)
			_, err := c.put(t, "bad", "bad.bin", tt.data, "", false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "\x1b") || !utf8.ValidString(err.Error())) {
				t.Errorf("the error is not quoted: %q", err)
			}
			names, err := c.Names()
			must(t, err)
			if len(names) > 0 || c.hiddenNames(t) != "" {
				t.Errorf("left: %v, %s", names, c.hiddenNames(t))
			}
			if _, err := os.Lstat(filepath.Join(c.Layout.Root(), "x")); err == nil {
				t.Error("written outside")
			}
		})
	}
}

// What is taken is made anew: owners, modes and attributes are ours.
func TestStripped(t *testing.T) {
	c := newCatalog(t)
	header := tar.Header{
		Mode: 0o6755, Uid: 0, Gid: 0, Uname: "root",
		PAXRecords: map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.x": "y"},
	}
	dir := header
	dir.Mode = 0o7777
	_, err := c.put(t, "a", "a.tar", tarOf(t, entry{name: "addons/", header: dir}, entry{"addons/run", "x", header}, entry{name: "addons/.wh.gone"}), "", false)
	must(t, err)
	want := ". drwxr-xr-x\nleft4dead2 drwxr-xr-x\nleft4dead2/addons drwxr-xr-x\nleft4dead2/addons/.wh.gone -rw-r--r-- \nleft4dead2/addons/run -rwxr-xr-x x"
	if got := c.tree(t, "a"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, p := range []string{"addons", "addons/run"} {
		if n, err := unix.Lgetxattr(c.Layout.Overlay("a")+"/left4dead2/"+p, "trusted.overlay.opaque", make([]byte, 8)); err == nil {
			t.Errorf("%s: has the attribute (%d bytes)", p, n)
		}
	}
}

// A directory with what no layer may have.
func TestHostileDirectory(t *testing.T) {
	c := newCatalog(t)
	src := t.TempDir()
	must(t, os.MkdirAll(src+"/addons", 0o755))
	must(t, unix.Mkfifo(src+"/addons/fifo", 0o644))
	if _, err := c.putPath(t, "bad", src, "", false); err == nil || !strings.Contains(err.Error(), "fifo") {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(src+"/addons/fifo"))
	must(t, os.Symlink("/etc", src+"/addons/etc"))
	if _, err := c.putPath(t, "bad", src, "", false); err == nil || !strings.Contains(err.Error(), "leaves the layer") {
		t.Errorf("error %v", err)
	}
	must(t, os.Remove(src+"/addons/etc"))
	must(t, os.Symlink("file", src+"/addons/link"))
	must(t, os.WriteFile(src+"/addons/file", []byte("x"), 0o4755))
	_, err := c.putPath(t, "good", src, "", false)
	must(t, err)
	if got := c.tree(t, "good"); !strings.HasSuffix(got, "addons/file -rwxr-xr-x x\nleft4dead2/addons/link Lrwxrwxrwx file") {
		t.Errorf("got\n%s", got)
	}
	if _, err := OpenSource("/dev/null"); err == nil {
		t.Error("a device is taken")
	}
}
