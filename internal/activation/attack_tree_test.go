package activation

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/overlay"
)

// gameVariable makes the test binary do something as the game's user, see
// asGame.
const gameVariable = "L4D2_TEST_AS_GAME"

func init() {
	if verb, arg, found := strings.Cut(os.Getenv(gameVariable), " "); found {
		asGame(verb, arg)
		os.Exit(0)
	}
}

// asGame does what verb says and prints what came of it.
func asGame(verb, arg string) {
	switch verb {
	case "ids":
		os.Stdout.WriteString(ids(os.Geteuid(), os.Getegid()))
	case "open":
		_, err := unix.Open(arg, unix.O_RDWR|unix.O_NONBLOCK, 0)
		os.Stdout.WriteString(errorText(err))
	case "forge": // an attribute that only root may set
		os.Stdout.WriteString(errorText(unix.Lsetxattr(arg, "trusted.overlay.opaque", []byte("y"), 0)))
	case "whiteout":
		os.Stdout.WriteString(errorText(unix.Mknod(arg, unix.S_IFCHR, int(unix.Mkdev(1, 1)))))
	case "rename":
		name := append([]byte("\x1b]0;x\n<0>\u202e"), 0)
		unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
		os.Stdout.WriteString("ready\n")
		unix.Pause()
	case "flip":
		flip(arg)
	}
}

func ids(uid, gid int) string { return "uid " + itoa(uid) + ", gid " + itoa(gid) }

func errorText(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

// game is a command that runs program as the game's user.
func game(program, job string) *exec.Cmd {
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), gameVariable+"="+job)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  syscall.SIGKILL,
		Credential: &syscall.Credential{Uid: gameUID, Gid: gameGID},
	}
	return cmd
}

// wantGame fails unless the job prints want.
func wantGame(t *testing.T, program, job, want string) {
	t.Helper()
	if out, err := game(program, job).Output(); string(out) != want || err != nil {
		t.Errorf("%s: %q, %v; want %q", job, out, err, want)
	}
}

