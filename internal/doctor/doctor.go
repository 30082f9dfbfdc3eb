// Package doctor looks at a host and its instances for everything that could
// keep a server from starting, or from keeping what it writes, and says what to
// do about it.
//
// It changes nothing: it opens no file for writing, binds no port and loads no
// kernel module. It runs no program but one of three instructions of its own. Whether a stack of layers can be mounted is for package
// activation to say, which the helper asks too, and whether a spec is right for
// package store.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layer"
	"l4d2-host/internal/mountinfo"
	"l4d2-host/internal/release"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// The levels of a finding.
const (
	OK      = "ok"
	Warning = "warning" // servers run, but something is not as it should be
	Error   = "error"   // a server cannot start, or loses what it writes
	Unknown = "unknown" // could not be checked
)

// Finding is what one check has to say. Its JSON keys are what programs may
// rely on.
type Finding struct {
	Level    string        `json:"level"`
	Check    string        `json:"check"`    // what was looked at, in one word
	Instance instance.Name `json:"instance"` // empty for the host
	Text     string        `json:"text"`     // what was found
	Advice   string        `json:"advice"`   // what to do; empty if nothing
}

// Systemd is what is asked of systemd.
type Systemd interface {
	Version(ctx context.Context) (string, error)
	Units(ctx context.Context, names []string) ([]systemd.Unit, error)
	Definition(ctx context.Context, unit string) (systemd.Definition, error)
}

// Doctor is one examination.
type Doctor struct {
	Layout    instance.Layout
	Store     *store.Store // nil if there is no group to read it with
	Systemd   Systemd      // nil where systemd does not run
	Superuser bool
	Helper    string // path of l4d2-overlay

	host     string // of the libraries; for tests: in the place of /
	findings []Finding
	subject  instance.Name // whose findings follow
	owner    activation.Owner
	hasOwner bool
	mounts   []mountinfo.Mount // as process 1 sees them
}

// Examine looks at the host, and at the instances called names or, if there
// are none given, at all. It ends early when ctx does.
func (d *Doctor) Examine(ctx context.Context, names []instance.Name) []Finding {
	d.checkKernel()
	d.checkSystemd(ctx)
	d.checkUser()
	d.checkDirectories()
	d.checkHelper()
	d.checkInstallation()
	d.checkDisks()
	d.loadMounts()
	all := len(names) == 0
	if all {
		names = d.list()
	}
	d.checkUnits(ctx, names)
	d.checkPorts(names)
	d.checkOwners(ctx, names)
	d.checkReleases(names)
	if all {
		d.checkLeftOvers()
	}
	for _, n := range names {
		if ctx.Err() == nil {
			d.checkInstance(ctx, n)
		}
	}
	return d.findings
}

func (d *Doctor) add(level, check, advice, format string, args ...any) {
	d.findings = append(d.findings, Finding{level, check, d.subject, fmt.Sprintf(format, args...), advice})
}

func (d *Doctor) ok(check, format string, args ...any) { d.add(OK, check, "", format, args...) }

// asRoot says that only root could have checked it.
func (d *Doctor) asRoot(check, format string, args ...any) {
	d.add(Unknown, check, "run it as root", format, args...)
}

// fail adds err with its advice, or that this user may not look.
func (d *Doctor) fail(level, check string, err error) {
	if errors.Is(err, fs.ErrPermission) && !d.Superuser {
		d.asRoot(check, "%v", err)
		return
	}
	d.add(level, check, advice.For(err), "%v", err)
}

func (d *Doctor) list() []instance.Name {
	if d.Store == nil {
		return nil
	}
	names, err := d.Store.List()
	if err != nil {
		d.fail(Error, "instances", err)
		return nil
	}
	return names
}

func (d *Doctor) checkLeftOvers() {
	if d.Store == nil {
		return
	}
	found, err := d.Store.LeftOvers()
	layers, layersErr := (&layer.Catalog{Layout: d.Layout, Store: d.Store}).LeftOvers()
	releases, releasesErr := (&release.Catalog{Layout: d.Layout}).LeftOvers()
	found, err = slices.Concat(found, layers, releases), errors.Join(err, layersErr, releasesErr)
	for _, err := range found {
		d.fail(Warning, "leftovers", err)
	}
	if err != nil {
		d.fail(Error, "leftovers", err)
	} else if len(found) == 0 {
		d.ok("leftovers", "nothing is left of removed instances and interrupted commands")
	}
}

// Wrong returns whether any finding is an error.
func Wrong(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Error })
}

func unitName(n instance.Name) string { return "l4d2@" + string(n) + ".service" }
