package doctor

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/advice"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// checkInstance is all about one instance but for its port and its layers'
// owners, which are looked at for all together.
func (d *Doctor) checkInstance(ctx context.Context, n instance.Name) {
	d.subject = n
	defer func() { d.subject = "" }()
	if !d.checkFiles(n) {
		return
	}
	d.checkMounts(ctx, n)
	if !d.Superuser {
		d.asRoot("tree", "whether its overlay can be mounted, only root can find out")
		return
	}
	if !d.hasOwner {
		return
	}
	a := activation.Activation{Layout: d.Layout, Name: n, Owner: d.owner}
	problems := a.Inspect()
	for _, err := range problems {
		level := Error
		if errors.Is(err, activation.ErrUnwritable) {
			level = Warning
		}
		d.add(level, "tree", advice.For(err), "%v", err)
	}
	if len(problems) == 0 {
		d.ok("tree", "its layers and its upper directory can be mounted")
	}
}

// checkFiles compares what is generated with the spec. It returns false when
// there is nothing to go on with.
func (d *Doctor) checkFiles(n instance.Name) bool {
	if d.Store == nil {
		return false
	}
	different, err := d.Store.Check(n)
	if errors.Is(err, store.ErrUnknown) {
		d.add(Error, "spec", "make it with: l4d2ctl init "+string(n)+" SPEC", "no such instance")
		return false
	}
	if err != nil {
		d.addSpec(n, err)
	}
	if len(different) > 0 {
		d.add(Warning, "files", "write them again with: l4d2ctl init "+string(n)+" "+d.Layout.Spec(n),
			"not as the spec would have them (edited by hand, or made by another version): %s", strings.Join(different, ", "))
	}
	if err == nil && len(different) == 0 {
		d.ok("spec", "the spec is right, and the generated files follow it")
	}
	return true
}

// addSpec adds what is wrong with a spec, one finding for each line.
func (d *Doctor) addSpec(n instance.Name, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			d.addSpec(n, err)
		}
		return
	}
	if advice.For(err) == "" {
		err = advice.With(err, "l4d2ctl edit "+string(n))
	}
	d.fail(Error, "spec", err)
}

// checkMounts compares what is mounted with what the unit does.
func (d *Doctor) checkMounts(ctx context.Context, n instance.Name) {
	point := d.Layout.Merged(n)
	if real, err := filepath.EvalSymlinks(point); err == nil {
		point = real
	}
	mounted := 0
	for _, m := range d.mounts {
		if m.Point == point {
			mounted++
		}
	}
	if mounted > 1 {
		d.add(Error, "mounts", "stop the instance: l4d2ctl stop "+string(n), "%d file systems are mounted over each other at %s", mounted, point)
	}
	if d.Systemd == nil {
		return
	}
	units, err := d.Systemd.Units(ctx, []string{unitName(n)})
	if err != nil {
		d.fail(Error, "mounts", err)
		return
	}
	u := units[0]
	switch {
	case !d.ours(u, n):
		d.add(Unknown, "mounts", "", "%s is not of this root", unitName(n))
	case u.Stopped() && mounted > 0:
		d.add(Error, "mounts", "start it, which clears the mount away if nobody uses it, or see who does: "+d.Helper+" unmount "+string(n),
			"%s is still mounted, and the unit is %s", point, u.ActiveState)
	case u.Active() && mounted == 0:
		d.add(Error, "mounts", "l4d2ctl restart "+string(n), "the unit is active, and nothing is mounted at %s: what the server writes is lost to the next start", point)
	case u.ActiveState == "failed":
		d.add(Error, "unit", "see why: journalctl -u l4d2@"+string(n), "the unit has failed (%s)", u.Result)
	case u.SubState == "auto-restart":
		d.add(Error, "unit", "see why: journalctl -u l4d2@"+string(n), "the server ended, and systemd is about to start it again (%d times so far)", u.NRestarts)
	case mounted <= 1:
		d.ok("mounts", "%s, and %s", u.ActiveState, map[bool]string{true: "mounted", false: "nothing is mounted"}[mounted == 1])
	}
}

// ours says whether the unit runs this root's instance.
func (d *Doctor) ours(u systemd.Unit, n instance.Name) bool {
	return len(u.EnvironmentFiles) == 0 || slices.Contains(u.EnvironmentFiles, d.Layout.Env(n))
}
