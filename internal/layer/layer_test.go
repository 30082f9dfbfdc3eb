package layer

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"l4d2-host/internal/instance"
)

func TestFormats(t *testing.T) {
	plain := tarOf(t, entry{name: "addons/"}, entry{name: "addons/x.vpk", text: "X"})
	pack := func(open func(io.Writer) (io.WriteCloser, error)) []byte {
		t.Helper()
		var b bytes.Buffer
		w, err := open(&b)
		must(t, err)
		_, err = w.Write(plain)
		must(t, err)
		must(t, w.Close())
		return b.Bytes()
	}
	bz := exec.Command("bzip2", "-c")
	bz.Stdin = bytes.NewReader(plain)
	bzipped, err := bz.Output()
	must(t, err)
	const want = ". drwxr-xr-x\nleft4dead2 drwxr-xr-x\nleft4dead2/addons drwxr-xr-x\nleft4dead2/addons/x.vpk -rw-r--r-- "
	for name, tt := range map[string]struct {
		data []byte
		text string
	}{
		"mod.tar":     {plain, "X"},
		"mod.tar.gz":  {pack(func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil }), "X"},
		"mod.tar.xz":  {pack(func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }), "X"},
		"mod.tar.zst": {pack(func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) }), "X"},
		"mod.tbz":     {bzipped, "X"},
		"mod.zip":     {zipOf(t, nil, "addons/", "addons/x.vpk"), "text of addons/x.vpk"},
		"x.vpk":       {[]byte("\x34\x12\xaa\x55 vpk"), "\x34\x12\xaa\x55 vpk"},
	} {
		c := newCatalog(t)
		if _, err := c.put(t, "mod", name, tt.data, "", false); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.tree(t, "mod"); got != want+tt.text {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestPlace(t *testing.T) {
	for names, want := range map[string]string{
		"left4dead2/cfg/x.cfg bin/y":                 ". in .",
		"srcds_linux":                                ". in .",
		"cfg/x.cfg addons/a.vpk":                     "left4dead2 in .",
		"Rework-master/cfg/x.cfg Rework-master/a.md": "left4dead2 in Rework-master",
		"a/b/left4dead2/addons/x":                    ". in a/b",
		"sourcemod/plugins/x.smx metamod/x":          "left4dead2/addons in .",
		"plugins/x.smx gamedata/x.txt":               "left4dead2/addons/sourcemod in .",
		"dark.vpk readme.txt":                        "left4dead2/addons in .",
		"c1.bsp":                                     "left4dead2/maps in .",
		"Maps/c1.bsp":                                "left4dead2 in .",
		"readme.txt":                                 "",
		"a/x.dll b/y.dll":                            "",
		"a/b/c/d/cfg/x":                              "",
	} {
		c := newCatalog(t)
		plan, err := c.put(t, "mod", "mod.zip", zipOf(t, nil, strings.Fields(names)...), "", false)
		if want == "" {
			if !errors.Is(err, errPlace) {
				t.Errorf("%s: %+v, %v", names, plan, err)
			}
			continue
		}
		if got := plan.Under + " in " + plan.From; err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", names, got, err, want)
		}
	}
	c := newCatalog(t)
	_, err := c.put(t, "mod", "mod.zip", zipOf(t, nil, "a/x.dll"), "left4dead2/bin", false)
	must(t, err)
	if got := c.tree(t, "mod"); !strings.Contains(got, "\nleft4dead2/bin/a/x.dll ") {
		t.Errorf("got\n%s", got)
	}
	for _, under := range []string{"../x", "/etc", "a/../b"} {
		if _, err := c.put(t, "other", "mod.zip", zipOf(t, nil, "cfg/x"), under, false); err == nil {
			t.Errorf("--under %s is taken", under)
		}
	}
}

func (c *Catalog) text(t *testing.T, n instance.Name) string {
	t.Helper()
	data, err := os.ReadFile(c.Layout.Overlay(n) + "/left4dead2/cfg/x")
	must(t, err)
	return string(data)
}

func TestVersions(t *testing.T) {
	c := newCatalog(t)
	of := func(text string) []byte { return tarOf(t, entry{name: "cfg/x", text: text}) }
	if _, err := c.put(t, "a", "a.tar", of("1"), "", true); !errors.Is(err, ErrUnknown) {
		t.Errorf("update of none: %v", err)
	}
	for i, text := range []string{"1", "2", "3", "4"} {
		_, err := c.put(t, "a", "a.tar", of(text), "", i > 0)
		must(t, err)
		if got := c.text(t, "a"); got != text || c.Version("a") != i+1 {
			t.Errorf("%s, version %d after %s", got, c.Version("a"), text)
		}
	}
	if got := c.hiddenNames(t); got != ".a.v3 .a.v4" {
		t.Errorf("kept: %s", got)
	}
	if _, err := c.put(t, "a", "a.tar", of("5"), "", false); !errors.Is(err, ErrExists) {
		t.Errorf("add of one that is there: %v", err)
	}
	// Refused by the operator, or half-way: as before.
	if _, err := c.put(t, "a", "a.tar", of("5")[:600], "", true); err == nil {
		t.Error("half an archive is taken")
	}
	if got := c.text(t, "a"); got != "4" || c.hiddenNames(t) != ".a.v3 .a.v4" {
		t.Errorf("%s, %s", got, c.hiddenNames(t))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	src, err := OpenSource(c.Layout.Overlay("a"))
	must(t, err)
	defer src.Close()
	if err := c.Put(ctx, "b", src, "", false, func(Plan) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
	refused := errors.New("no")
	if err := c.Put(context.Background(), "b", src, "", false, func(Plan) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("refused: %v", err)
	}
	if got := c.hiddenNames(t); got != ".a.v3 .a.v4" {
		t.Errorf("left: %s", got)
	}

	// A directory that the operator made is the version before.
	must(t, os.MkdirAll(c.Layout.Overlay("own")+"/left4dead2/cfg", 0o755))
	must(t, os.WriteFile(c.Layout.Overlay("own")+"/left4dead2/cfg/x", []byte("own"), 0o644))
	dir, err := os.Open(c.Layout.Overlay("own"))
	must(t, err)
	defer dir.Close()
	_, err = c.put(t, "own", "a.tar", of("new"), "", true)
	must(t, err)
	old, err := os.ReadFile(c.Layout.Overlays() + "/.own.v0/left4dead2/cfg/x")
	if c.text(t, "own") != "new" || err != nil || string(old) != "own" {
		t.Errorf("now %s, before %s, %v", c.text(t, "own"), old, err)
	}

	// It stays, and so does a version that another layer is a link to.
	must(t, os.Symlink(".own.v1", c.Layout.Overlay("pinned")))
	for _, text := range []string{"2", "3", "4"} {
		_, err = c.put(t, "own", "a.tar", of(text), "", true)
		must(t, err)
	}
	if got := c.hiddenNames(t); got != ".a.v3 .a.v4 .own.v0 .own.v1 .own.v3 .own.v4" {
		t.Errorf("kept: %s", got)
	}

	// What a crash leaves is cleared away by the next change.
	must(t, os.Mkdir(c.Layout.Overlay("cut"), 0o755))
	must(t, os.Symlink(".cut.v1", c.Layout.Overlays()+"/.cut.v0"))
	_, err = c.put(t, "cut", "a.tar", of("whole"), "", true)
	must(t, err)
	if got := c.text(t, "cut"); got != "whole" {
		t.Errorf("after a run that was killed: %s", got)
	}
	must(t, os.MkdirAll(c.Layout.Overlays()+"/.a.new/content/junk", 0o700))
	must(t, os.Symlink("/etc", c.Layout.Overlays()+"/.a.link"))
	if found, err := c.LeftOvers(); err != nil || len(found) != 2 {
		t.Errorf("left over: %v, %v", found, err)
	}
	_, err = c.put(t, "a", "a.tar", of("6"), "", true)
	must(t, err)
	if got := c.hiddenNames(t); got != ".a.v4 .a.v5 .cut.v0 .cut.v1 .own.v0 .own.v1 .own.v3 .own.v4" {
		t.Errorf("kept: %s", got)
	}
}

func TestRemove(t *testing.T) {
	c := newCatalog(t)
	_, err := c.put(t, "a", "a.tar", tarOf(t, entry{name: "cfg/x"}), "", false)
	must(t, err)
	must(t, os.Symlink("a", c.Layout.Overlay("link")))
	if err := c.Remove("a"); !errors.Is(err, ErrUsed) || !strings.Contains(err.Error(), "link is a link to it") {
		t.Errorf("linked: %v", err)
	}
	must(t, c.Remove("link"))
	_, err = c.Store.Init("one", "f", []byte("port: 1\noverlays: [a]\n"))
	must(t, err)
	if err := c.Remove("a"); !errors.Is(err, ErrUsed) || !strings.Contains(err.Error(), "named by one") {
		t.Errorf("named: %v", err)
	}
	_ = c.text(t, "a")
	_, err = c.Store.Init("one", "f", []byte("port: 1\n"))
	must(t, err)
	must(t, c.Remove("a"))
	if got := c.hiddenNames(t); got != "" {
		t.Errorf("left: %s", got)
	}
	if err := c.Remove("a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("again: %v", err)
	}
}

func TestHide(t *testing.T) {
	c := newCatalog(t)
	must(t, c.Hide("libs", []string{"bin/libstdc++.so.6", "bin/libgcc_s.so.1"}))
	const want = ". drwxr-xr-x\nbin drwxr-xr-x\nbin/libgcc_s.so.1 Dc---------\nbin/libstdc++.so.6 Dc---------"
	if got := c.tree(t, "libs"); got != want {
		t.Errorf("got\n%s", got)
	}
	var st unix.Stat_t
	must(t, unix.Stat(c.Layout.Overlay("libs")+"/bin/libgcc_s.so.1", &st))
	if st.Rdev != 0 {
		t.Errorf("device %d is no whiteout", st.Rdev)
	}
	// All or nothing.
	if err := c.Hide("libs", []string{"new/x", "bin/libgcc_s.so.1"}); err == nil {
		t.Error("hidden twice")
	}
	if _, err := os.Lstat(c.Layout.Overlay("libs") + "/new/x"); err == nil {
		t.Error("the half of it is hidden")
	}
	for _, p := range []string{".", "../x", "/etc", "a/../../x", ""} {
		if err := c.Hide("libs", []string{p}); err == nil {
			t.Errorf("%q is taken", p)
		}
	}
	// A link that the game's user planted leads nowhere.
	must(t, os.Symlink("/tmp", c.Layout.Overlay("libs")+"/out"))
	if err := c.Hide("libs", []string{"out/l4d2-host-test"}); err == nil {
		t.Error("hidden through a link")
	}
	must(t, c.Hide("libs", []string{"left4dead2/addons/x.vpk"}))
}
