package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
)

func TestComplete(t *testing.T) {
	h := newHost(t, "coop", "versus")
	for _, tt := range []struct{ line, want string }{
		{"resta|", "restart"},
		{"comp|", ""}, // hidden
		{"start|", "start"},
		{"start |", "coop versus"},
		{"start c|", "coop"},
		{"start versus c|", "coop"},
		{"start versus coop |", ""},
		{"start versus --h|", "--help --host"},
		{"stop -- v|", "versus"},
		{"delete coop |", ""},
		{"delete --yes |", "coop versus"},
		{"delete --yes --y|", ""},
		{"delete coop --y|", "--yes"},
		{"delete --yes=|", ""},
		{"init |", "coop versus"},
		{"init coop |", ":file"},
		{"init coop x.yaml |", ""},
		{"--root |", ":dir"},
		{"--root=|", ":dir"},
		{"--root = /|", ":dir"}, // as bash splits it
		{"--root /none start |", ""},
		{"--root=/none start |", ""},
		{"start |", "coop versus"},
		{"start Wrong! |", ""},
		{"--host games1 st|", "start stop status"},
		{"--host games1 start |", ""}, // these are not ours to know
		{"--host games1 init coop |", ":file"},
		{"nonsense |", ""},
		{"nonsense|", ""},
		{"list --xml |", ""},
	} {
		words := strings.Split(strings.TrimSuffix(tt.line, "|"), " ")
		h.run(ExitDone, append([]string{"complete", "--"}, words...)...)
		var got []string
		for line := range strings.Lines(h.out.String()) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			got = append(got, word)
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%q is completed to %q, want %q", tt.line, text, tt.want)
		}
		if h.err.Len() > 0 {
			t.Errorf("%q: said %q", tt.line, &h.err)
		}
	}
	h.run(ExitDone, "complete")
	h.run(ExitDone, "complete", "--")
}

// The files that an instance sees, one directory at a time, and none that a shell
// would take for more than a name.
func TestCompletePaths(t *testing.T) {
	h := newHost(t, "a", "b")
	for _, name := range []string{"left4dead2/cfg/a.cfg", "left4dead2/gone.txt", "left4dead2/$(reboot)", "left4dead2/a b", "left4dead2/`x`", "left4dead2/it's", "left4dead2/\x1b", "left4dead2/é", "left4dead2/c:d"} {
		h.put(h.layout.Installation()+"/"+name, "")
	}
	h.put(h.layout.Upper("a")+"/left4dead2/cfg/own.cfg", "")
	must(t, unix.Mknod(h.layout.Upper("a")+"/left4dead2/gone.txt", unix.S_IFCHR, 0))
	for line, want := range map[string]string{
		"which a |":                          "left4dead2/",
		"which a l|":                         "left4dead2/",
		"which a left4dead2/|":               "left4dead2/cfg/",
		"which b left4dead2/|":               "left4dead2/cfg/ left4dead2/gone.txt",
		"which a left4dead2/cfg/|":           "left4dead2/cfg/a.cfg left4dead2/cfg/own.cfg",
		"which a left4dead2/cfg/o|":          "left4dead2/cfg/own.cfg",
		"which a x left4dead2/cfg/o|":        "left4dead2/cfg/own.cfg",
		"reset a left4dead2//cfg/o|":         "left4dead2//cfg/own.cfg",
		"diff a --text left4dead2/cfg/o|":    "left4dead2/cfg/own.cfg",
		"diff a --text=left4dead2/cfg/o|":    "--text=left4dead2/cfg/own.cfg",
		"diff --text left4dead2/|":           "",
		"which nope |":                       "",
		"which a ../|":                       "",
		"which a /|":                         "",
		"which a left4dead2/cfg/../../../|":  "",
		"which a left4dead2/cfg/a.cfg/|":     "",
		"--host games1 which a left4dead2/|": "",
	} {
		words := strings.Split(strings.TrimSuffix(line, "|"), " ")
		h.run(ExitDone, append([]string{"complete", "--"}, words...)...)
		if got := strings.Join(strings.Fields(h.out.String()), " "); got != want || h.err.Len() > 0 {
			t.Errorf("%q is completed to %q, want %q; said %q", line, got, want, &h.err)
		}
	}
}

// What a value can be, by the tag.
func TestCompleteValues(t *testing.T) {
	h := newHost(t, "coop")
	must(t, os.Mkdir(h.layout.Overlay("maps"), 0o755))
	must(t, os.Symlink("maps", h.layout.Overlay("mods")))
	must(t, os.WriteFile(h.layout.Overlay("readme.txt"), nil, 0o644))
	for _, name := range []string{"2026-11-25", ".staging", ".2026-12-01.new"} {
		must(t, os.MkdirAll(h.layout.Releases()+"/"+name, 0o755))
	}
	must(t, os.Mkdir(h.layout.Overlays()+"/Not A Name", 0o755))
	var line struct {
		Layer    nameArg   `complete:"layer"`
		Release  *nameArg  `complete:"release"`
		New      nameArg   `complete:"none"`
		Old      nameArg   ``
		Several  []nameArg ``
		Text     string    ``
		Format   string    `enum:"deb,rpm" default:"deb"`
		Pictures string    `complete:"dir"`
	}
	parser, err := kong.New(&line)
	must(t, err)
	nothing, err := kong.Trace(parser, nil)
	must(t, err)
	s := &session{Program: &h.program, layout: h.layout}
	want := map[string][]string{
		"layer": {"maps", "mods"}, "release": {"2026-11-25"}, "new": nil, "old": {"coop"}, "several": {"coop"}, "text": nil,
		"format": {"deb", "rpm"}, "pictures": {":dir"},
	}
	for _, flag := range parser.Model.Flags {
		if got := s.values(nothing, flag.Value, ""); flag.Name != "help" && !slices.Equal(got, want[flag.Name]) {
			t.Errorf("--%s can be %q, want %q", flag.Name, got, want[flag.Name])
		}
	}
}

// Whoever adds a text says whether the shells complete it.
func TestTextsSayWhatTheyComplete(t *testing.T) {
	text := reflect.TypeFor[string]()
	for _, node := range append(New("").Model().Leaves(true), New("").Model().Node) {
		for _, v := range node.Values() {
			typ := v.Target.Type()
			if typ.Kind() == reflect.Slice {
				typ = typ.Elem()
			}
			if typ == text && v.Enum == "" && !v.Tag.Has("complete") {
				t.Errorf("%s: %s: lacks the tag complete, which is \"instance\", \"layer\", \"release\", \"file\", \"dir\" or \"none\"", node.FullPath(), v.Summary())
			}
		}
	}
}
