package activation

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// The tests of the files called attack* are what the game's user, who owns
// upper, the installation and the layers, or someone who packed a layer can
// try against the helper. Each would succeed against a plain implementation.

const (
	gameDir    = "left4dead2"
	configDir  = "left4dead2/cfg"
	configFile = "left4dead2/cfg/server.cfg"

	temporaryFile = "left4dead2/cfg/.server.cfg.l4d2-host"
	temporaryDir  = "left4dead2/.cfg.l4d2-host"
	temporaryTop  = ".left4dead2.l4d2-host"
)

// victim is a host with what no attack may change: a directory of root's, and
// another instance's state.
type victim struct {
	*host
	foreign string
	other   string
	before  string
}

func newVictim(t testing.TB) *victim {
	h := newHost(t)
	v := &victim{host: h, foreign: filepath.Join(h.Layout.Root(), "foreign"), other: h.Layout.Upper("b")}
	// The game's user must be able to get this far.
	must(t, os.Chmod(filepath.Join(h.Layout.Root(), "../.."), 0o755))
	must(t, os.Chmod(filepath.Join(h.Layout.Root(), ".."), 0o755))
	for _, dir := range []string{v.foreign, v.other} {
		for _, name := range []string{"server.cfg", "cfg/server.cfg", configFile, temporaryFile} {
			h.write(filepath.Join(dir, name), "precious "+name)
		}
	}
	h.own(v.other)
	return v
}

// begin notes what is there, once everything is planted.
func (v *victim) begin() { v.before = v.snapshot() }

// wantUnharmed fails the test if anything foreign has changed since begin.
func (v *victim) wantUnharmed() {
	v.t.Helper()
	if after := v.snapshot(); after != v.before {
		v.t.Errorf("harmed:\n%s\nbefore:\n%s", after, v.before)
	}
}

func (v *victim) snapshot() string {
	v.t.Helper()
	var b strings.Builder
	for _, dir := range []string{v.foreign, v.other} {
		must(v.t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			var text []byte
			if info.Mode().IsRegular() {
				text, err = os.ReadFile(path)
			}
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s %v %d:%d inode %d, %v %q\n", path, info.Mode(), st.Uid, st.Gid, st.Ino, info.ModTime(), text)
			return err
		}))
	}
	return b.String()
}

// wantStart mounts, and fails unless server.cfg is the helper's own.
func (v *victim) wantStart() {
	v.t.Helper()
	if err := v.Mount(); err != nil {
		v.t.Errorf("refused: %v", err)
		v.wantFree()
		return
	}
	v.wantConfig()
	v.mustUnmount()
}

func (v *victim) wantConfig() {
	v.t.Helper()
	var st unix.Stat_t
	must(v.t, unix.Lstat(v.merged(configFile), &st))
	if st.Mode != unix.S_IFREG|0o640 || st.Uid != 0 || st.Gid != gameGID || st.Nlink != 1 {
		v.t.Errorf("server.cfg: mode %#o, owner %d:%d, %d links", st.Mode, st.Uid, st.Gid, st.Nlink)
	}
	if got, err := os.ReadFile(v.merged(configFile)); string(got) != "hostname \"a\"\n" {
		v.t.Errorf("server.cfg: %q, %v", got, err)
	}
	if names, err := filepath.Glob(v.merged(configDir) + "/.*.l4d2-host"); len(names) != 0 || err != nil {
		v.t.Errorf("left behind: %q, %v", names, err)
	}
}

// wantRefusal fails unless the start is refused for that reason, with advice.
func (v *victim) wantRefusal(parts ...string) {
	v.t.Helper()
	err := v.Mount()
	wantError(v.t, err, parts...)
	if err != nil && advice.For(err) == "" {
		v.t.Errorf("%v says nothing of what to do", err)
	}
	v.wantFree()
}

// inTree is where a test plants something: the upper directory, or a layer.
type inTree struct {
	*victim
	dir string
}

func (in inTree) path(name string) string { return filepath.Join(in.dir, name) }

func (in inTree) clear(name string) {
	in.t.Helper()
	must(in.t, os.RemoveAll(in.path(name)))
	must(in.t, os.MkdirAll(filepath.Dir(in.path(name)), 0o755))
}

func (in inTree) node(name string, mode uint32, dev int) {
	in.t.Helper()
	in.clear(name)
	must(in.t, unix.Mknod(in.path(name), mode, dev))
}

// A plant puts something at name.
type plant func(in inTree, name string)

func link(to func(v *victim) string) plant {
	return func(in inTree, name string) {
		in.clear(name)
		must(in.t, os.Symlink(to(in.victim), in.path(name)))
	}
}

