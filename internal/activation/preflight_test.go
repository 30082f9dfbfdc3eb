package activation

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// Every refusal says what to do.
func TestPreflightAdvice(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(h *host)
		want  []string
		hint  string
	}{
		"layer and installation the same": {func(h *host) {
			h.game(h.Layout.Overlay("mod"))
			must(h.t, os.RemoveAll(h.Layout.Installation()))
			must(h.t, os.Symlink("overlays/mod", h.Layout.Installation()))
		}, []string{"layer 2 (", "/installation): it is the same directory as layer 1"}, "once in the instance's spec"},
		"layer holds the instance": {func(h *host) { bindAt(h, h.Layout.Root(), h.Layout.Overlay("mod")) },
			[]string{"layer 1 (", "it contains the instance's own upper, work or merged directory"}, "a directory of its own"},
		"installation in upper": {func(h *host) {
			h.mustMount()
			h.mustUnmount()
			h.game(h.upper("game"))
			must(h.t, os.RemoveAll(h.Layout.Installation()))
			must(h.t, os.Symlink(h.upper("game"), h.Layout.Installation()))
		}, []string{"layer 2 (", "it lies inside the instance's own upper"}, "a directory of its own"},
		"layer is a file": {func(h *host) { h.write(h.Layout.Overlay("file"), ""); h.configure("file") },
			[]string{"layer 1 (", "not a directory"}, "unpack it"},
		"upper on ramfs": {func(h *host) { runtimeOn(h, "ramfs", 0, "mode=750") },
			[]string{"the upper directory is on ramfs"}, "ext4, xfs, btrfs or tmpfs"},
		"upper on an overlay": {func(h *host) {
			base := filepath.Join(h.t.TempDir(), "x")
			for _, dir := range []string{"lower", "upper", "work"} {
				must(h.t, os.MkdirAll(base+dir, 0o755))
			}
			must(h.t, os.MkdirAll(h.Layout.Runtime("a"), 0o750))
			must(h.t, unix.Mount("x", h.Layout.Runtime("a"), "overlay", 0, "lowerdir="+base+"lower,upperdir="+base+"upper,workdir="+base+"work"))
			h.t.Cleanup(func() { unix.Unmount(h.Layout.Runtime("a"), unix.MNT_DETACH) })
		}, []string{"the upper directory is on an overlay"}, "ext4, xfs, btrfs or tmpfs"},
		"runtime read-only": {func(h *host) { runtimeOn(h, "tmpfs", unix.MS_RDONLY, "mode=750") },
			[]string{"read-only"}, "remount"},
		"upper is a mount": {func(h *host) {
			h.mustMount()
			h.mustUnmount()
			must(h.t, unix.Mount("x", h.Layout.Upper("a"), "tmpfs", 0, ""))
			h.t.Cleanup(func() { unix.Unmount(h.Layout.Upper("a"), unix.MNT_DETACH) })
		}, []string{`open "upper": something is mounted there`}, "plain directory"},
		"upper in use": {func(h *host) {
			h.mustMount()
			sitIn(h.t.(*testing.T), h.merged(""), nil)
			must(h.t, unix.Unmount(h.Layout.Merged("a"), unix.MNT_DETACH))
		}, []string{"is in use by another overlay"}, "end the process"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			tt.spoil(h)
			err := h.Mount()
			wantError(t, err, tt.want...)
			if hint := advice.For(err); !strings.Contains(hint, tt.hint) {
				t.Errorf("%v: hint %q lacks %q", err, hint, tt.hint)
			}
			h.wantFree()
		})
	}
}

// runtimeOn gives the instance a file system of its own.
func runtimeOn(h *host, fstype string, flags uintptr, options string) {
	h.t.Helper()
	must(h.t, os.MkdirAll(h.Layout.Runtime("a"), 0o750))
	must(h.t, unix.Mount("x", h.Layout.Runtime("a"), fstype, flags, options))
	h.t.Cleanup(func() { unix.Unmount(h.Layout.Runtime("a"), unix.MNT_DETACH) })
}

// A disk of its own for one instance is welcome.
func TestRuntimeOnTmpfs(t *testing.T) {
	h := newHost(t)
	runtimeOn(h, "tmpfs", 0, "mode=750")
	h.mustMount()
	h.mustUnmount()
}

