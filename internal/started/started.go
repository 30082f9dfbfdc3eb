// Package started keeps what an instance was started with: the settings and
// layers of the moment when the helper mounted it. What the operator has
// changed since is what the next start would bring.
//
// The kernel does not tell which directories an overlay is made of (the mount
// options hold descriptor numbers, where they are shown at all), the process
// could rewrite its own command line, and the copy of server.cfg in the tree
// belongs to a directory of the game's user. So the helper writes it down in
// a directory of root's.
package started

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"l4d2-host/internal/beneath"
	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
)

// Record is what an instance was started with.
type Record struct {
	At           time.Time // before the first layer was opened
	Env          instance.Env
	ServerConfig []byte
	Layers       []Directory // those of Env.Lowers
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

// ErrNone says that there is no record: the instance has never been mounted,
// or by a version that did not keep one.
var ErrNone = errors.New("nothing was written down at the start")

// format is the first line: whoever changes what follows changes it too.
const format = "l4d2-host started 1"

// maxFile, in bytes, bounds the file: instance.env, server.cfg (1 MiB at the
// most) and the layers.
const maxFile = 1<<20 + 2*envfile.MaxFile

// Write keeps r in the instance's runtime directory dir, readable by the
// group gid: it holds passwords.
func Write(dir, gid int, r Record) error {
	data, err := r.encode()
	if err != nil {
		return err
	}
	return beneath.WriteFile(dir, instance.StartedFile, beneath.File{Data: data, Mode: 0o640, GID: gid})
}

// Read returns the record of n, or ErrNone. It stays there after a stop: a
// caller compares At with when the unit's run began.
func Read(l instance.Layout, n instance.Name) (Record, error) {
	path := l.Started(n)
	data, err := instance.ReadFile(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, ErrNone
	}
	if err != nil {
		return Record{}, err
	}
	r, err := decode(data)
	if err != nil {
		return Record{}, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// encode writes a head of lines, an empty line, and the two files one after
// the other.
func (r Record) encode() ([]byte, error) {
	env, err := r.Env.Format()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nat %d\nenv %d\n", format, r.At.UnixNano(), len(env))
	for _, d := range r.Layers {
		fmt.Fprintf(&b, "layer %d %d\n", d.Dev, d.Ino)
	}
	b.WriteByte('\n')
	b.Write(env)
	b.Write(r.ServerConfig)
	return b.Bytes(), nil
}

func decode(data []byte) (Record, error) {
	head, rest, found := bytes.Cut(data, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !found || lines[0] != format || len(lines) < 3 {
		return Record{}, errors.New("written by another version of l4d2-host")
	}
	var at int64
	var size int
	if _, err := fmt.Sscanf(lines[1], "at %d", &at); err != nil {
		return Record{}, fmt.Errorf("line 2: %w", err)
	}
	if _, err := fmt.Sscanf(lines[2], "env %d", &size); err != nil || size < 0 || size > len(rest) {
		return Record{}, fmt.Errorf("line 3: no length: %q", lines[2])
	}
	r := Record{At: time.Unix(0, at), ServerConfig: rest[size:]}
	for i, line := range lines[3:] {
		var d Directory
		if _, err := fmt.Sscanf(line, "layer %d %d", &d.Dev, &d.Ino); err != nil {
			return Record{}, fmt.Errorf("line %d: %w", i+4, err)
		}
		r.Layers = append(r.Layers, d)
	}
	env, err := instance.ParseEnv("its instance.env", rest[:size])
	if err != nil {
		return Record{}, err
	}
	if len(r.Layers) != len(env.Lowers) {
		return Record{}, fmt.Errorf("%d directories for %d layers", len(r.Layers), len(env.Lowers))
	}
	r.Env = env
	return r, nil
}
