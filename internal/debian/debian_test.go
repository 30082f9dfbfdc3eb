package debian

import (
	"errors"
	"slices"
	"testing"
)

func TestNamedMirrors(t *testing.T) {
	t.Setenv(MirrorsVariable, " file:///a file:///b ")
	got, err := Mirrors(t.Context())
	if err != nil || !slices.Equal(got, []string{"file:///a", "file:///b"}) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSiteOf(t *testing.T) {
	got, err := siteOf("Vendor|Vendor|main|http://v.example\nDebian|Debian-Security|main|http://s.example\nDebian|Debian|main|http://d.example/debian\n")
	if err != nil || !slices.Equal(got, []string{"http://d.example/debian"}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := siteOf("Ubuntu|Ubuntu|main|http://u.example\n"); !errors.Is(err, ErrNoMirror) {
		t.Errorf("error %v", err)
	}
}

func TestCacheDir(t *testing.T) {
	for _, tt := range []struct{ cache, xdg, home, want string }{
		{"/a", "/b", "/c", "/a"},
		{"", "/b", "/c", "/b/l4d2-host"},
		{"", "", "/c", "/c/.cache/l4d2-host"},
		{"", "", "", "/var/cache/l4d2-host"},
	} {
		t.Setenv(CacheVariable, tt.cache)
		t.Setenv("XDG_CACHE_HOME", tt.xdg)
		t.Setenv("HOME", tt.home)
		if got, err := CacheDir(); err != nil || got != tt.want {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
}
