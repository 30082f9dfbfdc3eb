package activation

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The inode flags of linux/fs.h.
const flagImmutable, flagAppend = 0x10, 0x20

// protect sets an inode flag for the time of the test.
func protect(t testing.TB, path string, flag int) (release func()) {
	t.Helper()
	set := func(on bool) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		if flags &^= flag; on {
			flags |= flag
		}
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags)
	}
	must(t, set(true))
	release = func() {
		if err := set(false); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	t.Cleanup(release)
	return release
}

// Immutable and append-only files in upper stop the helper as they stop root.
// A message without a word of it sends the operator after permissions.
func TestProtectedInUpper(t *testing.T) {
	for what, flag := range map[string]int{"immutable": flagImmutable, "append-only": flagAppend} {
		for _, tt := range []struct{ at, want string }{
			{configFile, `"server.cfg": operation not permitted (an immutable or append-only file`},
			{temporaryFile, `".server.cfg.l4d2-host": operation not permitted (an immutable or append-only file`},
			{configDir, "operation not permitted (an immutable or append-only file"},
			{"", "the upper directory is immutable or append-only"},
		} {
			t.Run(what+" "+tt.at, func(t *testing.T) {
				v := newVictim(t)
				v.mustMount()
				v.mustUnmount()
				if tt.at == temporaryFile {
					v.write(v.upper(tt.at), "")
				}
				release := protect(t, v.upper(tt.at), flag)
				v.begin()
				v.wantRefusal(tt.want)
				v.wantUnharmed()
				release()
				v.wantStart()
			})
		}
	}
}

// In a layer they are another file system's business: the overlay replaces the
// file in upper. Kernels that carry the flag over (5.15) refuse.
func TestProtectedInLayer(t *testing.T) {
	for what, flag := range map[string]int{"immutable": flagImmutable, "append-only": flagAppend} {
		for _, at := range []string{configFile, configDir, gameDir} {
			t.Run(what+" "+at, func(t *testing.T) {
				v := newVictim(t)
				v.write(filepath.Join(v.Layout.Overlay("mod"), configFile), "layer's")
				release := protect(t, filepath.Join(v.Layout.Overlay("mod"), at), flag)
				v.begin()
				if err := v.Mount(); err != nil {
					wantError(t, err, "copy server.cfg", "immutable or append-only")
					v.wantFree()
				} else {
					v.wantConfig()
					v.mustUnmount()
				}
				v.wantUnharmed()
				release()
				v.wantStart()
			})
		}
	}
}
