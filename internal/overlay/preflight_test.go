package overlay

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

func TestCheck(t *testing.T) {
	const containsOwn = "it contains the instance's own upper, work or merged directory"
	const insideOwn = "it lies inside the instance's own upper, work or merged directory"
	for name, tt := range map[string]struct {
		spoil func(p *place)
		layer int // from 0, or -1 for an error that is about no layer
		want  string
	}{
		"fine": {func(*place) {}, -1, ""},
		"neighbours with a common beginning": {func(p *place) {
			p.add(p.upper + "x")
			p.add(filepath.Join(p.dir, "upper"+"s"))
		}, -1, ""},
		"a layer in another": {func(p *place) { p.add(filepath.Join(p.lowers[0], "inner")) }, -1, ""},
		"twice":              {func(p *place) { p.add(p.lowers[0]) }, 2, "it is the same directory as layer 1"},
		"twice by a bind mount": {func(p *place) {
			p.bind(p.lowers[1], p.add(filepath.Join(p.dir, "bound")))
		}, 2, "it is the same directory as layer 2"},
		"above all":        {func(p *place) { p.add(p.dir) }, 2, containsOwn},
		"above upper":      {func(p *place) { p.add(filepath.Dir(p.upper)) }, 2, containsOwn},
		"above work":       {func(p *place) { p.add(filepath.Dir(p.work)) }, 2, containsOwn},
		"the root":         {func(p *place) { p.add("/") }, 2, containsOwn},
		"upper":            {func(p *place) { p.add(p.upper) }, 2, containsOwn},
		"work":             {func(p *place) { p.add(p.work) }, 2, containsOwn},
		"merged":           {func(p *place) { p.add(p.target.Path) }, 2, containsOwn},
		"in upper":         {func(p *place) { p.add(filepath.Join(p.upper, "sub")) }, 2, insideOwn},
		"deep in work":     {func(p *place) { p.add(filepath.Join(p.work, "1/2/3")) }, 2, insideOwn},
		"in merged":        {func(p *place) { p.add(filepath.Join(p.target.Path, "sub")) }, 2, insideOwn},
		"first of several": {func(p *place) { p.lowers[0] = p.upper; p.add(p.work) }, 0, containsOwn},
		"upper bound elsewhere": {func(p *place) {
			p.bind(p.upper, p.add(filepath.Join(p.dir, "bound")))
		}, 2, containsOwn},
		"work on another file system": {func(p *place) { p.tmpfs(p.work, 0) }, -1, "different file systems"},
		"upper on a read-only mount": {func(p *place) {
			p.bind(p.upper, p.upper)
			must(p.t, unix.Mount("", p.upper, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}, -1, "read-only mount"},
		"upper on an overlay": {func(p *place) {
			must(p.t, unix.Mount("x", p.upper, "overlay", 0, "lowerdir="+p.lowers[0]+":"+p.lowers[1]))
			p.t.Cleanup(func() { unix.Unmount(p.upper, unix.MNT_DETACH) })
		}, -1, "on an overlay"},
		"upper on ramfs": {func(p *place) {
			must(p.t, unix.Mount("x", p.upper, "ramfs", 0, ""))
			p.t.Cleanup(func() { unix.Unmount(p.upper, unix.MNT_DETACH) })
		}, -1, "on ramfs"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, "a", "b")
			tt.spoil(p)
			err := p.stack().Check(p.target)
			if tt.want == "" {
				must(t, err)
				return
			}
			wantError(t, err, tt.want)
			var layer *LayerError
			if isLayer := errors.As(err, &layer); isLayer != (tt.layer >= 0) || isLayer && layer.Layer != tt.layer {
				t.Errorf("%v is about layer %+v, want %d", err, layer, tt.layer)
			}
			if tt.layer < 0 && advice.For(err) == "" {
				t.Errorf("%v says nothing of what to do", err)
			}
		})
	}
}

// add makes the directory the lowest layer and returns its path.
func (p *place) add(path string) string {
	p.t.Helper()
	must(p.t, os.MkdirAll(path, 0o755))
	p.lowers = append(p.lowers, path)
	return path
}

func (p *place) bind(from, to string) {
	p.t.Helper()
	must(p.t, unix.Mount(from, to, "", unix.MS_BIND, ""))
	p.t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
}

func (p *place) tmpfs(path string, flags uintptr) {
	p.t.Helper()
	must(p.t, unix.Mount("x", path, "tmpfs", flags, ""))
	p.t.Cleanup(func() { unix.Unmount(path, unix.MNT_DETACH) })
}

// What Check would have caught, as the kernel words it.
func TestKernelsReason(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(p *place)
		err   error
		want  string // regular expression; older kernels word some of it differently
	}{
		"work in upper": {func(p *place) {
			p.work = filepath.Join(p.upper, "work")
			must(p.t, os.Mkdir(p.work, 0o755))
		}, unix.EINVAL, "workdir and upperdir must be separate subtrees"},
		"work elsewhere": {func(p *place) { p.tmpfs(p.work, 0) }, unix.EINVAL, "workdir and upperdir must reside under the same mount"},
		"layer in upper": {func(p *place) { p.add(filepath.Join(p.upper, "sub")) }, unix.ELOOP, "overlapping lowerdir path"},
		"upper as layer": {func(p *place) { p.add(p.upper) }, unix.ELOOP, "conflicting lowerdir path"},
		"read-only upper": {func(p *place) { p.tmpfs(p.upper, unix.MS_RDONLY); p.work = p.upper },
			unix.EINVAL, "r/o|read-only"},
		"layer is a file": {func(p *place) {
			file := filepath.Join(p.dir, "file")
			must(p.t, os.WriteFile(file, nil, 0o600))
			p.lowers = append(p.lowers, file)
		}, unix.EINVAL, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, method Method) {
				p := newPlace(t, "a", "b")
				tt.spoil(p)
				_, err := p.stack().Mount(p.target, method)
				if !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				log := openKernelLog()
				defer log.close()
				said := regexp.MustCompile(`: the kernel says ".*(` + tt.want + ")")
				if err != nil && log >= 0 && !said.MatchString(err.Error()) { // no log in most containers
					t.Errorf("error %q does not say %s", err, said)
				}
				if err != nil && strings.Contains(err.Error(), "\n") {
					t.Errorf("more than one line: %q", err)
				}
				p.wantFree()
			})
		})
	}
}

func TestKernelText(t *testing.T) {
	got := kernelText([]string{"e overlay: /x is not a directory", "overlayfs: overlapping lowerdir path ", "w overlayfs: third"})
	if want := "/x is not a directory; overlapping lowerdir path; third"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
