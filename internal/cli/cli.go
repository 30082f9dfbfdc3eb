// Package cli is l4d2ctl, the operator's tool: one file per command over the
// packages that do the work.
//
// It never mounts anything, and it decides nothing that systemd or the store
// could decide: it asks them, says what it asks, and puts their answers in
// words.
//
// The rules of all output: a result goes to stdout; each step, warning and
// error goes to stderr. A line about an instance begins with its name. An
// error begins with "l4d2ctl: ", in lower case, without a full stop; what the
// operator can do about it is a line of its own, "l4d2ctl: hint: …".
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/secret"
	"l4d2-host/internal/ssh"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

// The exit codes of l4d2ctl, all of them.
const (
	ExitDone        = 0
	ExitFailed      = 1   // at least one thing asked for is not so
	ExitUsage       = 2   // the command line is wrong, nothing was done
	ExitInterrupted = 130 // SIGINT or SIGTERM: 128 + SIGINT, as shells do
)

const program = "l4d2ctl"

// helperPath is where the package puts l4d2-overlay. A test build sets it with
// -ldflags "-X l4d2-host/internal/cli.helperPath=…"; nothing sets it at run
// time, because root executes it.
var helperPath = "/usr/libexec/l4d2-host/l4d2-overlay"

// Program is l4d2ctl with everything outside of it; New has the real things.
type Program struct {
	Version  string
	In       io.Reader
	Out, Err io.Writer
	// Superuser says that this process may write the instances.
	Superuser bool
	// Helper is the path of l4d2-overlay.
	Helper string
	// LookUpOwner returns the user that the game runs as.
	LookUpOwner func() (activation.Owner, error)
	// OpenStore opens the instances under a root.
	OpenStore func(instance.Layout) (*store.Store, error)
	// Connect reaches systemd; the error is systemd.ErrNotRunning where
	// there is none.
	Connect func(context.Context) (Manager, error)
	// ConnectTo reaches the systemd of another machine.
	ConnectTo func(context.Context, ssh.Host) (Manager, error)
	// Patience is how long the servers have, all together, to answer a query.
	Patience time.Duration
	// GameUser returns the number of the user that the game runs as.
	GameUser func() (int, error)
	// RollDir is where a rolling restart keeps its state, and RollInterval the
	// time from one look at it to the next.
	RollDir      string
	RollInterval time.Duration
}

// New returns the program as it is shipped.
func New(version string) *Program {
	return &Program{
		Version:     version,
		In:          os.Stdin,
		Out:         os.Stdout,
		Err:         os.Stderr,
		Superuser:   os.Geteuid() == 0,
		Helper:      helperPath,
		LookUpOwner: activation.LookUpOwner,
		OpenStore:   func(l instance.Layout) (*store.Store, error) { return store.Open(l) },
		Connect: func(ctx context.Context) (Manager, error) {
			m, err := systemd.Connect(ctx)
			if err != nil {
				return nil, err // not m: an interface holding a nil pointer is not nil
			}
			return m, nil
		},
		ConnectTo: func(ctx context.Context, host ssh.Host) (Manager, error) {
			m, err := systemd.ConnectTo(ctx, host)
			if err != nil {
				return nil, err
			}
			return m, nil
		},
		Patience:     patience,
		GameUser:     gameUser,
		RollDir:      rollDir,
		RollInterval: time.Second,
	}
}

// patience is enough for a server that answers once a frame and is asked twice
// (the first answer is a challenge), also an empty one that sleeps between its
// frames.
const patience = 500 * time.Millisecond

// oneSignal is how far apart two signals are at the least: timeout(1) sends its
// own to the program and, again, to the program's group.
const oneSignal = time.Second

// Main runs the command line args, without the program's name, and returns the
// exit code. The first SIGINT or SIGTERM cancels what is going on, the second
// one ends the process.
func (p *Program) Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { time.AfterFunc(oneSignal, stop) })
	return p.Run(ctx, args)
}

