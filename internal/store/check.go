package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/spec"
)

// Check looks at the instance n and changes nothing. It returns the files that
// differ from what Init would generate from the spec as it is now, or that have
// another owner or mode, and everything for which Init would refuse that spec.
func (s *Store) Check(n instance.Name) (different []string, err error) {
	data, err := s.ReadSpec(n)
	if err != nil {
		return nil, err
	}
	sp, err := spec.Parse(s.Layout.Spec(n), data)
	if err != nil {
		return nil, err
	}
	files, err := generate(sp, data)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if path := filepath.Join(s.Layout.Instance(n), f.name); !s.sameFile(path, f.data) {
			different = append(different, path)
		}
	}
	if info, err := os.Lstat(s.Layout.Instance(n)); err == nil && !s.guarded(info, dirMode) {
		different = append(different, s.Layout.Instance(n))
	}
	return different, s.check(n, sp)
}

// LeftOvers returns, each as an error with advice, what interrupted commands
// have left of instances, and what is in the directories of the instances and
// is none of them.
func (s *Store) LeftOvers() ([]error, error) {
	var found []error
	entries, err := os.ReadDir(s.Layout.Instances())
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		path := filepath.Join(s.Layout.Instances(), e.Name())
		name, _ := strings.CutPrefix(e.Name(), ".")
		if n, ok := strings.CutSuffix(name, ".new"); ok && name != e.Name() {
			found = append(found, advice.With(fmt.Errorf("%s: an interrupted init of %s has left it", path, n), "l4d2ctl init or delete clears it away"))
		} else if n, ok := strings.CutSuffix(name, ".deleted"); ok && name != e.Name() {
			found = append(found, advice.With(fmt.Errorf("%s: the removal of %s was interrupted", path, n), "l4d2ctl delete "+n+" finishes it"))
		} else if _, err := instance.ParseName(e.Name()); e.Name() != ".lock" && (err != nil || !e.IsDir()) {
			found = append(found, advice.With(fmt.Errorf("%q: it is no instance", path), "move it elsewhere"))
		}
	}
	orphans, err := s.orphans()
	return append(found, orphans...), err
}

// orphans are runtime directories without an instance: they hold a server's
// state, and no unit can start it.
func (s *Store) orphans() ([]error, error) {
	entries, err := os.ReadDir(s.Layout.RuntimeDir())
	if err != nil {
		return nil, err
	}
	var found []error
	for _, e := range entries {
		path := filepath.Join(s.Layout.RuntimeDir(), e.Name())
		n, err := instance.ParseName(e.Name())
		if err != nil {
			found = append(found, advice.With(fmt.Errorf("%q: it is no instance's", path), "move it elsewhere"))
			continue
		}
		if _, err := os.Lstat(s.Layout.Instance(n)); errors.Is(err, fs.ErrNotExist) {
			found = append(found, advice.With(fmt.Errorf("%s: there is no instance %s, but its state", path, n), eitherWay))
		}
	}
	return found, nil
}
