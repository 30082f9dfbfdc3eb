package steam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/advice"
)

// maxDelay bounds the time between two attempts.
const maxDelay = 5 * time.Minute

// Fetch is an update: as many runs of steamcmd as it takes.
type Fetch struct {
	Settings Settings
	Command  string // the program
	Home     string
	Dir      string // what to bring up to date
	Watcher  Watcher
	// Say is told what the runs do not print themselves.
	Say func(format string, args ...any)
	// Detour is called before files of another platform are put into Dir: until
	// Run succeeds, what is there may be of either.
	Detour func() error
}

// Run brings the directory up to date. The error carries advice; it unwraps to
// the last *Failure, or to ctx's error when that ended.
func (f *Fetch) Run(ctx context.Context) error {
	steps := []Platform{Native}
	delay := f.Settings.RetryDelay
	for attempt := 1; ; {
		err := f.walk(ctx, steps)
		if err == nil {
			return nil
		}
		var failure *Failure
		if !errors.As(err, &failure) {
			return err
		}
		if failure.Kind == PlatformRefused && len(steps) == 1 {
			// Valve's licence for anonymous users leaves out the Linux version's
			// installation, not its update: so the Windows one is installed, and
			// turned into the other.
			f.Say("steam refuses this platform: trying the windows version first, then linux in the same place")
			steps = []Platform{Windows, Linux}
			if err := f.Detour(); err != nil {
				return err
			}
			continue
		}
		f.confirmDisk(failure)
		if failure.Kind != Transient {
			return f.explain(failure)
		}
		if attempt >= f.Settings.Attempts {
			return f.explain(fmt.Errorf("%w (%d attempts)", failure, attempt))
		}
		attempt++
		f.Say("%v: attempt %d of %d in %s", failure, attempt, f.Settings.Attempts, delay)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(delay):
		}
		delay = min(2*delay, max(maxDelay, f.Settings.RetryDelay))
	}
}

// walk runs steamcmd once for each platform on the way.
func (f *Fetch) walk(ctx context.Context, steps []Platform) error {
	for _, platform := range steps {
		c := Command{
			Path: f.Command, Home: f.Home, Dir: f.Dir,
			Login: f.Settings.Login, Beta: f.Settings.Beta,
			Platform: platform,
			// What is made of the Windows version is looked at file by file.
			Validate: f.Settings.Validate || platform == Linux,
		}
		if platform != Native {
			f.Say("updating for %s", platform)
		}
		if err := c.Run(ctx, f.Watcher); err != nil {
			return err
		}
	}
	return nil
}

// fullBelow, in bytes, is so little room that it explains any failure: steamcmd
// asks for 250 MB for itself alone.
const fullBelow = 64 << 20

// confirmDisk looks at the file system itself: a failure with no reason of its
// own is the disk's when that is full.
func (f *Fetch) confirmDisk(failure *Failure) {
	var fs unix.Statfs_t
	if unix.Statfs(f.Dir, &fs) != nil {
		return
	}
	free := fs.Bavail * uint64(fs.Bsize)
	noInodes := fs.Files > 0 && fs.Ffree == 0
	switch {
	case failure.Kind == DiskFull:
		failure.Text += fmt.Sprintf(" [%d MiB are free]", free>>20)
	case failure.Kind == Transient && (free < fullBelow || noInodes):
		failure.Kind = DiskFull
		failure.Text += fmt.Sprintf(" [%d MiB and %d inodes are free]", free>>20, fs.Ffree)
	}
}

// explain adds what to do.
func (f *Fetch) explain(err error) error {
	var failure *Failure
	errors.As(err, &failure)
	if failure.Kind == DiskFull {
		err = fmt.Errorf("the disk is full: %w", err)
	}
	return advice.With(err, failure.Kind.hint(f.Settings.Login))
}