// selfCopy puts the test binary at path.
func (v *victim) selfCopy(path string) {
	v.t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	must(v.t, err)
	must(v.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(v.t, os.WriteFile(path, self, 0o755))
}

// A layer, or an upper directory from a backup, brings a program of root's
// with the set-id bits or capabilities, and device nodes. Without nosuid and
// nodev on the overlay, the game's user becomes root, or reads the disk.
func TestNoPrivilegeFromTheTree(t *testing.T) {
	v := newVictim(t)
	v.selfCopy("/proc/self/root" + filepath.Join(v.Layout.Overlay("mod"), "setid"))
	must(t, os.Chmod(filepath.Join(v.Layout.Overlay("mod"), "setid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	for _, dir := range []string{v.Layout.Overlay("mod"), v.Layout.Installation()} {
		for name, dev := range map[string]uint64{"null": unix.Mkdev(1, 3), "memory": unix.Mkdev(1, 1)} {
			os.Remove(filepath.Join(dir, name))
			must(t, unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o666, int(dev)))
			must(t, os.Chmod(filepath.Join(dir, name), 0o666))
		}
	}
	v.mustMount()
	defer v.mustUnmount()
	must(t, unix.Mknod(v.upper("disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))))
	must(t, os.Chmod(v.upper("disk"), 0o666))

	// The bits work where nothing forbids them, so this would be seen.
	wantGame(t, filepath.Join(v.Layout.Overlay("mod"), "setid"), "ids -", ids(0, 0))
	wantGame(t, v.merged("setid"), "ids -", ids(gameUID, gameGID))
	must(t, os.Chmod(v.merged("setid"), 0o755|os.ModeSetuid|os.ModeSetgid)) // copies it to upper
	wantGame(t, v.merged("setid"), "ids -", ids(gameUID, gameGID))

	wantGame(t, "/proc/self/exe", "open /dev/null", "no error")
	for _, name := range []string{"null", "memory", "disk"} {
		wantGame(t, "/proc/self/exe", "open "+v.merged(name), unix.EACCES.Error())
	}
	// What would make the attributes below a matter of the game's user.
	wantGame(t, "/proc/self/exe", "forge "+v.merged(gameDir), unix.EPERM.Error())
	wantGame(t, "/proc/self/exe", "whiteout "+v.merged(gameDir+"/x"), unix.EPERM.Error())
}

// The kernel keeps its notes on files in trusted.overlay.*; a backup that was
// restored, or a layer that was unpacked, by root can bring any. An overlay
// with redirect_dir=on or metacopy=on (or the distribution's defaults) follows
// them to directories and data of the packer's choice.
func TestOverlayAttributes(t *testing.T) {
	for name, tt := range map[string]struct {
		attr, value string
		at          string
		refused     bool // else it must start; refused starts are safe, too
	}{
		"redirect of a directory":  {"trusted.overlay.redirect", "/hidden", gameDir, true},
		"redirect upwards":         {"trusted.overlay.redirect", "/../../foreign", gameDir, true},
		"redirect of the config":   {"trusted.overlay.redirect", "/hidden/cfg", configDir, true},
		"metacopy of the file":     {"trusted.overlay.metacopy", "", configFile, true},
		"opaque game directory":    {"trusted.overlay.opaque", "y", gameDir, false},
		"opaque config directory":  {"trusted.overlay.opaque", "y", configDir, false},
		"opaque root":              {"trusted.overlay.opaque", "y", ".", false},
		"impure":                   {"trusted.overlay.impure", "y", configDir, false},
		"garbage as origin":        {"trusted.overlay.origin", "garbage", gameDir, false},
		"origin of the file":       {"trusted.overlay.origin", "\x00\xfb\x1d\x01", configFile, false},
		"unknown":                  {"trusted.overlay.nonsense", "y", gameDir, false},
		"protected attributes":     {"trusted.overlay.protattr", "i", configFile, true},
		"the user's opaque":        {"user.overlay.opaque", "y", gameDir, false},
		"the user's redirect":      {"user.overlay.redirect", "/hidden", gameDir, false},
		"the user's metacopy":      {"user.overlay.metacopy", "", configFile, false},
		"the user's escaped":       {"trusted.overlay.overlay.opaque", "y", gameDir, false},
		"the user's whiteout mark": {"user.overlay.whiteout", "", configFile, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, h *host) {
				for _, place := range []string{"upper", "layer"} {
					v := newVictimBy(t, h)
					in := inTree{v, place}.fresh(t)
					v = in.victim
					// What a redirect would bring into view.
					for _, layer := range []string{v.Layout.Installation(), v.Layout.Overlay("mod")} {
						v.write(filepath.Join(layer, "hidden/secret.txt"), "secret")
						v.write(filepath.Join(layer, "hidden/cfg/secret.txt"), "secret")
					}
					if tt.at == configFile {
						v.write(in.path(configFile), "planted")
					}
					must(t, unix.Lsetxattr(in.path(tt.at), tt.attr, []byte(tt.value), 0))
					v.begin()
					err := v.Mount()
					if err == nil {
						v.wantConfig()
						for _, dir := range []string{gameDir, configDir} {
							if _, err := os.Lstat(v.merged(dir + "/secret.txt")); err == nil {
								t.Errorf("%s: the redirect was followed", place)
							}
						}
						// What only the user said must not hide the layers.
						if _, err := os.Lstat(v.merged("left4dead2/shared.txt")); err != nil && strings.HasPrefix(tt.attr, "user.") {
							t.Errorf("%s: the game's user hides the layers: %v", place, err)
						}
						v.mustUnmount()
					} else {
						if !tt.refused {
							t.Errorf("%s: %v", place, err)
						}
						// EPERM, or EACCES for what is no path, or EIO (metacopy, up to 6.12).
						wantError(t, err, "copy server.cfg")
						if !strings.Contains(advice.For(err), "trusted.overlay") {
							t.Errorf("%v: the advice is %q", err, advice.For(err))
						}
						v.wantFree()
					}
					v.wantUnharmed()
				}
			})
		})
	}
}

// The attributes with meaning to the kernel need root: setting them as the
// game's user fails, and a tree with whiteouts all over is no more than empty.
func TestWhiteoutsEverywhere(t *testing.T) {
	eachMethod(t, func(t *testing.T, h *host) {
		for _, name := range []string{gameDir, configDir} {
			in := inTree{newVictimBy(t, h), "upper"}.fresh(t)
			whiteout(in, name)
			in.begin()
			in.mustMount()
			in.wantConfig()
			// What lies under the whiteout must not show again.
			if _, err := os.Lstat(in.merged("left4dead2/shared.txt")); err == nil && name == gameDir {
				t.Error("the lower directory shines through")
			}
			var st unix.Stat_t
			must(t, unix.Stat(in.merged(configDir), &st))
			if st.Uid != gameUID || st.Gid != gameGID {
				t.Errorf("the new directory belongs to %d:%d", st.Uid, st.Gid)
			}
			in.mustUnmount()
			in.wantStart() // and once more
			in.wantUnharmed()
		}
	})
}

// Someone's directory is mounted inside upper or a layer. A copy that went
// through the paths of upper, and not of the overlay, would land there.
func TestMountsInTheTree(t *testing.T) {
	eachPlace(t, func(t *testing.T, place inTree) {
		for _, name := range []string{gameDir, configDir} {
			t.Run(name, func(t *testing.T) {
				in := place.fresh(t)
				bindAt(in.host, in.foreign, in.path(name))
				in.begin()
				in.wantStart()
				in.wantUnharmed()
			})
		}
		t.Run("the file", func(t *testing.T) {
			in := place.fresh(t)
			file(in, configFile)
			must(t, bindMount(foreignFile(in.victim), in.path(configFile)))
			defer unix.Unmount(in.path(configFile), unix.MNT_DETACH)
			in.begin()
			if place.dir == "upper" {
				in.wantRefusal("copy server.cfg: in "+in.merged(configDir), "busy")
			} else {
				in.wantStart()
			}
			in.wantUnharmed()
		})
	})
}

func TestMountsInTheWay(t *testing.T) {
	for _, name := range []string{upperDir, workDir} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.mustMount()
			v.mustUnmount()
			bindAt(v.host, v.other, filepath.Join(v.Layout.Runtime("a"), name))
			v.begin()
			v.wantRefusal(`open "` + name + `": something is mounted there`)
			v.wantUnharmed()
		})
	}
}

