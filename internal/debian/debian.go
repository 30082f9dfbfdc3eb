// Package debian tells where Debian's packages come from on this host, and
// where to keep what the tests make of them. It is for packages machine and
// kernel, and never packaged.
package debian

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	// MirrorsVariable names mirrors, separated by spaces, to ask in place of
	// the host's. Needed on a host that is not Debian, and, behind the first
	// one, an archive for a release that is past its end of life.
	MirrorsVariable = "L4D2_TEST_MIRRORS"
	// CacheVariable names the directory of CacheDir.
	CacheVariable = "L4D2_TEST_CACHE"
)

// ErrNoMirror says that the host does not tell where Debian is served.
var ErrNoMirror = errors.New("the host's apt has no mirror of Debian: name one in " + MirrorsVariable)

// Mirrors returns the mirrors to ask, in this order, at least one: those of
// $L4D2_TEST_MIRRORS, or else the one that the host's apt uses.
func Mirrors(ctx context.Context) ([]string, error) {
	if named := strings.Fields(os.Getenv(MirrorsVariable)); len(named) > 0 {
		return named, nil
	}
	out, _ := exec.CommandContext(ctx, "apt-get", "indextargets",
		"--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(SITE)", "Created-By: Packages").Output()
	return siteOf(string(out))
}

// siteOf returns the site of Debian's main component in lines of
// ORIGIN|LABEL|COMPONENT|SITE.
func siteOf(targets string) ([]string, error) {
	for line := range strings.Lines(targets) {
		if site, ok := strings.CutPrefix(strings.TrimSpace(line), "Debian|Debian|main|"); ok {
			return []string{site}, nil
		}
	}
	return nil, ErrNoMirror
}

// CacheDir returns $L4D2_TEST_CACHE, or l4d2-host in the user's cache.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		// Neither $XDG_CACHE_HOME nor $HOME is set, as in some CI runners.
		return "/var/cache/l4d2-host", nil
	}
	return filepath.Join(dir, "l4d2-host"), nil
}