func fixed(to string) plant { return link(func(*victim) string { return to }) }

func node(mode uint32, major, minor uint32) plant {
	return func(in inTree, name string) { in.node(name, mode|0o666, int(unix.Mkdev(major, minor))) }
}

// whiteout is what hides the file of a lower layer; only root can make one.
var whiteout = node(unix.S_IFCHR, 0, 0)

func socket(in inTree, name string) {
	in.clear(name)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(in.t, err)
	defer unix.Close(fd)
	dir, err := os.Open(filepath.Dir(in.path(name))) // the path is too long for bind(2)
	must(in.t, err)
	defer dir.Close()
	must(in.t, unix.Bind(fd, &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(name)}))
}

func hardLink(in inTree, name string) {
	in.clear(name)
	must(in.t, os.Link(filepath.Join(in.foreign, "server.cfg"), in.path(name)))
}

func file(in inTree, name string) {
	in.clear(name)
	in.write(in.path(name), "planted")
	must(in.t, os.Chmod(in.path(name), 0o777|os.ModeSetuid|os.ModeSetgid))
}

func directory(in inTree, name string) {
	in.clear(name)
	in.write(in.path(name)+"/sub/dir/file", "planted")
}

// foreignFile and its like are where links lead: absolute, by way of /proc, and
// relative from the merged tree.
func foreignFile(v *victim) string { return filepath.Join(v.foreign, "server.cfg") }
func throughProc(v *victim) string { return "/proc/self/root" + v.foreign }
func foreignDir(v *victim) string  { return v.foreign }
func nowhere(v *victim) string     { return filepath.Join(v.foreign, "new") }
func procFile(v *victim) string    { return "/proc/self/root" + foreignFile(v) }

// atFile is what can stand where the helper writes a file.
var atFile = []struct {
	name string
	put  plant
}{
	{"link", link(foreignFile)}, // truncates and writes the file behind
	{"relative link", fixed("../../../../b/upper/left4dead2/cfg/server.cfg")}, // writes into another instance
	{"dangling link", link(nowhere)},                                          // makes a file elsewhere, and gives it away
	{"link through /proc", link(procFile)},                                    // leaves the tree in spite of a check of "absolute"
	{"link to a descriptor", fixed("/proc/self/fd/2")},                        // writes the rcon password to the journal
	{"link to itself", fixed("server.cfg")},                                   // fails for ever
	{"link to a directory", link(foreignDir)},                                 // renames the file into it, as mv does
	{"FIFO", node(unix.S_IFIFO, 0, 0)},                                        // waits for ever for a reader
	{"socket", socket},                                                        // fails at open
	{"device", node(unix.S_IFCHR, 1, 7)},                                      // writes to it (/dev/full)
	{"block device", node(unix.S_IFBLK, 7, 200)},                              // writes to a disk
	{"hard link", hardLink},                                                   // writes to, or chowns, the foreign inode
	{"set-id file", file},                                                     // keeps mode and owner of the file in the way
	{"whiteout", whiteout},                                                    // takes it for a device in the way
}

// atDir is what can stand in the place of a directory above the file, and the
// reason of the refusal. Followed, each link leads the file elsewhere.
var atDir = []struct {
	name string
	put  plant
	want string
}{
	{"link", link(foreignDir), "it is a symbolic link"},                   // writes server.cfg there, as root
	{"relative link", fixed("../../../b/upper"), "it is a symbolic link"}, // writes into another instance
	{"dangling link", link(nowhere), "it is a symbolic link"},             // makes the directory elsewhere
	{"link through /proc", link(throughProc), "it is a symbolic link"},    // RESOLVE_BENEATH alone lets it pass for a magic link
	{"link to the working directory", fixed("/proc/self/cwd"), "it is a symbolic link"},
	{"link inside", fixed("."), "it is a symbolic link"},    // os.Root follows it: harmless, but the game reads another file
	{"file", file, "not a directory"},                       // mkdir -p fails without a hint
	{"FIFO", node(unix.S_IFIFO, 0, 0), "not a directory"},   // an open without O_DIRECTORY waits for ever
	{"socket", socket, "not a directory"},                   // the same
	{"device", node(unix.S_IFCHR, 1, 3), "not a directory"}, // an open has side effects
}

// eachPlace runs f with both methods, planting in upper and in a layer.
func eachPlace(t *testing.T, f func(t *testing.T, in inTree)) {
	eachMethod(t, func(t *testing.T, h *host) {
		for _, place := range []string{"upper", "layer"} {
			t.Run(place, func(t *testing.T) {
				f(t, inTree{newVictimBy(t, h), place})
			})
		}
	})
}

