package fault

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// tree is what lies below a directory: a description by path, "." being the
// directory itself.
type tree map[string]string

// look reads the tree at dir, none if there is no dir. The times of change of
// directories are part of it only if asked for: files that came and went leave
// them behind.
func look(dir string, times bool) tree {
	t := tree{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		t[name], err = describe(path, times)
		return err
	})
	must(err)
	return t
}

func describe(path string, times bool) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	if times || !info.IsDir() {
		text += fmt.Sprintf(" of %d.%09d", st.Mtim.Sec, st.Mtim.Nsec)
	}
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		text += fmt.Sprintf(", %d bytes %.6x", len(data), sha256.Sum256(data))
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		text += " to " + target
	}
	return text, nil
}

// without returns t without these paths.
func (t tree) without(paths ...string) tree {
	rest := maps.Clone(t)
	for _, path := range paths {
		delete(rest, path)
	}
	return rest
}

// differences says how t became now, one line a path.
func (t tree) differences(now tree) []string {
	var lines []string
	for path, was := range t {
		switch is, found := now[path]; {
		case !found:
			lines = append(lines, fmt.Sprintf("%s is gone (it was %s)", path, was))
		case is != was:
			lines = append(lines, fmt.Sprintf("%s is now %s (it was %s)", path, is, was))
		}
	}
	for path, is := range now {
		if _, found := t[path]; !found {
			lines = append(lines, fmt.Sprintf("%s is new: %s", path, is))
		}
	}
	slices.Sort(lines)
	return lines
}

// names returns the names in dir, none if it is missing.
func names(dir string) []string {
	entries, err := os.ReadDir(dir)
	if !errors.Is(err, fs.ErrNotExist) {
		must(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// contents returns the text of a file, or that there is none.
func contents(path string) string {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return missing
	}
	must(err)
	return string(data)
}

const missing = "(no such file)"
