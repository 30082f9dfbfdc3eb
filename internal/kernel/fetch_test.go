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

// The Debian archive lets a suite go some time after its end of life.
func TestNextMirror(t *testing.T) {
	if testing.Short() {
		t.Skip("asks a mirror: not run under -short")
	}
	v := Versions[1]
	good := mirror(t.Context())
	if _, err := newApt(t.Context(), v.Suite, []string{good + "-gone", good}, filepath.Join(t.TempDir(), "apt")); err != nil {
		t.Error(err)
	}
	_, err := newApt(t.Context(), v.Suite, []string{good + "-gone"}, filepath.Join(t.TempDir(), "apt"))
	if err == nil || !strings.Contains(err.Error(), good+"-gone") {
		t.Errorf("error %v, want one that names the mirror", err)
	}
}
