package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"l4d2-host/internal/instance"
	"l4d2-host/units"
)

// unitDirs are where a unit file may lie, the one that counts first
// (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", units.Installed, "/lib/systemd/system"}

// checkUnits looks for the unit files, and for what changes them.
func (d *Doctor) checkUnits(ctx context.Context, names []instance.Name) {
	for _, name := range []string{"l4d2@.service", "l4d2.target", "l4d2.slice"} {
		d.checkUnitFile(name, Error, "no server can start")
	}
	d.checkUnitFile("l4d2-update.service", Warning, "no update can start")
	d.checkUnitFile("l4d2-update.timer", Warning, "no update starts by itself")
	if d.Systemd == nil {
		return
	}
	for _, n := range names {
		d.subject = n
		d.checkDropIns(ctx, unitName(n))
	}
	d.subject = ""
}

func (d *Doctor) checkDropIns(ctx context.Context, unit string) {
	def, err := d.Systemd.Definition(ctx, unit)
	if err != nil {
		d.fail(Error, "unit", err)
		return
	}
	if def.Stale {
		d.add(Warning, "unit", "systemctl daemon-reload", "the files of %s were changed after systemd read them", unit)
	}
	// The package's own drop-in is no change.
	changed := slices.DeleteFunc(def.DropIns, func(path string) bool {
		return strings.HasPrefix(path, units.Installed+"/") || strings.HasPrefix(path, "/lib/systemd/system/")
	})
	if len(changed) > 0 {
		d.ok("unit", "drop-ins change the unit: %s", strings.Join(changed, ", "))
	}
}

// checkUnitFile looks at one unit file. Without it there is a finding of this
// level, and with it comes consequence.
func (d *Doctor) checkUnitFile(name, level, consequence string) {
	want, err := units.Text(name)
	if err != nil {
		d.fail(Error, "unit", err)
		return
	}
	for _, dir := range unitDirs {
		path := dir + "/" + name
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			d.fail(Error, "unit", err)
			return
		}
		switch {
		case len(data) == 0 || isMask(path):
			d.add(level, "unit", "systemctl unmask "+name, "%s is masked: %s", path, consequence)
		case string(data) != want:
			d.add(Warning, "unit", "changes belong into a drop-in: systemctl edit "+strings.Replace(name, "@.", "@NAME.", 1)+"; then let "+units.Installed+"/"+name+" be the package's again",
				"%s is not as this version of the package has it", path)
		default:
			d.ok("unit", "%s is installed and unchanged", path)
		}
		return
	}
	d.add(level, "unit", "install the package again", "%s is not installed: %s", name, consequence)
}

func isMask(path string) bool {
	target, err := os.Readlink(path)
	return err == nil && target == "/dev/null"
}
