package mountinfo

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("/a/layer:", 20_000)
	for _, tt := range []struct {
		name, text string
		want       []Mount
	}{
		{"none", "", nil},
		{
			"no optional field", "21 20 0:19 / /sys rw,nosuid - sysfs sysfs rw\n",
			[]Mount{{21, 20, 0, 19, "/", "/sys", "sysfs", "sysfs"}},
		},
		{
			"optional fields, no last newline", "36 35 98:7 /mnt1 /mnt2 rw shared:3 master:1 - ext3 /dev/root rw,errors=continue",
			[]Mount{{36, 35, 98, 7, "/mnt1", "/mnt2", "ext3", "/dev/root"}},
		},
		{
			"escapes", `36 35 0:7 /a\134b /with\040space\011tab\012line rw - fuse.x\043y a\040b rw` + "\n",
			[]Mount{{36, 35, 0, 7, `/a\b`, "/with space\ttab\nline", "fuse.x#y", "a b"}},
		},
		{
			"a line over 64 KiB", "36 35 0:7 / /m rw - overlay l4d2:a rw,lowerdir=" + long + "\n37 35 0:8 / /n rw - tmpfs tmpfs rw\n",
			[]Mount{{36, 35, 0, 7, "/", "/m", "overlay", "l4d2:a"}, {37, 35, 0, 8, "/", "/n", "tmpfs", "tmpfs"}},
		},
	} {
		got, err := Parse([]byte(tt.text))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", tt.name, err, diff)
		}
	}
}

func TestParseBad(t *testing.T) {
	for _, text := range []string{"\n", "x", "36 35 98:0 / /m rw ext3 dev rw", "x 35 98:0 / /m rw - ext3 dev rw", "36 35 98 / /m rw - ext3 dev rw", "36 -1 9:0 / /m rw - ext3 dev rw"} {
		if got, err := Parse([]byte(text)); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, got)
		}
	}
}

func TestSelf(t *testing.T) {
	mounts, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		if m.Point == "/proc" && m.FSType == "proc" {
			return
		}
	}
	t.Errorf("no /proc among %d mounts", len(mounts))
}

func TestFind(t *testing.T) {
	mounts, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range mounts {
		got, err := Find(uint64(want.ID))
		if err != nil || got == nil || *got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	if got, err := Find(1 << 40); got != nil || err != nil {
		t.Errorf("an ID that no mount has: %+v, %v", got, err)
	}
}

// The number is compared whole, with the first field alone.
func TestFindAmongSimilar(t *testing.T) {
	const data = "36 3 0:7 / /a rw - overlay l4d2:a rw\n363 36 0:8 / /b rw - tmpfs b rw\n3 1 0:9 / /c rw - tmpfs c rw"
	for id, want := range map[uint64]string{36: "/a", 363: "/b", 3: "/c", 1: "", 6: "", 63: ""} {
		m, err := find([]byte(data), id)
		if err != nil || want == "" && m != nil || want != "" && (m == nil || m.Point != want) {
			t.Errorf("%d: %+v, %v; want %q", id, m, err, want)
		}
	}
	if m, err := find([]byte("36 nonsense\n"), 36); err == nil {
		t.Errorf("a bad line: %+v", m)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("36 35 98:7 /mnt1 /mnt2 rw shared:3 - ext3 /dev/root rw\n")
	f.Add(`36 35 0:7 /a\134b /\04 rw - a\777 \ rw`)
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		mounts, err := Parse([]byte(text))
		if err == nil && len(mounts) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mounts in %d lines", len(mounts), strings.Count(text, "\n")+1)
		}
	})
}