// A directory that the game's user cannot write to is no reason to refuse, but
// one to speak: the first is named, where it lies on disk, with what to do.
func TestUnwritableWarning(t *testing.T) {
	const says = "the game's user cannot write there"
	rootOwns := func(path string, mode os.FileMode) func(h *host) string {
		return func(h *host) string {
			full := filepath.Join(h.Layout.Root(), path)
			must(h.t, os.MkdirAll(full, 0o755))
			must(h.t, os.Chown(full, 0, 0))
			must(h.t, os.Chmod(full, mode))
			return full
		}
	}
	// beneath puts something in the place of left4dead2 into a layer below another
	// one, which has it as a directory.
	beneath := func(put func(h *host, path string)) func(h *host) string {
		return func(h *host) string {
			h.layer("evil")
			path := filepath.Join(h.Layout.Overlay("evil"), "left4dead2")
			must(h.t, os.RemoveAll(path))
			put(h, path)
			h.configure("mod", "evil")
			return ""
		}
	}
	for name, tt := range map[string]struct {
		spoil func(h *host) string
		warns bool
	}{
		// Followed, it would have the operator give root's directory away.
		"through a covered link": {beneath(func(h *host, path string) {
			outside := h.t.TempDir()
			must(h.t, os.Mkdir(filepath.Join(outside, "logs"), 0o755))
			must(h.t, os.Symlink(outside, path))
		}), false},
		"behind a covered file": {beneath(func(h *host, path string) {
			rootOwns("installation/left4dead2/logs", 0o755)(h)
			must(h.t, os.WriteFile(path, nil, 0o644))
		}), false},
		"all is well":               {func(*host) string { return "" }, false},
		"left4dead2 of a layer":     {rootOwns("overlays/mod/left4dead2", 0o755), true},
		"cfg of a layer":            {rootOwns("overlays/mod/left4dead2/cfg", 0o755), true},
		"addons of a layer":         {rootOwns("overlays/mod/left4dead2/addons", 0o755), true},
		"logs of the installation":  {rootOwns("installation/left4dead2/logs", 0o755), true},
		"hidden by a layer's":       {rootOwns("installation/left4dead2", 0o755), false},
		"the layer's own directory": {rootOwns("overlays/mod", 0o755), false},
		"for all to write":          {rootOwns("overlays/mod/left4dead2", 0o777), false},
		"for its group to write": {func(h *host) string {
			full := rootOwns("overlays/mod/left4dead2", 0o775)(h)
			must(h.t, os.Chown(full, 0, gameGID))
			return full
		}, false},
		"its own, but shut": {func(h *host) string {
			full := filepath.Join(h.Layout.Overlay("mod"), "left4dead2")
			must(h.t, os.Chmod(full, 0o555))
			return full
		}, true},
		"upper": {func(h *host) string {
			h.mustMount()
			h.mustUnmount()
			must(h.t, os.Chown(h.Layout.Upper("a"), 0, 0))
			return h.Layout.Upper("a")
		}, true},
		"copied up": {func(h *host) string {
			h.mustMount()
			must(h.t, os.Chown(h.merged("left4dead2/cfg"), 0, 0))
			h.mustUnmount()
			return h.upper("left4dead2/cfg")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			path := tt.spoil(h)
			h.said.Reset()
			for _, err := range h.Inspect() {
				if errors.Is(err, ErrUnwritable) && !tt.warns {
					t.Errorf("before the start: %v", err)
				}
			}
			h.mustMount()
			defer h.mustUnmount()
			want, remedy := "<4>"+path+": "+says, "chown -R l4d2:l4d2"
			if name == "its own, but shut" {
				remedy = "chmod u+rwx"
			}
			if tt.warns && (!strings.Contains(h.said.String(), want) || !strings.Contains(h.said.String(), "run "+remedy+" "+path)) {
				t.Errorf("no %q:\n%s", want, h.said)
			}
			if n := strings.Count(h.said.String(), says); n > 1 || n == 1 && !tt.warns {
				t.Errorf("%d warnings:\n%s", n, h.said)
			}
			// To do what it says is enough.
			if _, paths, found := strings.Cut(h.said.String(), "run "+remedy+" "); found {
				paths, _, _ = strings.Cut(paths, "\n")
				for _, path := range strings.Fields(paths) {
					h.own(path)
					must(t, os.Chmod(path, 0o755))
				}
			}
			h.mustUnmount()
			h.said.Reset()
			h.mustMount()
			if strings.Contains(h.said.String(), says) {
				t.Errorf("it is still said:\n%s", h.said)
			}
		})
	}
}
