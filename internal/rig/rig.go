// Package rig is a booted machine with l4d2-host installed from its package
// and the stand-in game in the place of Valve's. The tests of the whole and
// the demonstration run on it; nothing of it is packaged.
package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/machine"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/standin"
)

// Rig is the machine.
type Rig struct {
	*machine.Machine
	root string // the module's directory
}

// New boots a machine of the given distribution, with packages of Debian's on
// top of the usual ones, installs the package that "make deb" left in dist, and
// puts the stand-in game where the real one goes.
func New(ctx context.Context, dist machine.Distribution, log io.Writer, packages ...string) (*Rig, error) {
	r, err := Bare(ctx, machine.Options{Dist: dist, Log: log, Packages: packages})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.Install(ctx), r.InstallGame(ctx)); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Bare boots a machine that has neither the package nor the game.
func Bare(ctx context.Context, o machine.Options) (*Rig, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	m, err := machine.Boot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &Rig{m, root}, nil
}

// Module returns the path of a file of the source tree, such as what was built.
func (r *Rig) Module(path string) string { return filepath.Join(r.root, path) }

// Install installs the package, or installs it again.
func (r *Rig) Install(ctx context.Context) error {
	deb, err := r.deb()
	if err != nil {
		return err
	}
	if err := r.Push(deb, "/root/l4d2-host.deb"); err != nil {
		return err
	}
	_, err = r.Sh(ctx, "dpkg -i /root/l4d2-host.deb")
	return err
}

func (r *Rig) deb() (string, error) {
	found, err := filepath.Glob(r.Module("dist/l4d2-host_*.deb"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%d packages in dist, want one: run make deb", len(found))
	}
	return found[0], nil
}

// InstallGame puts the stand-in installation in place, owned as steamcmd, run
// by the game's user, leaves it.
func (r *Rig) InstallGame(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "l4d2-rig-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "srcds_linux")
	if err := standin.Build(ctx, program); err != nil {
		return err
	}
	if err := standin.Install(r.Path("/var/lib/l4d2/installation"), program); err != nil {
		return err
	}
	_, err = r.Sh(ctx, "chown -R l4d2:l4d2 /var/lib/l4d2/installation")
	return err
}

// Layer makes a layer with these files, given by their path under left4dead2.
func (r *Rig) Layer(ctx context.Context, name string, files map[string]string) error {
	dir := "/var/lib/l4d2/overlays/" + name
	for path, text := range files {
		if err := r.WriteFile(dir+"/left4dead2/"+path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	_, err := r.Sh(ctx, "chown -R l4d2:l4d2 "+dir)
	return err
}

// Sh runs a script and returns what it printed on both streams, without white
// space at its ends. An exit code other than 0 is an error that holds it too.
func (r *Rig) Sh(ctx context.Context, script string) (string, error) {
	res, err := r.Shell(ctx, "exec 2>&1; "+script)
	out := strings.TrimSpace(res.Stdout + res.Stderr)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s", script, res.Code, out)
	}
	return out, err
}

// Network calls f on a thread in the machine's network: what it dials by
// numeric address, it dials there.
func (r *Rig) Network(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with f
		net, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", r.Leader()))
		if err != nil {
			result <- err
			return
		}
		defer net.Close()
		if err := unix.Setns(int(net.Fd()), unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("join the machine's network: %w", err)
			return
		}
		result <- f()
	}()
	return <-result
}

// Ask returns the A2S_INFO answer of the server on port; it goes on asking
// until there is one or ctx ends.
func (r *Rig) Ask(ctx context.Context, port int) (info a2s.Info, err error) {
	err = r.Network(func() error {
		for {
			try, cancel := context.WithTimeout(ctx, time.Second)
			info, err = a2s.Query(try, address(port))
			cancel()
			if err == nil || ctx.Err() != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond) // refused at once while nobody listens
		}
	})
	return info, err
}

// Console runs a command on the server's console through RCON.
func (r *Rig) Console(ctx context.Context, port int, password, command string) (answer string, err error) {
	err = r.Network(func() error {
		c, err := rcon.Dial(ctx, address(port), password)
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err = c.Exec(ctx, command)
		return err
	})
	return answer, err
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// moduleRoot is the directory of go.mod, from the current directory upwards.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", errors.New("not inside the source tree: no go.mod above the current directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
