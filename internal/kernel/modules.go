package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// wanted are the modules that a machine needs; those that a kernel has built
// in are not looked for. Bus drivers do not depend on each other by name.
var wanted = []string{"virtio_pci", "virtio_blk", "ext4", "overlay"}

// collect takes what a machine needs out of the unpacked packages in tree into
// dir. Where things lie differs from release to release.
func collect(tree, dir string) error {
	t := &moduleTree{files: map[string]string{}, builtin: map[string]bool{}, seen: map[string]bool{}}
	var image, busybox string
	err := filepath.WalkDir(tree, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name := d.Name()
		switch {
		case name == "vmlinuz" || strings.HasPrefix(name, "vmlinuz-"):
			image = path
		case name == "busybox" && filepath.Base(filepath.Dir(path)) == "bin":
			busybox = path
		case name == "modules.builtin":
			return t.readBuiltin(path)
		case isModule.MatchString(name):
			t.files[moduleName(name)] = path
		}
		return nil
	})
	if err != nil {
		return err
	}
	if image == "" || busybox == "" {
		return fmt.Errorf("the packages hold no vmlinuz or no busybox (found %q, %q)", image, busybox)
	}
	if err := os.Rename(image, filepath.Join(dir, imageFile)); err != nil {
		return err
	}
	if err := os.Rename(busybox, filepath.Join(dir, busyboxFile)); err != nil {
		return err
	}
	modules := filepath.Join(dir, modulesDir)
	if err := os.Mkdir(modules, 0o755); err != nil {
		return err
	}
	for _, name := range wanted {
		if err := t.add(name, modules); err != nil {
			return err
		}
	}
	return nil
}

var isModule = regexp.MustCompile(`\.ko(\.[a-z]+)?$`)

// moduleName returns how the kernel calls the module in the file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// moduleTree knows the modules of one kernel.
type moduleTree struct {
	files   map[string]string // path of each
	builtin map[string]bool
	seen    map[string]bool
	count   int
}

func (t *moduleTree) readBuiltin(path string) error {
	text, err := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		t.builtin[moduleName(strings.TrimSpace(line))] = true
	}
	return err
}

// add puts a module into dir, after those that it depends on.
func (t *moduleTree) add(name, dir string) error {
	if t.seen[name] || t.builtin[name] {
		return nil
	}
	t.seen[name] = true
	path, ok := t.files[name]
	if !ok {
		return fmt.Errorf("the kernel has no module %s", name)
	}
	data, err := readModule(path)
	if err != nil {
		return err
	}
	depends, err := dependencies(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, d := range depends {
		if err := t.add(d, dir); err != nil {
			return err
		}
	}
	t.count++
	return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%02d-%s.ko", t.count, name)), data, 0o644)
}

// readModule returns the module, uncompressed: a kernel need not be able to do
// that itself.
func readModule(path string) ([]byte, error) {
	switch filepath.Ext(path) {
	case ".ko":
		return os.ReadFile(path)
	case ".xz":
		out, err := exec.Command("xz", "-dc", path).Output()
		if err != nil {
			return nil, fmt.Errorf("xz -dc %s: %w", path, err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%s: compressed in a way that is not known here", path)
}

// dependencies returns what the module names as needed before it.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("not a kernel module: no section .modinfo")
	}
	data, err := section.Data()
	if err != nil {
		return nil, err
	}
	var names []string
	for entry := range strings.SplitSeq(string(data), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			for name := range strings.SplitSeq(list, ",") {
				names = append(names, strings.ReplaceAll(name, "-", "_"))
			}
		}
	}
	return names, nil
}
