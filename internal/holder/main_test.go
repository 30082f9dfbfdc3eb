package holder

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/privatens"
)

// holdVariable makes the test binary hold a mount: "KIND PATH".
const holdVariable = "L4D2_TEST_HOLD"

func TestMain(m *testing.M) {
	if job := os.Getenv(holdVariable); job != "" {
		kind, path, _ := strings.Cut(job, " ")
		if err := hold(kind, path); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	privatens.Main(m)
}

// hold holds path in the way that kind names, says so, and waits to be killed.
func hold(kind, path string) error {
	var err error
	switch kind {
	case Exe: // the caller saw to it
	case Cwd:
		err = os.Chdir(path)
	case Root:
		err = unix.Chroot(path) // and the working directory stays outside
	case File:
		_, err = unix.Open(path, unix.O_PATH, 0)
	case Mapping:
		var f *os.File
		if f, err = os.Open(path); err == nil {
			_, err = unix.Mmap(int(f.Fd()), 0, 1, unix.PROT_READ, unix.MAP_PRIVATE)
			f.Close()
		}
	case Socket:
		var l *net.UnixListener
		if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path}); err == nil {
			// Its name may go: the socket still holds the mount.
			l.SetUnlinkOnClose(false)
			err = os.Remove(path)
		}
	case "comm":
		name := append([]byte("\x1b]0;x\n<0>\u202e"), 0)
		if err = os.Chdir(path); err == nil {
			err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
		}
	default:
		err = fmt.Errorf("unknown kind %q", kind)
	}
	if err != nil {
		return err
	}
	fmt.Println("held")
	return unix.Pause()
}

// place is a mounted overlay.
type place struct {
	t     *testing.T
	dir   string
	mount Mount
}

func newPlace(t *testing.T) *place {
	t.Helper()
	privatens.Need(t)
	base := t.TempDir()
	p := &place{t: t, dir: filepath.Join(base, "merged")}
	for _, d := range []string{"lower/sub", "upper", "work", "merged"} {
		must(t, os.MkdirAll(filepath.Join(base, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(base, "lower/file"), []byte("text"), 0o644))
	must(t, unix.Mount("x", p.dir, "overlay", 0, "lowerdir="+base+"/lower,upperdir="+base+"/upper,workdir="+base+"/work"))
	t.Cleanup(func() { unix.Unmount(p.dir, unix.MNT_DETACH) })
	var st unix.Statx_t
	must(t, unix.Statx(unix.AT_FDCWD, p.dir, 0, unix.STATX_MNT_ID, &st))
	p.mount = Mount{ID: st.Mnt_id, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor)}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

// start starts program, by default the test binary, and waits until it holds.
func (p *place) start(kind, path, program string, attr syscall.SysProcAttr) *exec.Cmd {
	p.t.Helper()
	if program == "" {
		program = "/proc/self/exe"
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), holdVariable+"="+kind+" "+path)
	cmd.Stderr = os.Stderr
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = &attr
	out, err := cmd.StdoutPipe()
	must(p.t, err)
	must(p.t, cmd.Start())
	p.t.Cleanup(func() { end(cmd) })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		p.t.Fatalf("%s %s: %q, %v", kind, path, line, err)
	}
	return cmd
}

func end(cmd *exec.Cmd) {
	cmd.Process.Kill()
	cmd.Wait()
}

func (p *place) find() []Holder {
	p.t.Helper()
	holders, err := Find(p.mount)
	must(p.t, err)
	return holders
}

// one returns the only holder.
func (p *place) one() Holder {
	p.t.Helper()
	holders := p.find()
	if len(holders) != 1 {
		p.t.Fatalf("%d holders: %v", len(holders), holders)
	}
	return holders[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
