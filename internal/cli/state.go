package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"

	"github.com/schollz/progressbar/v3"

	"l4d2-host/internal/archive"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// running returns an error that says so if the instance runs, is about to, or
// has left its mount; why is what that means for the command.
func (s *session) running(n instance.Name, why string, hints ...string) error {
	state, err := s.activity(n)
	if err != nil || state == "" {
		return err
	}
	return &problem{
		err:   fmt.Errorf("%s: it is %s: %s", n, state, why),
		hints: append([]string{fmt.Sprintf("stop it first: %s stop %s", program, n)}, hints...),
	}
}

// activity is how the instance is in use, or "".
func (s *session) activity(n instance.Name) (string, error) {
	m, err := s.Connect(s.ctx)
	if err == nil {
		defer m.Close()
		u, err := s.unit(m, n)
		if err != nil {
			return "", fmt.Errorf("%s: %w", n, err)
		}
		if !u.Stopped() && !s.foreign(u, n) {
			return state(u), nil
		}
	} else if !errors.Is(err, systemd.ErrNotRunning) {
		return "", fmt.Errorf("%s: %w", n, err)
	}
	mounted, err := s.mounted(n, true)
	if err == nil && mounted {
		return "mounted", nil
	}
	return "", err
}

// hold keeps the instance from starting.
func (s *session) hold(st *store.Store, n instance.Name) (*store.Hold, error) {
	h, err := st.Hold(n)
	if errors.Is(err, store.ErrMounted) {
		return nil, &problem{err: fmt.Errorf("%s: %w", n, err),
			hints: []string{fmt.Sprintf("stop it first: %s stop %s", program, n)}}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n, err)
	}
	return h, nil
}

// agree has the operator confirm what was just shown; without a terminal, --yes
// is needed.
func (s *session) agree(n instance.Name, yes bool) error {
	if yes {
		return nil
	}
	if in, ok := s.In.(*os.File); ok && isTerminal(in) {
		if err := s.goOn(in, n); err != nil {
			return &problem{err: err, hints: []string{fmt.Sprintf("nothing of %s has been changed", n)}}
		}
		return nil
	}
	return &problem{err: fmt.Errorf("%s: not confirmed: there is no terminal to ask at", n),
		hints: []string{"nothing of " + string(n) + " has been changed; --yes goes on without being asked"}}
}

// progress shows on a terminal how far something of total bytes has got; shown
// is to be called in the end.
func (s *session) progress(n instance.Name, what string, total int64) (add func(int), shown func()) {
	terminal, ok := s.Err.(*os.File)
	if !ok || !isTerminal(terminal) || total <= 0 {
		return func(int) {}, func() {}
	}
	bar := progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(terminal),
		progressbar.OptionSetDescription(string(n)+": "+what),
		progressbar.OptionShowBytes(true),
		progressbar.OptionFullWidth(),
		progressbar.OptionThrottle(100e6), // nanoseconds
		progressbar.OptionClearOnFinish(),
	)
	// That a bar cannot be drawn is nobody's trouble.
	return func(n int) { _ = bar.Add(n) }, func() { _ = bar.Clear() }
}

// gameOwner is the game's user, or -1: an archive then goes by numbers.
func gameOwner() archive.Owner {
	none := archive.Owner{UID: -1, GID: -1}
	u, err := user.Lookup(instance.User)
	if err != nil {
		return none
	}
	uid, errU := strconv.Atoi(u.Uid)
	gid, errG := strconv.Atoi(u.Gid)
	if errU != nil || errG != nil {
		return none
	}
	return archive.Owner{UID: uid, GID: gid}
}

// upper opens the instance's own files; nil if it has none.
func (s *session) upper(n instance.Name) (*layers.Layer, error) {
	l, err := layers.Upper(s.layout, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n, err)
	}
	return l, nil
}

// hasState says that the instance has files of its own.
func hasState(upper *layers.Layer) (bool, error) {
	if upper == nil {
		return false, nil
	}
	names, err := upper.Names(".")
	return len(names) > 0, err
}
