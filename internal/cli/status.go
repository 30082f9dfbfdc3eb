package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"l4d2-host/internal/a2s"
	"l4d2-host/internal/chain"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layers"
	"l4d2-host/internal/record"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
	"l4d2-host/internal/tree"
)

type statusCommand struct {
	Name    nameArg `arg:"" help:"Instance to look at."`
	Players bool    `help:"Show who plays, too."`
	JSON    bool    `help:"Print an object, for programs."`
}

// Help is what --help prints besides.
func (*statusCommand) Help() string {
	return "Its state and answer, how its last run ended, what it uses, and its layers. What this user may not see is named.\n\n" +
		"Example: l4d2ctl status versus --players"
}

// status is an instance looked at closely, and its JSON: these keys, and those
// of listed, are what programs may rely on. A null is something that is not so
// or not known; unknown says which are not known, and why.
type status struct {
	listed
	StateSince  *time.Time    `json:"state_since"` // RFC 3339, UTC
	Result      *string       `json:"result"`      // systemd's word for how the last run went
	StatusText  *string       `json:"status_text"` // what the service last said of itself
	LastExit    *lastExit     `json:"last_exit"`
	CPUSeconds  *float64      `json:"cpu_seconds"` // processor time, of this run
	CPUPercent  *float64      `json:"cpu_percent"` // of one processor, while the command looked
	MemoryBytes *uint64       `json:"memory_bytes"`
	Disk        *disk         `json:"disk"`        // what its upper directory takes
	Layers      []statusLayer `json:"layers"`      // topmost first: of this run or, stopped, of the next
	Unapplied   *bool         `json:"unapplied"`   // instance.yaml was edited, and init not run
	Pending     []change      `json:"pending"`     // what a restart would change; null unless running
	PlayerList  []connected   `json:"player_list"` // null unless asked for with --players, and answered
	Unknown     unknowns      `json:"unknown"`     // key: why it is not known

	runsOn *uint16 // the port of the present run
}

// lastExit is how the last run that has ended did.
type lastExit struct {
	At     time.Time `json:"at"`     // RFC 3339, UTC
	Result string    `json:"result"` // systemd's word: success, exit-code, signal, timeout, …
	Code   string    `json:"code"`   // exited, killed or dumped; empty if no server was started
	Status string    `json:"status"` // the exit code or the signal's name
}

type disk struct {
	Bytes    int64 `json:"bytes"` // that are taken on the disk, not the length of the files
	Files    int   `json:"files"`
	Complete bool  `json:"complete"` // false: at least as much
}

type statusLayer struct {
	Name   string  `json:"name"` // of the layer, "installation", or "releases/NAME"
	Path   string  `json:"path"`
	Target *string `json:"target"` // where it leads, if it is a symbolic link
}

type connected struct {
	Name             string `json:"name"` // as the player chose it; empty while connecting
	Score            int    `json:"score"`
	ConnectedSeconds int64  `json:"connected_seconds"`
}

type unknowns map[string]string

// because notes why a key is not known.
func (u unknowns) because(key string, err error) {
	var denied *fs.PathError
	if errors.Is(err, fs.ErrPermission) && errors.As(err, &denied) {
		u[key] = fmt.Sprintf("%s: only root and the group %s may read it", denied.Path, instance.User)
		return
	}
	u[key] = err.Error()
}

func (c *statusCommand) Run(s *session) error {
	v, err := s.look(c.Name.Name, c.Players)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.printJSON(v)
	} else {
		s.print(s.describeStatus(v))
	}
	if err == nil && v.Error != nil {
		err = fmt.Errorf("%s: %s", v.Name, *v.Error)
	}
	return err
}

const (
	// treeLimit bounds looking through files: the game decides how many it
	// writes.
	treeLimit = 5 * time.Second
	// sampleTime is how long the use of the processor is measured, at least.
	sampleTime = 250 * time.Millisecond
)

// look finds out all there is to say about n.
func (s *session) look(n instance.Name, withPlayers bool) (*status, error) {
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	v := &status{Layers: []statusLayer{}, Unknown: unknowns{}}
	switch err := v.describe(st, n); {
	case errors.Is(err, store.ErrUnknown):
		return nil, unknown(n)
	case errors.Is(err, fs.ErrPermission):
		v.Error = nil
		v.Unknown.because("port", err)
		v.Unknown.because("error", err)
	}
	m, u, err := s.stateOf(v)
	if err != nil {
		return nil, err
	}
	if m != nil {
		defer m.Close()
	}
	sampled := time.Now()
	start := s.startOf(v, u)
	limit, done := context.WithTimeout(s.ctx, treeLimit)
	defer done()
	var all sync.WaitGroup
	all.Add(1)
	go func() {
		defer all.Done()
		s.addAnswer(v, start, withPlayers)
	}()
	s.addLayers(v, start)
	s.addUnapplied(v, st)
	s.addPending(limit, v, u, start)
	all.Wait()
	s.addDisk(limit, v)
	s.addLastExit(v, u)
	if u.CPU != nil && v.PID != nil {
		s.sampleCPU(v, m, u, sampled)
	}
	return v, s.ctx.Err()
}

