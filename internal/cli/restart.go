package cli

import (
	"l4d2-host/internal/instance"
	"l4d2-host/internal/systemd"
)

type restartCommand struct {
	Names []nameArg `arg:"" name:"name" help:"Instances to restart, all at once; one that is stopped is started."`
}

// Help is what --help prints besides.
func (*restartCommand) Help() string {
	return "Example: l4d2ctl restart versus"
}

func (c *restartCommand) Run(s *session) error {
	return s.eachUnit(c.Names, func(m Manager, n instance.Name, before systemd.Unit) error {
		if before.Stopped() {
			s.step(n, "not running: starting %s", unitName(n))
			return s.bringUp(m, n, "started", m.Start)
		}
		s.step(n, "restarting %s", unitName(n))
		return s.bringUp(m, n, "restarted", m.Restart)
	})
}
