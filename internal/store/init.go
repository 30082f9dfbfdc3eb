package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/dotenv"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/lockfile"
	"l4d2-host/internal/spec"
)

// Result is what Init has done.
type Result int

// The results.
const (
	Unchanged Result = iota // everything was as the spec says; nothing was touched
	Created
	Changed
)

func (r Result) String() string {
	return [...]string{"unchanged", "created", "changed"}[r]
}

// Init makes the instance n as the spec data says, or changes it; file is the
// spec's name for errors. The error holds everything that is wrong with the
// spec and what it names, one to a line, and then nothing has changed: a crash
// at any moment leaves the instance whole as well, old or new, and the next
// Init clears away the rest. Only root can do it.
func (s *Store) Init(n instance.Name, file string, data []byte) (Result, error) {
	return s.apply(n, file, data, func() error { return nil })
}

// Edit is Init for a spec that was was when its change began: the error is
// ErrChangedMeanwhile when it no longer is.
func (s *Store) Edit(n instance.Name, file string, data, was []byte) (Result, error) {
	return s.apply(n, file, data, func() error {
		now, err := s.ReadSpec(n)
		if err == nil && !bytes.Equal(now, was) {
			err = ErrChangedMeanwhile
		}
		return err
	})
}

// ErrChangedMeanwhile says that someone else changed the spec.
var ErrChangedMeanwhile = errors.New("the spec was changed meanwhile")

// ReadSpec returns the text of n's spec, whether right or wrong. The error is
// ErrUnknown when there is nothing of n.
func (s *Store) ReadSpec(n instance.Name) ([]byte, error) {
	if err := s.exists(n); err != nil {
		return nil, err
	}
	return instance.ReadFile(s.Layout.Spec(n), spec.MaxFile)
}

// apply is Init, if allowed says so once nobody else can change anything.
func (s *Store) apply(n instance.Name, file string, data []byte, allowed func() error) (Result, error) {
	sp, err := spec.Parse(file, data)
	if err != nil {
		return Unchanged, err
	}
	files, err := generate(sp, data)
	if err != nil {
		return Unchanged, err
	}
	lock, err := s.lock()
	if err != nil {
		return Unchanged, err
	}
	defer lock.Unlock()
	if err := allowed(); err != nil {
		return Unchanged, err
	}
	kept, err := s.keepReleases(sp)
	if err != nil {
		return Unchanged, err
	}
	defer kept.Unlock()
	if err := s.check(n, sp); err != nil {
		return Unchanged, err
	}
	exists, same, err := s.compare(n, files)
	if err != nil {
		return Unchanged, err
	}
	if err := s.retire(n); err != nil {
		return Unchanged, fmt.Errorf("clear away an interrupted change: %w", err)
	}
	if same {
		return Unchanged, nil
	}
	result := Created
	if exists {
		result = Changed
	}
	if err := s.replace(n, files, exists); err != nil {
		return Unchanged, err
	}
	if err := s.retire(n); err != nil {
		return result, fmt.Errorf("the instance is %s, but not cleared up: %w", result, err)
	}
	return result, nil
}

// keepReleases keeps the release that the spec names from being removed before
// anybody can see that it is pinned.
func (s *Store) keepReleases(sp *spec.Spec) (*lockfile.Lock, error) {
	if sp.Release == "" {
		return nil, nil
	}
	lock, err := lockfile.Share(s.Layout.ReleasesLock())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // there are no releases at all, which the check says
	}
	return lock, err
}

// file is one of the generated files.
type file struct {
	name string
	data []byte
}

var generated = []string{instance.SpecFile, instance.EnvFile, instance.ServerConfigFile}

func generate(sp *spec.Spec, data []byte) ([]file, error) {
	env, err := sp.Env()
	if err != nil {
		return nil, err
	}
	text, err := env.Format()
	if err != nil {
		return nil, err
	}
	if err := dotenv.Check(instance.EnvFile, text); err != nil {
		return nil, err
	}
	return []file{{instance.SpecFile, data}, {instance.EnvFile, text}, {instance.ServerConfigFile, sp.ServerConfig()}}, nil
}

// check looks at all that the spec names, and changes nothing.
func (s *Store) check(n instance.Name, sp *spec.Spec) error {
	var errs []error
	if found, err := present(s.deleted(n)); err != nil {
		errs = append(errs, err)
	} else if found {
		errs = append(errs, errUnfinished)
	}
	errs = append(errs, s.checkGame(sp), s.checkPort(n, sp), s.checkLayers(sp))
	return errors.Join(errs...)
}

