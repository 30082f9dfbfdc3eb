package activation

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

func TestNoUser(t *testing.T) {
	newHost(t) // in a mount namespace of its own
	passwd := filepath.Join(t.TempDir(), "passwd")
	must(t, os.WriteFile(passwd, []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644))
	must(t, bindMount(passwd, "/etc/passwd"))
	defer unix.Unmount("/etc/passwd", unix.MNT_DETACH)
	_, err := LookUpOwner()
	wantError(t, err, "there is no user l4d2 on this system")
	if !strings.Contains(advice.For(err), "systemd-sysusers") {
		t.Errorf("hint %q", advice.For(err))
	}
}

func TestFindOwner(t *testing.T) {
	for _, tt := range []struct {
		passwd string
		want   Owner
		found  bool
	}{
		{"l4d2:x:990:991::/:/bin/false\n", Owner{990, 991}, true},
		{"root:x:0:0::/:/bin/sh\nnot-l4d2:x:1:1::/:\nl4d2:x:990:991::/:/bin/false\nl4d2:x:5:5::/:", Owner{990, 991}, true},
		{"root:x:0:0:\nxl4d2:x:1:2::/:/bin/sh", Owner{}, false},
		{"l4d22:x:1:2::/:/bin/sh", Owner{}, false},
		{"l4d2:x:1:2:/:/bin/sh", Owner{}, false},
		{"l4d2:x:-1:2::/:/bin/sh", Owner{}, false},
		{"l4d2:x:1:99999999999::/:/bin/sh", Owner{}, false},
		{"", Owner{}, false},
	} {
		if got, found := findOwner(tt.passwd); found != tt.found || found && got != tt.want {
			t.Errorf("%q: %v, %v", tt.passwd, got, found)
		}
	}
}
