package kernel

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCompareVersions(t *testing.T) {
	for _, tt := range [][2]string{
		{"linux-image-5.10.0-9-cloud", "linux-image-5.10.0-32-cloud"},
		{"linux-image-6.18.15+deb13-cloud", "linux-image-7.3.4+deb13-cloud"},
		{"linux-image-6.9.12+deb13-cloud", "linux-image-6.18.5+deb13-cloud"},
		{"linux-image-6.1.0-cloud", "linux-image-6.1.0-cloud-x"},
	} {
		if compareVersions(tt[0], tt[1]) >= 0 || compareVersions(tt[1], tt[0]) <= 0 || compareVersions(tt[0], tt[0]) != 0 {
			t.Errorf("%s is not below %s", tt[0], tt[1])
		}
	}
}

// A mirror without the suite is an error that names it; this needs no network.
func TestMirrorWithoutSuite(t *testing.T) {
	gone := "file://" + t.TempDir()
	_, err := newApt(t.Context(), Versions[1].Suite, []string{gone}, filepath.Join(t.TempDir(), "apt"))
	if err == nil || !strings.Contains(err.Error(), gone) {
		t.Errorf("error %v, want one that names the mirror", err)
	}
}
