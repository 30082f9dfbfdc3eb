package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"l4d2-host/internal/a2s"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/journal"
	"l4d2-host/internal/printable"
	"l4d2-host/internal/rcon"
	"l4d2-host/internal/record"
	"l4d2-host/internal/roll"
	"l4d2-host/internal/systemd"
)

// rollOutdated is what the unit runs after an update.
func (s *session) rollOutdated(o roll.Order) error {
	m, err := s.connect()
	if err != nil {
		return err
	}
	defer m.Close()
	if o.Names, err = s.outdated(m); err != nil {
		return err
	}
	return s.rollInUnit(o)
}

// rollInUnit is what the unit runs for the instances that it was told.
func (s *session) rollInUnit(o roll.Order) error {
	if err := s.superuser(); err != nil {
		return err
	}
	m, err := s.connect()
	if err != nil {
		return err
	}
	defer m.Close()
	units, err := m.Units(s.ctx, unitNames(o.Names))
	if err != nil {
		return err
	}
	servers := newRollServers(s, m)
	for i, n := range o.Names {
		if s.foreign(units[i], n) {
			return fmt.Errorf("%s: %s is of another root", n, units[i].Name)
		}
		servers.runs[n] = units[i].InvocationID
	}
	log := journal.New(s.Err, false)
	if s.Err == os.Stderr {
		log = journal.Stderr()
	}
	state := roll.New(o, servers, log, s.reportRoll).Run(s.ctx)
	switch *state.Outcome {
	case roll.Done, roll.Cancelled:
		return nil
	}
	return fmt.Errorf("restarted: %d, failed: %d, left as they are: %d",
		state.Count(roll.Restarted), state.Count(roll.Failed), state.Count(roll.Left))
}

// reportRoll keeps the state where others can read it, and gives systemd a line
// of it.
func (s *session) reportRoll(state roll.State) {
	if err := s.writeRoll(state); err != nil {
		s.warn("the state is not written: %v", err)
	}
	// Without systemd to tell, there is nobody to tell of the failure either.
	_, _ = daemon.SdNotify(false, "STATUS="+rollText(state))
}

// rollStatusLength is the number of characters of a status that a line of
// systemctl's has room for.
const rollStatusLength = 200

func rollText(state roll.State) string {
	parts := []string{fmt.Sprintf("%d of %d restarted", state.Count(roll.Restarted), len(state.Servers))}
	for _, server := range state.Servers {
		if server.State == roll.Waiting || server.State == roll.Restarting {
			parts = append(parts, server.State+" "+string(server.Name)+why(server.Detail))
		}
	}
	return printable.Cut(strings.Join(parts, "; "), rollStatusLength)
}

func (s *session) writeRoll(state roll.State) error {
	text, err := jsonText(state)
	if err != nil {
		return err
	}
	// Nobody but root can write there. Not package beneath: RestrictSUIDSGID=
	// answers openat2 with ENOSYS.
	f, err := os.CreateTemp(s.RollDir, rollState+".")
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.RollDir, rollState))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// rollServers is the instances of this host, for a roll.
type rollServers struct {
	*session
	m    Manager                  // of whoever calls Look and Restart
	runs map[instance.Name]string // that they were on when the roll began

	mu      sync.Mutex
	units   map[instance.Name]systemd.Unit // as last seen
	refused map[string]bool                // runs whose console refused the password
}

func newRollServers(s *session, m Manager) *rollServers {
	return &rollServers{session: s, m: m, runs: map[instance.Name]string{}, units: map[instance.Name]systemd.Unit{}, refused: map[string]bool{}}
}

