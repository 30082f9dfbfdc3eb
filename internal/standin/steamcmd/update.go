package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// update is app_update NUMBER [-beta NAME] [validate].
func (c *console) update(args []string) int {
	if len(args) == 0 || args[0] != app {
		fmt.Printf("ERROR! Failed to install app '%s' (No subscription)\n", strings.Join(args, " "))
		return exitInstall
	}
	if c.user == "" {
		fmt.Println("ERROR! Not logged on.")
		return exitInstall
	}
	u := update{console: c, dir: c.dir, validate: slices.Contains(args, "validate")}
	if u.dir == "" {
		u.dir = filepath.Join(c.home, "Steam", "steamapps", "common", "l4d2")
	}
	u.old = readManifest(u.manifestPath())
	// Whose files are there counts as installed for Windows: the licence lacks
	// the installation of the Linux version, not its update.
	if c.user == "anonymous" && c.valve.values["ANONYMOUS"] == "windows" && c.platform == "linux" && u.old.platform != "windows" {
		fmt.Printf("ERROR! Failed to install app '%s' (Invalid platform)\n", app)
		return exitInstall
	}
	return u.run()
}

// update is one app_update.
type update struct {
	*console
	dir         string
	validate    bool
	old         manifest
	done, total int64
}

func (u *update) apps() string         { return filepath.Join(u.dir, "steamapps") }
func (u *update) manifestPath() string { return filepath.Join(u.apps(), "appmanifest_"+app+".acf") }
func (u *update) downloading() string  { return filepath.Join(u.apps(), "downloading", app) }

func (u *update) run() int {
	wanted, err := u.wanted()
	if err != nil {
		fmt.Printf("ERROR! Failed to install app '%s' (Missing configuration)\n", app)
		return exitInstall
	}
	build := u.valve.values["BUILD"]
	current := u.old.installed() && u.old.build == build && u.old.platform == u.platform
	if current && !u.validate {
		// It writes its book all the same.
		if err := u.write(manifest{state: 4, build: build, platform: u.platform, files: u.old.files}); err != nil {
			return u.failed(err)
		}
		fmt.Printf("Success! App '%s' already up to date.\n", app)
		return exitDone
	}
	if err := u.install(build, wanted); err != nil {
		return u.failed(err)
	}
	fmt.Printf("Success! App '%s' fully installed.\n", app)
	return exitDone
}

// failed says what the real one says.
func (u *update) failed(err error) int {
	state := 0x402
	var known stateError
	switch {
	case errors.As(err, &known):
		fmt.Println(string(known))
		return exitInstall
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		state = 0x202
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		fmt.Printf("ERROR! Failed to install app '%s' (Missing file permissions)\n", app)
		return exitInstall
	}
	fmt.Fprintln(os.Stderr, err)
	fmt.Printf("Error! App '%s' state is 0x%x after update job.\n", app, state)
	return exitInstall
}

// stateError is a line that a test has asked for.
type stateError string

func (e stateError) Error() string { return string(e) }

// wanted are the files of the build for the platform, by their paths.
func (u *update) wanted() ([]string, error) {
	var files []string
	root := u.valve.content()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, path)
		// The Windows version has programs of its own.
		if u.platform == "windows" && (strings.HasSuffix(name, ".so") || strings.HasPrefix(name, "srcds_")) {
			name = ""
		}
		if name != "" {
			files = append(files, name)
		}
		return err
	})
	if err == nil && u.platform == "windows" {
		files = append(files, "srcds.exe")
	}
	return files, err
}

// open opens a file of the build.
func (u *update) open(name string) (io.ReadCloser, int64, fs.FileMode, error) {
	if name == "srcds.exe" {
		text := "MZ, for windows\n"
		return io.NopCloser(strings.NewReader(text)), int64(len(text)), 0o644, nil
	}
	f, err := os.Open(filepath.Join(u.valve.content(), name))
	if err != nil {
		return nil, 0, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, 0, err
	}
	return f, info.Size(), info.Mode().Perm(), nil
}

// install downloads what differs, and then puts it into place.
func (u *update) install(build string, wanted []string) error {
	if err := os.MkdirAll(u.apps(), 0o755); err != nil {
		return err
	}
	u.progress(0x3, "reconfiguring")
	var missing []string
	for _, name := range wanted {
		same, size, err := u.same(filepath.Join(u.dir, name), name)
		if err != nil {
			return err
		}
		if !same {
			missing = append(missing, name)
			u.total += size
		}
	}
	u.progress(0x5, "validating")
	if err := u.write(manifest{state: 0x402, build: u.old.build, platform: u.old.platform, files: u.old.files}); err != nil {
		return err
	}
	for i, name := range missing {
		if i == len(missing)/2 {
			if err := u.asked(); err != nil {
				return err
			}
		}
		if err := u.download(name); err != nil {
			return err
		}
	}
	if err := u.commit(missing, wanted); err != nil {
		return err
	}
	return u.write(manifest{state: 4, build: build, platform: u.platform, files: wanted})
}

// asked fails as a test wants it to.
func (u *update) asked() error {
	switch what := u.valve.take("UPDATE_FAILS"); what {
	case "":
		return nil
	case "die":
		return syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	default:
		return stateError(what)
	}
}

// same compares a file with the build's.
func (u *update) same(path, name string) (bool, int64, error) {
	theirs, size, _, err := u.open(name)
	if err != nil {
		return false, 0, err
	}
	defer theirs.Close()
	if u.valve.values["SAME_FILES"] == "yes" && !strings.Contains(path, "downloading") {
		return false, size, nil
	}
	ours, err := os.Open(path)
	if err != nil {
		return false, size, nil
	}
	defer ours.Close()
	info, err := ours.Stat()
	if err != nil || info.Size() != size {
		return false, size, err
	}
	a, b := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(theirs, a)
		m, errB := io.ReadFull(ours, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false, size, nil
		}
		if errA != nil || errB != nil {
			return true, size, nil
		}
	}
}

// download brings one file to where it waits. One that is there already, whole,
// is left of an earlier run.
func (u *update) download(name string) error {
	path := filepath.Join(u.downloading(), name)
	same, size, err := u.same(path, name)
	if err != nil {
		return err
	}
	if same {
		u.done += size
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	from, _, mode, err := u.open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	for {
		n, err := io.CopyN(to, from, u.valve.chunk())
		u.done += n
		u.progress(0x61, "downloading")
		if err != nil {
			closed := to.Close()
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return errors.Join(err, closed)
		}
		u.valve.pause()
	}
}

// commit moves what was downloaded into place, and removes what the build
// before had and this one has not.
func (u *update) commit(missing, wanted []string) error {
	for i, name := range missing {
		to := filepath.Join(u.dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(u.downloading(), name), to); err != nil {
			return err
		}
		u.done = u.total * int64(i+1) / int64(len(missing))
		u.progress(0x101, "committing")
	}
	for _, name := range u.old.files {
		if !slices.Contains(wanted, name) {
			if err := os.Remove(filepath.Join(u.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.RemoveAll(filepath.Join(u.apps(), "downloading"))
}

func (u *update) progress(state int, phase string) {
	percent := 0.0
	if u.total > 0 {
		percent = float64(u.done) * 100 / float64(u.total)
	}
	fmt.Printf(" Update state (0x%x) %s, progress: %.2f (%d / %d)\n", state, phase, percent, u.done, u.total)
}
