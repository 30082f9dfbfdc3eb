package cli

type rollbackCommand struct {
	Release *nameArg `arg:"" optional:"" complete:"release" help:"Release to make current, an older or a newer one; the one below the current if there is none given."`
}

// Help is what --help prints besides.
func (*rollbackCommand) Help() string {
	return "Running servers keep what they run on. Those that are not pinned take the release at their next start.\n\n" +
		"Example: l4d2ctl rollback"
}

func (c *rollbackCommand) Run(s *session) error {
	ch, err := s.changeReleases()
	if err != nil {
		return err
	}
	defer ch.End()
	var to nameArg
	if c.Release != nil {
		to = *c.Release
	}
	before, err := ch.Current()
	if err != nil {
		before.Name = "" // a broken one: all the more it is to be left
	}
	n, err := ch.Rollback(to.Name)
	if err != nil {
		return explainRelease(err)
	}
	switch before.Name {
	case n:
		s.result(n, "current already")
	case "":
		s.result(n, "current")
	default:
		s.result(n, "current, in the place of %s", before.Name)
		s.hint("undo it with: %s rollback %s", program, before.Name)
	}
	s.tellRunning()
	return nil
}