func (r *rollServers) Look(ctx context.Context, names []instance.Name) ([]roll.Sight, error) {
	units, err := r.m.Units(ctx, unitNames(names))
	if errors.Is(err, systemd.ErrLost) { // in hours, a bus may be restarted
		m, reconnected := r.connect()
		if reconnected != nil {
			return nil, reconnected
		}
		r.m.Close()
		r.m = m
		units, err = m.Units(ctx, unitNames(names))
	}
	if err != nil {
		return nil, err
	}
	sights := make([]roll.Sight, len(names))
	limit, done := context.WithTimeout(ctx, r.Patience)
	defer done()
	var all sync.WaitGroup
	for i, n := range names {
		r.mu.Lock()
		r.units[n] = units[i]
		r.mu.Unlock()
		sights[i].Condition = r.condition(n, units[i])
		if sights[i].Condition != roll.Running {
			continue
		}
		all.Add(1)
		go func() {
			defer all.Done()
			sights[i].Info, sights[i].Err = a2s.Query(limit, loopback(r.port(n)))
		}()
	}
	all.Wait()
	return sights, nil
}

func (r *rollServers) condition(n instance.Name, u systemd.Unit) roll.Condition {
	switch {
	case u.Stopped():
		return roll.Stopped
	case !u.Active():
		return roll.Busy
	case u.InvocationID != r.runs[n]:
		return roll.Renewed
	}
	return roll.Running
}

// port is where the present run listens; where it is not known, nobody will
// answer at 0.
func (r *rollServers) port(n instance.Name) uint16 {
	if start, err := record.ReadStart(r.layout, n); err == nil {
		return start.Env.Port
	}
	env, err := instance.ReadEnv(r.layout, n)
	if err != nil {
		return 0
	}
	return env.Port
}

// consoleLimit bounds one line on a console: a server that does anything else
// answers within a frame.
const consoleLimit = 10 * time.Second

func (r *rollServers) Console(ctx context.Context, n instance.Name, line string) (string, error) {
	r.mu.Lock()
	u := r.units[n]
	refused := r.refused[u.InvocationID]
	r.mu.Unlock()
	if refused {
		return "", rcon.ErrPassword // which is not tried again: the server bans who fails too often
	}
	ctx, done := context.WithTimeout(ctx, consoleLimit)
	defer done()
	port, password, err := r.consoleAt(n, u)
	if err != nil {
		return "", withoutName(n, err)
	}
	if err := r.checkListener(port); err != nil {
		return "", err
	}
	conn, err := rcon.Dial(ctx, loopback(port), password)
	if errors.Is(err, rcon.ErrPassword) {
		r.mu.Lock()
		r.refused[u.InvocationID] = true
		r.mu.Unlock()
	}
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.Exec(ctx, line)
}

// joinLimit is how long a server that systemd takes for started has to answer a
// query. With the unit as it comes, it has answered one already.
const joinLimit = 2 * time.Minute

func (r *rollServers) Restart(ctx context.Context, n instance.Name) <-chan error {
	done := make(chan error, 1)
	// A restart is not taken back half-way: the server would stay down.
	whole, m := *r.session, r.m
	whole.ctx = context.WithoutCancel(ctx)
	go func() {
		_, err := whole.up(m, n, "restarted", m.Restart)
		if err != nil {
			whole.report("restart", err) // with the end of its journal
		} else if err = whole.joinable(r.port(n)); err != nil {
			err = fmt.Errorf("restarted, but it does not answer within %s: %w", joinLimit, err)
		}
		done <- withoutName(n, err)
	}()
	return done
}

// joinable waits until the server answers.
func (s *session) joinable(port uint16) error {
	limit, done := context.WithTimeout(s.ctx, joinLimit)
	defer done()
	for {
		_, err := a2s.Query(limit, loopback(port))
		if err == nil || limit.Err() != nil {
			return err
		}
		time.Sleep(time.Second) // refused at once while nobody listens
	}
}

// withoutName is an error that begins with the instance's name without that, for
// a line that has it already.
func withoutName(n instance.Name, err error) error {
	if err == nil {
		return nil
	}
	if text, ok := strings.CutPrefix(err.Error(), string(n)+": "); ok {
		return errors.New(text)
	}
	return err
}