// commandLine is all that can be asked; each command is a struct with a Run.
type commandLine struct {
	Root    string           `help:"Directory of the game, the layers and the instances (default: ${root})." env:"${rootVariable}" placeholder:"DIR" complete:"dir"`
	Host    hostArg          `short:"H" help:"Run the command on another machine, over ssh." placeholder:"[USER@]HOST" complete:"none"`
	Version kong.VersionFlag `help:"Print the version and exit."`

	Complete completeCommand `cmd:"" hidden:"" passthrough:"" help:"Complete a command line, for the shells."`

	Init    initCommand    `cmd:"" help:"Make an instance, or apply its changed spec."`
	Start   startCommand   `cmd:"" help:"Start instances and wait until players can join."`
	Stop    stopCommand    `cmd:"" help:"Stop instances and wait until they are unmounted."`
	Restart restartCommand `cmd:"" help:"Stop and start instances, so that they take up a changed spec."`
	Delete  deleteCommand  `cmd:"" help:"Stop an instance and remove it with all its state."`
	List    listCommand    `cmd:"" help:"Show all instances and what they do."`
	Status  statusCommand  `cmd:"" help:"Say how an instance is, and what a restart would change."`
	Logs    logsCommand    `cmd:"" help:"Show what the journal has of an instance."`
	Console consoleCommand `cmd:"" help:"Run commands on a server's console (RCON)."`
	Show    showCommand    `cmd:"" help:"Show an instance's spec, generated files and command line."`
	Edit    editCommand    `cmd:"" help:"Change an instance's spec in an editor."`
	Check   checkCommand   `cmd:"" help:"Look for what is wrong with the machine and its instances."`
	Layer   layerCommand   `cmd:"" help:"Add, update, inspect and remove layers."`

	Releases releasesCommand `cmd:"" help:"Show the game's releases, and which servers run on them."`
	Rollback rollbackCommand `cmd:"" help:"Make an earlier release of the game the current one, or any other."`
	Prune    pruneCommand    `cmd:"" help:"Remove releases that nobody needs any more."`
	Flatten  flattenCommand  `cmd:"" help:"Fold a release and those below it into one."`
	Adopt    adoptCommand    `cmd:"" help:"Make the installation the first release, without moving it."`

	Diff      diffCommand      `cmd:"" help:"Show what a server has changed in its files."`
	Which     whichCommand     `cmd:"" help:"Show which layer a file comes from, and what it shadows."`
	Conflicts conflictsCommand `cmd:"" help:"Show the files that more than one layer brings."`
	Plan      planCommand      `cmd:"" help:"Show what the next start of an instance would change."`
	Reset     resetCommand     `cmd:"" help:"Give up what a server has changed, or some of it."`
	Backup    backupCommand    `cmd:"" help:"Keep a copy of an instance's spec and its own files."`
	Restore   restoreCommand   `cmd:"" help:"Put an instance back to what a backup holds."`
	Clone     cloneCommand     `cmd:"" help:"Make an instance like another one, on another port."`

	Update updateCommand `cmd:"" help:"Update the game, or install it."`
}

// newParser returns the parser that fills line.
func (p *Program) newParser(line *commandLine) *kong.Kong {
	parser, err := kong.New(line,
		kong.Name(program),
		kong.Description("Make and run the Left 4 Dead 2 servers of this machine.\n\n"+
			"Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."),
		kong.Vars{"version": p.Version, "root": instance.DefaultRoot, "rootVariable": instance.RootVariable, "mask": secret.Mask},
		kong.Help(printHelp),
		kong.Writers(p.Out, p.Err))
	if err != nil {
		panic(err) // the struct above is wrong
	}
	return parser
}

// Model returns all that can be asked, for what has to agree with it: the
// manual pages and the completions.
func (p *Program) Model() *kong.Application {
	return p.newParser(new(commandLine)).Model
}

// Run is Main for a caller with a context of its own: when ctx ends, jobs that
// this run queued are cancelled.
func (p *Program) Run(ctx context.Context, args []string) int {
	var line commandLine
	out := &output{out: p.Out, err: p.Err, colour: wantsColour(p.Out)}
	parsed, err := p.newParser(&line).Parse(args)
	if err != nil {
		out.report("", &problem{err: err, hints: []string{"see " + usage(err)}})
		return ExitUsage
	}
	layout, err := instance.NewLayout(line.Root)
	if err != nil {
		out.report("", err)
		return ExitUsage
	}
	if !line.Host.Zero() && !line.overBus(parsed.Selected().Name) {
		return p.there(ctx, out, &line, parsed.Selected().Name, args)
	}
	err = parsed.Run(&session{Program: p, output: out, ctx: ctx, layout: layout, host: line.Host.Host})
	if err == nil {
		err = out.written()
	}
	return out.exit(ctx, commandName(parsed.Selected()), err)
}

// commandName is what the operator types for a command: "start", "layer add".
func commandName(node *kong.Node) string {
	if node.Parent == nil || node.Parent.Type == kong.ApplicationNode {
		return node.Name
	}
	return commandName(node.Parent) + " " + node.Name
}

// usage is the command whose help a wrong command line should have followed.
func usage(err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
		return fmt.Sprintf("%s %s --help", program, commandName(wrong.Context.Selected()))
	}
	return program + " --help"
}

// exit reports err, which the command called verb returned, and returns the
// exit code.
func (o *output) exit(ctx context.Context, verb string, err error) int {
	switch {
	case err == nil:
		return ExitDone
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		if !errors.As(err, new(ended)) {
			o.report(verb, err)
		}
		return ExitInterrupted
	default:
		o.report(verb, err)
		return ExitFailed
	}
}
