// Package units holds the systemd units of the package, as they are installed,
// so that l4d2ctl can tell whether those of the machine were changed.
package units

import "embed"

//go:embed *.service *.target *.slice *.timer
var files embed.FS

// Installed is where the package puts units.
const Installed = "/usr/lib/systemd/system"

// Text returns the unit file called name, such as "l4d2@.service".
func Text(name string) (string, error) {
	data, err := files.ReadFile(name)
	return string(data), err
}
