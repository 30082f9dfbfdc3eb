package activation

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/overlay"
)

func itoa(n int) string { return strconv.Itoa(n) }

// raceFor is how long each race is run; an implementation with the window of
// a check and a use loses within a tenth of it.
const raceFor = 1500 * time.Millisecond

// flip exchanges, again and again until it is killed, what the helper works on
// in "TREE FOREIGN": left4dead2/cfg for a link to the foreign directory, and the
// temporary name and server.cfg itself for links to a foreign file.
func flip(arg string) {
	tree, foreign, _ := strings.Cut(arg, " ")
	top := filepath.Join(tree, gameDir)
	secret := filepath.Join(foreign, "server.cfg")
	os.Stdout.WriteString("ready\n")
	for n := 0; ; n++ {
		os.Symlink(foreign, top+"/trap")
		unix.Renameat2(unix.AT_FDCWD, top+"/cfg", unix.AT_FDCWD, top+"/trap", unix.RENAME_EXCHANGE)
		if n%2 == 0 {
			continue
		}
		// Whichever of the two is now the directory.
		for _, dir := range []string{top + "/cfg", top + "/trap"} {
			if fi, err := os.Lstat(dir); err != nil || !fi.IsDir() {
				continue
			}
			for _, name := range []string{".server.cfg.l4d2-host", "server.cfg"} {
				os.Remove(dir + "/x")
				switch n / 2 % 4 {
				case 0:
					os.Symlink(secret, dir+"/x")
				case 1:
					unix.Mkfifo(dir+"/x", 0o666)
				case 2:
					os.Mkdir(dir+"/x", 0o777)
				case 3:
					os.WriteFile(dir+"/x", nil, 0o666)
				}
				os.Rename(dir+"/x", dir+"/"+name)
				if n/2%4 == 2 {
					os.Remove(dir + "/" + name)
				}
			}
		}
	}
}

// The game's user changes the tree while root copies server.cfg into it:
// through upper, which it owns on disk, or in the mounted tree, where the
// mount is visible before it is complete (mount(2)), or left from a crash.
// Whatever becomes of the start, nothing outside is written or given away.
func TestRace(t *testing.T) {
	for _, place := range []string{"upper", "merged"} {
		t.Run(place, func(t *testing.T) {
			eachMethod(t, func(t *testing.T, h *host) {
				onTmpfs(t, func(t *testing.T, _ string) { // no disk to wait for: more rounds
					race(t, newVictimBy(t, h), place)
				})
			})
		})
	}
}

func race(t *testing.T, v *victim, place string) {
	v.mustMount()
	v.mustUnmount()
	v.begin()
	cmd := game("/proc/self/exe", "flip "+filepath.Join(v.Layout.Runtime("a"), place)+" "+v.foreign)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer end(cmd)
	_, err = out.Read(make([]byte, 1))
	must(t, err)
	starts, refusals := 0, 0
	for begun := time.Now(); time.Since(begun) < raceFor || starts+refusals < 5; {
		if err := v.Mount(); err != nil {
			refusals++
			// Only a left-over that the race holds busy may stay.
			if v.mounts() != 0 && !strings.Contains(err.Error(), "in use") && !errors.Is(err, overlay.ErrBusy) {
				t.Errorf("mounted after: %v", err)
			}
			continue
		}
		starts++
		if err := v.Unmount(); err != nil && !errors.Is(err, overlay.ErrBusy) {
			t.Error(err)
		}
	}
	t.Logf("%d starts, %d refusals", starts, refusals)
	end(cmd)
	must(t, v.Unmount())
	v.wantUnharmed()
	// The user's own mess is all that is left.
	must(t, os.RemoveAll(v.upper(gameDir)))
	v.wantStart()
}
