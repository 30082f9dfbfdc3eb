// Package record keeps what a running or past instance was: what it was started
// with, and how it ended. The helper, which is there at both moments, writes it
// down in a directory of root's; l4d2ctl reads it.
//
// There is no other place to learn it from. The kernel does not tell which
// directories an overlay is made of (the mount options hold descriptor
// numbers), the process could rewrite its own command line, the copy of
// server.cfg in the tree lies in a directory of the game's user; and systemd
// forgets how the last run ended when it begins the next one.
package record

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
)

// Start is what an instance was started with. What the operator has changed
// since is what the next start would bring.
type Start struct {
	At           time.Time // before the first layer was opened
	Env          instance.Env
	ServerConfig []byte
	Layers       []Layer // what Env.Lowers stood for, topmost first
}

// Layer is one directory that the overlay was made of, by its path below the
// root: "overlays/NAME", "installation" or the tree of a release (package chain).
type Layer struct {
	Name string
	Directory
}

// Directory tells a directory from another that has taken its name: a layer
// that was replaced, an installation that is a link to another release now.
type Directory struct{ Dev, Ino uint64 }

// DirectoryOf returns which directory is open as fd.
func DirectoryOf(fd int) (Directory, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Directory{}, os.NewSyscallError("fstat", err)
	}
	return Directory{st.Dev, st.Ino}, nil
}

// ErrNone says that there is no record: the instance has never been started or
// has never ended, or under a version that kept none.
var ErrNone = errors.New("it was not written down")

var errVersion = errors.New("written by another version of l4d2-host")

// startFormat is the first line: whoever changes what follows changes it too.
const (
	startFormat = "l4d2-host started 2"
	// Before there were releases, the layers were those of the instance.env, and
	// had no names of their own.
	startFormat1 = "l4d2-host started 1"
)

// maxStart, in bytes, bounds the file: instance.env, server.cfg (1 MiB at the
// most) and the layers.
const maxStart = 1<<20 + 2*envfile.MaxFile

// WriteStart keeps r in the instance's runtime directory dir, readable by the
// group gid: it holds passwords.
func WriteStart(dir, gid int, r Start) error {
	data, err := r.encode()
	if err != nil {
		return err
	}
	return beneath.WriteFile(dir, instance.StartedFile, beneath.File{Data: data, Mode: 0o640, GID: gid})
}

// ReadStart returns the last start of n, or ErrNone. It stays there after a stop: a
// caller compares At with when the unit's run began.
func ReadStart(l instance.Layout, n instance.Name) (Start, error) {
	data, err := read(l, n)
	if err != nil {
		return Start{}, err
	}
	r, err := decodeStart(data)
	if err != nil {
		return Start{}, fmt.Errorf("%s: %w", l.Started(n), err)
	}
	return r, nil
}

func read(l instance.Layout, n instance.Name) ([]byte, error) {
	data, err := instance.ReadFile(l.Started(n), maxStart)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	return data, err
}

// encode writes a head of lines, an empty line, and the two files one after
// the other.
func (r Start) encode() ([]byte, error) {
	env, err := r.Env.Format()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nat %d\nenv %d\n", startFormat, r.At.UnixNano(), len(env))
	encodeLayers(&b, r.Layers)
	b.Write(env)
	b.Write(r.ServerConfig)
	return b.Bytes(), nil
}

// encodeLayers writes a line for each, and an empty one.
func encodeLayers(b *bytes.Buffer, layers []Layer) {
	b.Grow(64 * len(layers))
	for _, d := range layers {
		line := strconv.AppendUint([]byte("layer "), d.Dev, 10)
		line = strconv.AppendUint(append(line, ' '), d.Ino, 10)
		b.Write(line)
		b.WriteString(" " + d.Name + "\n")
	}
	b.WriteByte('\n')
}

func decodeStart(data []byte) (Start, error) {
	head, rest, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	named := lines[0] == startFormat
	if !found || !named && lines[0] != startFormat1 || len(lines) < 3 {
		return Start{}, errVersion
	}
	var at int64
	var size int
	if _, err := fmt.Sscanf(lines[1], "at %d", &at); err != nil {
		return Start{}, fmt.Errorf("line 2: %w", err)
	}
	if _, err := fmt.Sscanf(lines[2], "env %d", &size); err != nil || size < 0 || size > len(rest) {
		return Start{}, fmt.Errorf("line 3: no length: %q", lines[2])
	}
	r := Start{At: time.Unix(0, at), ServerConfig: rest[size:]}
	for i, line := range lines[3:] {
		var d Layer
		var err error
		if named {
			_, err = fmt.Sscanf(line, "layer %d %d %s", &d.Dev, &d.Ino, &d.Name)
		} else {
			_, err = fmt.Sscanf(line, "layer %d %d", &d.Dev, &d.Ino)
		}
		if err != nil {
			return Start{}, fmt.Errorf("line %d: %w", i+4, err)
		}
		r.Layers = append(r.Layers, d)
	}
	env, err := instance.ParseEnv("its instance.env", rest[:size])
	if err != nil {
		return Start{}, err
	}
	if len(r.Layers) < len(env.Lowers) || !named && len(r.Layers) != len(env.Lowers) {
		return Start{}, fmt.Errorf("%d directories for %d layers", len(r.Layers), len(env.Lowers))
	}
	for i := range r.Layers {
		if !named {
			r.Layers[i].Name = env.Lowers[i]
		}
	}
	r.Env = env
	return r, nil
}

// Base returns the topmost directory of the game beneath the layers: the
// installation, or the tree of the release that the server runs on.
func (r Start) Base() Directory {
	return r.Layers[len(r.Env.Lowers)-1].Directory
}

// Names returns the names of the layers.
func (r Start) Names() []string {
	names := make([]string, len(r.Layers))
	for i, l := range r.Layers {
		names[i] = l.Name
	}
	return names
}

// SameLayers reports whether the last start of n was made of these directories.
// It is for the helper, which asks it before each start: mostly the text alone
// tells. The error is ErrNone if there was no start, as with ReadStart.
func SameLayers(l instance.Layout, n instance.Name, layers []Layer) (bool, error) {
	var want bytes.Buffer
	encodeLayers(&want, layers)
	data, err := read(l, n)
	if err != nil {
		return false, err
	}
	lines := bytes.SplitAfterN(data, []byte("\n"), 4) // the format, at, env, the layers
	if len(lines) == 4 && string(lines[0]) == startFormat+"\n" && bytes.HasPrefix(lines[3], want.Bytes()) {
		return true, nil
	}
	// A directory may have another name now.
	last, err := decodeStart(data)
	if err != nil {
		return false, fmt.Errorf("%s: %w", l.Started(n), err)
	}
	return slices.EqualFunc(last.Layers, layers, func(a, b Layer) bool { return a.Directory == b.Directory }), nil
}