// The work directory is emptied as root: a plain removal follows what is in it.
func TestPlantedInWork(t *testing.T) {
	for name, plant := range map[string]struct {
		put     func(v *victim, work string)
		refused string
	}{
		"link":      {func(v *victim, work string) { must(v.t, os.Symlink(v.foreign, work)) }, ""},
		"FIFO":      {func(v *victim, work string) { must(v.t, unix.Mkfifo(work, 0o666)) }, ""},
		"file":      {func(v *victim, work string) { must(v.t, os.WriteFile(work, nil, 0o666)) }, ""},
		"hard link": {func(v *victim, work string) { must(v.t, os.Link(foreignFile(v), work)) }, ""},
		"links inside": {func(v *victim, work string) {
			must(v.t, os.Mkdir(work, 0o777))
			must(v.t, os.Symlink(v.foreign, work+"/work"))
			must(v.t, os.Link(foreignFile(v), work+"/#1"))
			must(v.t, os.Symlink("../../../../foreign", work+"/up"))
		}, ""},
		"deep and wide": {func(v *victim, work string) {
			must(v.t, os.MkdirAll(work+strings.Repeat("/d", 200), 0o755))
			for i := range 200 {
				must(v.t, os.WriteFile(work+"/"+itoa(i), nil, 0o644))
			}
		}, ""},
		// os.RemoveAll deletes the source of a bind mount.
		"bind mount": {func(v *victim, work string) {
			bindAt(v.host, v.foreign, work+"/inner")
		}, `"work/inner": something is mounted there`},
		// The kernel mounts read-only when it cannot empty it itself.
		"append-only": {func(v *victim, work string) {
			must(v.t, os.MkdirAll(work+"/kept/inner", 0o755))
			protect(v.t, work+"/kept", flagAppend)
		}, "immutable or append-only"},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t)
			v.mustMount()
			v.mustUnmount()
			plant.put(v, filepath.Join(v.Layout.Work("a"), kernelWorkDir))
			v.begin()
			if plant.refused != "" {
				v.wantRefusal("empty "+v.Layout.Work("a"), plant.refused)
			} else {
				v.wantStart()
			}
			v.wantUnharmed()
		})
	}
}

// A holder chooses its own name, and the names of the directories it stays in;
// printed as they are, they forge lines of the journal or drive a terminal.
func TestHostileNamesInMessages(t *testing.T) {
	v := newVictim(t)
	v.mustMount()
	dir := v.merged(gameDir + "/x\n<0>forged\x1b[2J\u202e")
	must(t, os.Mkdir(dir, 0o777))
	cmd := game("/proc/self/exe", "rename -")
	cmd.Dir = dir
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer end(cmd)
	_, err = out.Read(make([]byte, 1))
	must(t, err)

	v.said.Reset()
	err = v.Unmount()
	if !errors.Is(err, overlay.ErrBusy) {
		t.Fatalf("%v, want ErrBusy", err)
	}
	v.Log.Error("%v", err)
	wantError(t, err, pid(cmd), `"\x1b]0;x\n<0>\u202e"`, "uid 61234", `x\n<0>forged\x1b[2J\u202e`)
	if said := v.said.String(); strings.Count(said, "\n") != 1 || strings.ContainsAny(said, "\x1b\u202e") {
		t.Errorf("raw: %q", said)
	}
	end(cmd)
	v.mustUnmount()
}
