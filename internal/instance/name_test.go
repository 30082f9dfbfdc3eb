package instance

import (
	"strings"
	"testing"
)

func TestParseName(t *testing.T) {
	for _, s := range []string{"a", "0", "versus-1", "a.b_c-d", "a..b", strings.Repeat("a", MaxName)} {
		if n, err := ParseName(s); err != nil || string(n) != s {
			t.Errorf("ParseName(%q) = %q, %v", s, n, err)
		}
	}
	for _, tt := range []struct{ in, want string }{
		{"", "the name is empty: use 1 to 63 characters"},
		{strings.Repeat("a", MaxName+1), "64 bytes long, at most 63 are allowed"},
		{".", "the first character must be one of a-z and 0-9"},
		{"..", "the first character must be one of a-z and 0-9"},
		{"-a", "the first character must be one of a-z and 0-9"},
		{".lock", "the first character must be one of a-z and 0-9"},
		{"A", "the first character must be one of a-z and 0-9"},
		{"aB", "only a-z, 0-9, '.', '_' and '-' are allowed"},
		{"a/b", "only a-z"},
		{"a b", "only a-z"},
		{"a\n", `name "a\n": only a-z`},
		{"a%i", "only a-z"},
		{"a@b", "only a-z"},
		{"a:b", "only a-z"},
		{"a\x00", "only a-z"},
		{"aé", "only a-z"},
	} {
		if n, err := ParseName(tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseName(%q) = %q, %v; want error %q", tt.in, n, err, tt.want)
		}
	}
}

func TestLayout(t *testing.T) {
	if _, err := NewLayout("relative"); err == nil || err.Error() != `root "relative": not an absolute path` {
		t.Errorf("a relative root: %v", err)
	}
	if l, err := NewLayout(""); err != nil || l.Root() != DefaultRoot {
		t.Errorf("the default root: %q, %v", l.Root(), err)
	}
	l, err := NewLayout("/r/../r/")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		l.Root():            "/r",
		l.Installation():    "/r/installation",
		l.Overlay("m"):      "/r/overlays/m",
		l.ReleaseFile("m"):  "/r/releases/m/release.env",
		l.ReleaseTree("m"):  "/r/releases/m/tree",
		l.Staging():         "/r/releases/.staging",
		l.Spec("a"):         "/r/instances/a/instance.yaml",
		l.Env("a"):          "/r/instances/a/instance.env",
		l.ServerConfig("a"): "/r/instances/a/server.cfg",
		l.Upper("a"):        "/r/runtime/a/upper",
		l.Work("a"):         "/r/runtime/a/work",
		l.Merged("a"):       "/r/runtime/a/merged",
		l.Lock("a"):         "/r/runtime/a/lock",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