// checkGame looks for the release that the spec pins the instance to, or else
// for the installation.
func (s *Store) checkGame(sp *spec.Spec) error {
	if sp.Release == "" {
		return s.checkInstallation()
	}
	_, err := chain.Read(s.Layout, sp.Release)
	if errors.Is(err, fs.ErrNotExist) {
		err = advice.With(fmt.Errorf("there is no release %s", sp.Release), "see what there is with l4d2ctl releases")
	}
	if err != nil {
		return fmt.Errorf("%s: release: %w", sp.ReleasePosition(), err)
	}
	return nil
}

func (s *Store) checkInstallation() error {
	path := s.Layout.Installation()
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return advice.With(fmt.Errorf("installation: %w", err), "install the game with l4d2ctl update, or make a symbolic link to where it is")
	case err != nil:
		return fmt.Errorf("installation: %w", err)
	case !info.IsDir():
		return fmt.Errorf("installation: %s is not a directory", path)
	}
	return nil
}

// checkPort compares with what the other instances run with: their
// instance.env, not a spec that was edited and not yet applied. An instance
// whose file cannot be read cannot start either, and so takes no port.
func (s *Store) checkPort(n instance.Name, sp *spec.Spec) error {
	names, err := s.List()
	if err != nil {
		return err
	}
	var errs []error
	for _, other := range names {
		env, err := instance.ReadEnv(s.Layout, other)
		if err != nil || other == n || env.Port != sp.Port {
			continue
		}
		where := s.Layout.Env(other)
		if theirs, _, err := s.Load(other); err == nil && theirs.Port == sp.Port {
			where = theirs.PortPosition()
		}
		errs = append(errs, fmt.Errorf("%s: port: %d is taken by instance %s (%s)", sp.PortPosition(), sp.Port, other, where))
	}
	return errors.Join(errs...)
}

func (s *Store) checkLayers(sp *spec.Spec) error {
	if len(sp.Overlays) == 0 {
		return nil
	}
	dir, err := openDir(s.Layout.Overlays())
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	var errs []error
	for i, layer := range sp.Overlays {
		if err := s.checkLayer(dir, layer); err != nil {
			errs = append(errs, fmt.Errorf("%s: overlays: layer %q: %w", sp.OverlayPosition(i), layer, err))
		}
	}
	return errors.Join(errs...)
}

// checkLayer follows the rule of the mount: a layer may be a link to another
// one, and must not lead out of overlays/.
func (s *Store) checkLayer(dir int, layer instance.Name) error {
	path := s.Layout.Overlay(layer)
	fd, err := openat2(dir, string(layer))
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("%s is a symbolic link out of %s: link to a name beside it", path, s.Layout.Overlays())
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a directory", path)
	case errors.Is(err, unix.ENOENT):
		if found, _ := present(path); found {
			return fmt.Errorf("%s is a symbolic link to nothing", path)
		}
		return fmt.Errorf("there is no %s: make the layer first, with l4d2ctl layer add", path)
	}
	return &os.PathError{Op: "open", Path: path, Err: err}
}

func openat2(dir int, name string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for try := 0; ; try++ {
		fd, err := unix.Openat2(dir, name, &how)
		// EAGAIN: a rename anywhere on the host raced with a ".." in the path.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) || try == 100 {
			return fd, err
		}
	}
}

// compare reports whether n exists, and whether it has just these files, with
// the owner and mode that keep the passwords in them from others.
func (s *Store) compare(n instance.Name, files []file) (exists, same bool, err error) {
	dir := s.Layout.Instance(n)
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if err == nil {
		err = rootOwned(dir)
	}
	if err != nil {
		return false, false, err
	}
	same = s.guarded(info, dirMode)
	for _, f := range files {
		same = same && s.sameFile(dir+"/"+f.name, f.data)
	}
	return true, same, nil
}

// sameFile takes whatever cannot be read for different: it gets replaced.
func (s *Store) sameFile(path string, data []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || !s.guarded(info, fileMode) {
		return false
	}
	got, err := instance.ReadFile(path, len(data))
	return err == nil && bytes.Equal(got, data)
}

func (s *Store) guarded(info fs.FileInfo, mode fs.FileMode) bool {
	o := owner(info)
	return info.Mode().Perm() == mode && o.Uid == 0 && int(o.Gid) == s.GID
}