func newVictimBy(t *testing.T, h *host) *victim {
	v := newVictim(t)
	v.Method = h.Method
	return v
}

// fresh is a new victim for the next case in the same place.
func (in inTree) fresh(t *testing.T) inTree {
	v := newVictimBy(t, in.host)
	if in.dir == "layer" {
		return inTree{v, v.Layout.Overlay("mod")}
	}
	v.mustMount()
	v.mustUnmount()
	return inTree{v, v.Layout.Upper("a")}
}

func TestPlantedAtFile(t *testing.T) {
	eachPlace(t, func(t *testing.T, place inTree) {
		for _, tt := range atFile {
			for _, name := range []string{configFile, temporaryFile} {
				t.Run(tt.name+" at "+filepath.Base(name), func(t *testing.T) {
					in := place.fresh(t)
					tt.put(in, name)
					in.begin()
					in.wantStart()
					in.wantUnharmed()
				})
			}
		}
		// A directory is not removed: the operator may want what is in it.
		for _, name := range []string{configFile, temporaryFile} {
			t.Run("directory at "+filepath.Base(name), func(t *testing.T) {
				in := place.fresh(t)
				directory(in, name)
				in.begin()
				in.wantRefusal("copy server.cfg: in "+in.merged(configDir), "is a directory")
				in.wantUnharmed()
			})
		}
	})
}

func TestPlantedAtDirectory(t *testing.T) {
	eachPlace(t, func(t *testing.T, place inTree) {
		for _, tt := range atDir {
			for _, name := range []string{gameDir, configDir} {
				t.Run(tt.name+" at "+name, func(t *testing.T) {
					in := place.fresh(t)
					tt.put(in, name)
					in.begin()
					in.wantRefusal("copy server.cfg: in ", strconv.Quote(filepath.Base(name)), tt.want)
					in.wantUnharmed()
				})
			}
		}
	})
}

// The directories are missing, and something stands where the helper makes
// them: a plain mkdir -p, or a chown of the path afterwards, goes wrong.
func TestPlantedAtTemporaryDirectory(t *testing.T) {
	eachPlace(t, func(t *testing.T, place inTree) {
		for what, put := range map[string]plant{
			"link":      link(foreignDir), // gives away the directory behind
			"dangling":  link(nowhere),    // makes it elsewhere
			"hard link": hardLink,         // gives away the foreign file
			"FIFO":      node(unix.S_IFIFO, 0, 0),
			"directory": directory, // takes over what is in it
			"whiteout":  whiteout,
		} {
			for missing, name := range map[string]string{gameDir: temporaryTop, configDir: temporaryDir} {
				t.Run(what+" at "+name, func(t *testing.T) {
					in := place.fresh(t)
					whiteout(in, missing)
					must(t, os.RemoveAll(in.Layout.Installation()+"/"+missing))
					put(in, name)
					in.begin()
					in.wantStart()
					in.wantUnharmed()
				})
			}
		}
	})
}

// A file that the game's user opened before must not be the one that gets the
// rcon password's next value, nor stay writable to it: an implementation that
// truncates and writes keeps the inode.
func TestOldDescriptorSeesNothing(t *testing.T) {
	v := newVictim(t)
	v.mustMount()
	v.mustUnmount()
	must(t, os.WriteFile(v.upper(configFile), []byte("old"), 0o666))
	f, err := os.OpenFile(v.upper(configFile), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	v.mustMount()
	defer v.mustUnmount()
	if text, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(int(f.Fd()))); string(text) != "old" || err != nil {
		t.Errorf("the old file now holds %q, %v", text, err)
	}
	_, err = f.WriteString("forged")
	must(t, err)
	v.wantConfig()
}

// mkdir -p and a walk over the directory would both do here; listing it for
// each start would not scale.
func TestHugeDirectory(t *testing.T) {
	v := newVictim(t)
	v.mustMount()
	v.mustUnmount()
	for i := range 3000 {
		must(t, os.WriteFile(v.upper(configDir)+"/"+strconv.Itoa(i), nil, 0o644))
	}
	v.begin()
	v.wantStart()
	v.wantUnharmed()
}

// Directories that nobody but root may enter, or that belong to someone else.
func TestShutDirectories(t *testing.T) {
	v := newVictim(t)
	v.mustMount()
	v.mustUnmount()
	for _, name := range []string{configDir, gameDir} {
		must(t, os.Chmod(v.upper(name), 0))
		must(t, os.Chown(v.upper(name), 1, 1))
	}
	v.begin()
	v.wantStart()
	v.wantUnharmed()
}
