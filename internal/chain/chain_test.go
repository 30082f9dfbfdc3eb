package chain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func layout(t *testing.T) instance.Layout {
	t.Helper()
	l, err := instance.NewLayout(t.TempDir())
	must(t, err)
	return l
}

// put writes a release with this chain.
func put(t *testing.T, l instance.Layout, names ...instance.Name) {
	t.Helper()
	text, err := Release{Chain: names, Date: time.Unix(0, 0), Build: "7"}.Format()
	must(t, err)
	must(t, os.MkdirAll(l.ReleaseTree(names[0]), 0o755))
	must(t, os.WriteFile(l.ReleaseFile(names[0]), text, 0o644))
}

func TestFormatAndParse(t *testing.T) {
	long := Release{Build: "18446744073709551615", Date: time.Date(2026, 12, 2, 3, 4, 5, 0, time.UTC), Size: 1 << 40}
	for i := range instance.MaxLayers {
		long.Chain = append(long.Chain, instance.Name(strings.Repeat("a", instance.MaxName-3)+string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	for _, r := range []Release{
		{Chain: []instance.Name{"2026-11-25.2", "2026-11-25"}, Build: "12345", Date: time.Unix(1e9, 0).UTC(), Size: 9e9},
		{Chain: []instance.Name{"a"}, Date: time.Unix(0, 0).UTC()},
		long,
	} {
		text, err := r.Format()
		must(t, err)
		got, err := Parse("f", text)
		if diff := cmp.Diff(r, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	const rest = "\nBUILD=1\nDATE='2026-11-25T00:00:00Z'\nSIZE=1\n"
	for text, want := range map[string]string{
		"":                         "CHAIN: the name is empty",
		"CHAIN=''" + rest:          "CHAIN: the name is empty",
		"CHAIN='a:b:a'" + rest:     "a is named twice",
		"CHAIN='../../etc'" + rest: "the first character must be",
		"CHAIN='a:b/../c'" + rest:  "only a-z",
		"CHAIN='a:'" + rest:        "the name is empty",
		"CHAIN=$a" + rest:          "f:1: ",
		"CHAIN=a\nBUILD=x1\nDATE='2026-11-25T00:00:00Z'\nSIZE=1\n":   "not a build id",
		"CHAIN=a\nBUILD=1\nDATE=yesterday\nSIZE=1\n":                 "DATE: ",
		"CHAIN=a\nBUILD=1\nDATE='2026-11-25T00:00:00Z'\nSIZE='-1'\n": "less than nothing",
		"CHAIN=a\nBUILD=1\nDATE='2026-11-25T00:00:00Z'\n":            "SIZE: ",
	} {
		if r, err := Parse("f", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want %q", text, r, err, want)
		}
	}
	if _, err := (Release{}).Format(); err == nil {
		t.Error("a release without a name was written")
	}
}

func TestExpand(t *testing.T) {
	l := layout(t)
	put(t, l, "a")
	put(t, l, "b", "a")
	put(t, l, "c", "b", "a")
	put(t, l, "other", "mine") // below it, another one
	must(t, os.Rename(l.Release("other"), l.Release("stranger")))
	var many []instance.Name
	for i := range 499 {
		many = append(many, instance.Name("m"+time.Duration(i).String()))
	}
	put(t, l, many...)
	link := func(to string) func() {
		return func() { must(t, os.Symlink(to, l.Installation())) }
	}
	put(t, l, "adopted")
	must(t, os.Remove(l.ReleaseTree("adopted")))
	must(t, os.Symlink(t.TempDir(), l.ReleaseTree("adopted")))
	around := filepath.Join(t.TempDir(), "around")
	must(t, os.Symlink(l.ReleaseTree("c"), around))
	for name, tt := range map[string]struct {
		prepare func()
		lowers  string
		want    string
		err     string // and then no result
		advice  string
	}{
		"nothing there":       {nil, "overlays/m:installation", "overlays/m:installation", "", ""},
		"a plain directory":   {func() { must(t, os.Mkdir(l.Installation(), 0o755)) }, "installation", "installation", "", ""},
		"a link elsewhere":    {link("/srv/game"), "installation", "installation", "", ""},
		"a link to nothing":   {link("releases/z/tree/"), "installation", "installation", "", ""},
		"a link to a name":    {link("releases/c"), "installation", "", "by a way of its own (\"releases/c\")", "rm " + l.Installation()},
		"an absolute link":    {link(l.ReleaseTree("c")), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"a link that is long": {link("./releases/c/tree"), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"with a slash":        {link("releases/c/tree/"), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"to all releases":     {link("releases"), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"of a link elsewhere": {link("releases/adopted/tree/"), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"by another link":     {link(around), "installation", "", "by a way of its own", "l4d2ctl rollback"},
		"in a circle":         {link("installation"), "installation", "", "too many links", ""},
		"current":             {link("releases/c/tree"), "overlays/m:installation", "overlays/m:releases/c/tree:releases/b/tree:releases/a/tree", "", ""},
		"the first":           {link("releases/a/tree"), "installation", "releases/a/tree", "", ""},
		"pinned":              {link("releases/c/tree"), "overlays/m:releases/b", "overlays/m:releases/b/tree:releases/a/tree", "", ""},
		"pinned, and plain":   {nil, "releases/b", "releases/b/tree:releases/a/tree", "", ""},
		"gone":                {link("releases/z/tree"), "installation", "", "leads to release z, which is not there", "l4d2ctl rollback"},
		"pinned to none":      {nil, "releases/z", "", "there is no release z", "l4d2ctl edit"},
		"another's file":      {nil, "releases/stranger", "", "it is another release's", ""},
		"as many as can be":   {nil, "overlays/m:releases/" + string(many[0]), "500", "", ""},
		"too many":            {nil, "overlays/m:overlays/n:releases/" + string(many[0]), "", "501 layers in all", "l4d2ctl flatten"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(l.Installation()))
			if tt.prepare != nil {
				tt.prepare()
			}
			got, err := Expand(l, strings.Split(tt.lowers, ":"))
			if tt.err != "" {
				if err == nil || got != nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(advice.For(err), tt.advice) {
					t.Errorf("%q, %v (%s)", got, err, advice.For(err))
				}
				return
			}
			must(t, err)
			if tt.want == "500" {
				if len(got) != 500 {
					t.Errorf("%d layers", len(got))
				}
				return
			}
			if strings.Join(got, ":") != tt.want {
				t.Errorf("%q, want %s", got, tt.want)
			}
		})
	}
}

// A release.env is root's, and yet: nothing but a regular file of its own is
// read.
func TestReadRefuses(t *testing.T) {
	l := layout(t)
	if _, err := Read(l, "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	put(t, l, "a")
	must(t, os.Rename(l.ReleaseFile("a"), filepath.Join(l.Root(), "elsewhere")))
	must(t, os.Symlink(filepath.Join(l.Root(), "elsewhere"), l.ReleaseFile("a")))
	if r, err := Read(l, "a"); err == nil {
		t.Errorf("a link was followed: %+v", r)
	}
}

func TestOf(t *testing.T) {
	for layer, want := range map[string]instance.Name{
		Tree("2026-11-25.2"): "2026-11-25.2", "releases/a/tree": "a",
		"releases/a": "", "releases/a/tree/": "", "releases//tree": "", "releases/../tree": "", "overlays/a/tree": "", "installation": "",
	} {
		n, ok := Of(layer)
		if ok != (want != "") || ok && n != want {
			t.Errorf("%q is of %q, %v", layer, n, ok)
		}
	}
	for layer, want := range map[string]bool{"overlays/installation": false, "installation": true, "releases/a/tree": true} {
		if IsBase(layer) != want {
			t.Errorf("%s: %v", layer, !want)
		}
	}
}
