package cli

import (
	"errors"
	"fmt"
	"time"

	"l4d2-host/internal/instance"
	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

type restartCommand struct {
	Names     []nameArg `arg:"" optional:"" name:"name" help:"Instances to restart, all at once; one that is stopped is started."`
	WhenEmpty bool      `help:"Restart each once nobody plays on it, one after the other; one that is stopped stays so."`
	All       bool      `help:"All instances that run." group:"With --when-empty:"`
	rollFlags `embed:"" group:"With --when-empty:"`
	Status    bool `help:"Show how far it has got, or how the last one ended." group:"With --when-empty:"`
	Cancel    bool `help:"End it; a restart that has begun is finished first." group:"With --when-empty:"`
	JSON      bool `help:"Print an object, for programs, in the end or with --status." group:"With --when-empty:"`
	InUnit    bool `hidden:""` // this is the unit that does it
	Outdated  bool `hidden:""` // to those that run on another release than they would take
}

// rollFlags say how a rolling restart is made.
type rollFlags struct {
	Within time.Duration `help:"Leave alone what is still played on after that time, such as 6h or 90m." placeholder:"TIME"`
	Force  bool          `help:"Restart it then, instead; its players are told 10, 5 and 1 minutes before."`
	Warn   string        `help:"What players are told before that time; {time} is what is left of it." placeholder:"TEXT" complete:"none"`
	AtOnce int           `help:"How many may restart at a time (default: 1)." default:"1" placeholder:"N"`
}

// given says that one of them is.
func (f *rollFlags) given() bool { return f.Within != 0 || f.Force || f.Warn != "" || f.AtOnce != 1 }

// check returns what of them does not go together.
func (f *rollFlags) check() error {
	switch {
	case f.Within < 0, f.AtOnce < 1:
		return errors.New("--within and --at-once want more than nothing")
	case (f.Force || f.Warn != "") && f.Within == 0:
		return errors.New("--force and --warn go with --within")
	case f.Warn != "":
		if err := roll.CheckWarning(f.Warn); err != nil {
			return fmt.Errorf("--warn: %w", err)
		}
	}
	return nil
}

func (f *rollFlags) order(names []instance.Name) roll.Order {
	return roll.Order{Names: names, Within: f.Within, AtOnce: f.AtOnce, Force: f.Force, Warn: f.Warn}
}

// Help is what --help prints besides.
func (*restartCommand) Help() string {
	return "With --when-empty a unit of its own does it, " + rollUnit + ", of which there is one at a time; " +
		"Ctrl-C, or the end of the terminal, ends only the watching. A server is empty when its answer to a query and its console agree; " +
		"no answer, or no rcon_password, is not empty. A restart that fails ends it.\n\n" +
		"Example: l4d2ctl restart --when-empty --within 6h --all"
}

// Validate returns what of the command line does not go together.
func (c *restartCommand) Validate() error {
	chosen := len(c.Names) > 0 || c.All || c.Outdated
	switch {
	case !c.WhenEmpty && (c.All || c.given() || c.Status || c.Cancel || c.JSON):
		return errors.New("the other flags go with --when-empty")
	case c.Status && c.Cancel, (c.Status || c.Cancel) && (chosen || c.given()):
		return errors.New("--status and --cancel go with nothing else")
	case c.Status || c.Cancel:
		return nil
	case !chosen:
		return errors.New(`expected "<name> ..."` + map[bool]string{true: " or --all"}[c.WhenEmpty])
	case c.All && len(c.Names) > 0:
		return errors.New("--all goes with no names")
	}
	return c.check()
}

func (c *restartCommand) Run(s *session) error {
	switch {
	case c.Status:
		return s.showRoll(c.JSON)
	case c.Cancel:
		return s.cancelRoll()
	case c.InUnit && c.Outdated:
		return s.rollOutdated(c.order(nil))
	case c.InUnit:
		return s.rollInUnit(c.order(distinct(c.Names)))
	case c.WhenEmpty && c.All:
		return s.rollAll(c.order(nil), c.JSON)
	case c.WhenEmpty:
		return s.rollOver(c.order(distinct(c.Names)), c.JSON)
	}
	return s.eachUnit(c.Names, func(m Manager, n instance.Name, before systemd.Unit) error {
		if before.Stopped() {
			s.step(n, "not running: starting %s", unitName(n))
			return s.bringUp(m, n, "started", m.Start)
		}
		s.step(n, "restarting %s", unitName(n))
		return s.bringUp(m, n, "restarted", m.Restart)
	})
}
