package cli

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
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
		if got := s.values(nothing, flag.Value); flag.Name != "help" && !slices.Equal(got, want[flag.Name]) {
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
