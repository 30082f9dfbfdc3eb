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