// stateOf fills in what systemd knows. Without systemd the Manager is nil.
func (s *session) stateOf(v *status) (Manager, systemd.Unit, error) {
	m, err := s.Connect(s.ctx)
	if errors.Is(err, systemd.ErrNotRunning) {
		v.Unknown.because("state", systemd.ErrNotRunning)
		return nil, systemd.Unit{}, nil
	}
	if err != nil {
		return nil, systemd.Unit{}, err
	}
	u, err := s.unit(m, v.Name)
	if err == nil && s.foreign(u, v.Name) {
		v.Unknown["state"] = fmt.Sprintf("%s is of another root: it reads %s", unitName(v.Name), strings.Join(u.EnvironmentFiles, " and "))
		return m, systemd.Unit{}, nil
	}
	if err == nil && !u.Installed() {
		v.Unknown["state"] = "l4d2@.service is not installed: nothing can run"
		return m, systemd.Unit{}, nil
	}
	if err != nil {
		m.Close()
		return nil, u, err
	}
	v.addState(u, time.Now())
	if !u.Changed.IsZero() {
		since := u.Changed.UTC().Truncate(time.Second)
		v.StateSince = &since
	}
	if u.Result != "" {
		v.Result = &u.Result
	}
	if u.StatusText != "" {
		v.StatusText = &u.StatusText
	}
	if u.CPU != nil {
		seconds := u.CPU.Seconds()
		v.CPUSeconds = &seconds
	}
	v.MemoryBytes = u.Memory
	return m, u, nil
}

// startOf returns what the present run was started with, or nil.
func (s *session) startOf(v *status, u systemd.Unit) *record.Start {
	if v.PID == nil {
		return nil
	}
	start, err := record.ReadStart(s.layout, v.Name)
	if err == nil && start.At.Before(u.Begun) {
		err = errors.New("what was written down is of an earlier start")
	}
	if err != nil {
		v.Unknown.because("pending", err)
		return nil
	}
	return &start
}

func (s *session) addAnswer(v *status, start *record.Start, withPlayers bool) {
	if v.runsOn = v.Port; start != nil {
		v.runsOn = &start.Env.Port
	}
	port := v.runsOn
	if v.PID == nil || port == nil {
		return
	}
	s.query([]*answer{&v.answer}, []uint16{*port})
	if !withPlayers || v.QueryError != nil {
		return
	}
	ctx, done := context.WithTimeout(s.ctx, s.Patience)
	defer done()
	list, err := a2s.Players(ctx, loopback(*port))
	if err != nil {
		v.Unknown["player_list"] = s.silence(err)
		return
	}
	v.PlayerList = []connected{}
	for _, p := range list {
		v.PlayerList = append(v.PlayerList, connected{p.Name, p.Score, int64(p.Connected / time.Second)})
	}
}

// addLayers names the layers of the present run, or of the next.
func (s *session) addLayers(v *status, start *record.Start) {
	var names []string
	if start != nil {
		names = s.named(*start).Names()
	} else {
		env, err := instance.ReadEnv(s.layout, v.Name)
		if err == nil {
			names, err = chain.Expand(s.layout, env.Lowers)
		}
		if err != nil {
			v.Unknown.because("layers", err)
			return
		}
	}
	for _, lower := range names {
		l := statusLayer{Name: layerName(lower), Path: filepath.Join(s.layout.Root(), lower)}
		if target, err := os.Readlink(l.Path); err == nil {
			l.Target = &target
		}
		v.Layers = append(v.Layers, l)
	}
}

func (s *session) addDisk(ctx context.Context, v *status) {
	upper, err := layers.Upper(s.layout, v.Name)
	if errors.Is(err, fs.ErrNotExist) {
		v.Disk = &disk{Complete: true} // before its first start
		return
	}
	if err != nil {
		v.Unknown.because("disk", err)
		return
	}
	defer upper.Close()
	u := tree.DiskUse(ctx, upper.Dir)
	v.Disk = &disk{u.Bytes, u.Files, u.Missed == nil}
	if u.Missed != nil {
		v.Unknown["disk"] = "not all was counted: " + missed(u.Missed)
	}
}

// missed says why a tree was not looked through to its end.
func missed(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("it takes longer than %s", treeLimit)
	}
	return err.Error()
}

func (s *session) addLastExit(v *status, u systemd.Unit) {
	end, err := record.ReadEnd(s.layout, v.Name)
	if err == nil {
		v.LastExit = &lastExit{end.At.UTC().Truncate(time.Second), end.Result, end.Code, end.Status}
		return
	}
	if !errors.Is(err, record.ErrNone) {
		v.Unknown.because("last_exit", err)
	}
	if u.ExecMainCode != 0 && !u.Ended.IsZero() {
		code, status := u.ExitWords()
		v.LastExit = &lastExit{u.Ended.UTC().Truncate(time.Second), u.Result, code, status}
		delete(v.Unknown, "last_exit")
	}
}

// sampleCPU measures what share of a processor the server uses at present.
func (s *session) sampleCPU(v *status, m Manager, before systemd.Unit, began time.Time) {
	select {
	case <-time.After(max(0, sampleTime-time.Since(began))):
	case <-s.ctx.Done():
		return
	}
	now, err := s.unit(m, v.Name)
	took := time.Since(began)
	if err != nil || now.CPU == nil || now.InvocationID != before.InvocationID || *now.CPU < *before.CPU {
		return
	}
	percent := 100 * float64(*now.CPU-*before.CPU) / float64(took)
	percent = float64(int(10*percent+0.5)) / 10
	v.CPUPercent = &percent
}
