package activation

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"l4d2-host/internal/layers"
	"l4d2-host/internal/record"
)

// Bounds of the search for files that hide newer ones, which keeps the start
// waiting: the game decides how many files it has.
const (
	hidingTime   = 250 * time.Millisecond
	hidingNames  = 20_000
	hidingNamed  = 5 // in the warning, and each this long at the most, in bytes:
	hidingLength = 200
)

// made is what the stack is made of.
func (s *stack) made() ([]record.Layer, error) {
	made := make([]record.Layer, len(s.Lowers))
	for i, lower := range s.Lowers {
		d, err := record.DirectoryOf(lower.FD)
		if err != nil {
			return nil, err
		}
		made[i] = record.Layer{Name: s.names[i], Directory: d}
	}
	return made, nil
}

// warnHiding warns of the server's own files that hide newer ones of a layer,
// when the layers are not those of the last start: after an update of the game or
// of a mod, a file that the server once changed stays as it was. No error of this
// is a reason not to start.
func (a *Activation) warnHiding(s stack, made []record.Layer) {
	same, err := record.SameLayers(a.Layout, a.Name, made)
	if same || errors.Is(err, record.ErrNone) {
		return
	}
	if err != nil {
		a.Log.Warn("whether its own files hide newer ones is not looked at: %v", err)
		return
	}
	hiding, err := a.hiding(s)
	atLeast := ""
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, layers.ErrLimit):
		a.Log.Info("its own files are too many to compare all of them with the layers, which have changed; this does it: l4d2ctl plan %s", a.Name)
		atLeast = "at least "
	case err != nil:
		a.Log.Warn("whether its own files hide newer ones is not known: %v", err)
	}
	if len(hiding) == 0 {
		return
	}
	named := strings.Join(hiding[:min(hidingNamed, len(hiding))], ", ")
	if len(hiding) > hidingNamed {
		named += ", …"
	}
	a.Log.Warn("its own files that hide newer ones of its layers: %s%d (%s); see l4d2ctl plan %s, and give them up with l4d2ctl reset %s PATH",
		atLeast, len(hiding), named, a.Name, a.Name)
}

// hiding returns the paths, quoted, of the server's own files that hide newer
// ones which hold something else; with an error, those that were found before.
// The server.cfg is new by now.
func (a *Activation) hiding(s stack) ([]string, error) {
	ctx, done := context.WithTimeout(context.Background(), hidingTime)
	defer done()
	upper := &layers.Layer{Name: layers.UpperName, Path: a.Layout.Upper(a.Name), Dir: s.Upper}
	var paths []string
	err := layers.Newer(ctx, upper, s.view(), hidingNames, func(f layers.Stale) error {
		same, err := layers.SameContent(ctx, f.Path, f.Upper, f.Newer)
		if err == nil && !same {
			paths = append(paths, quoted(f.Path))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted meanwhile
		}
		return err
	})
	return paths, err
}

// quoted is a path as it is named: what anyone chose can be 4095 bytes long.
func quoted(path string) string {
	if len(path) > hidingLength {
		return strconv.Quote(path[:hidingLength]) + "…"
	}
	return strconv.Quote(path)
}
