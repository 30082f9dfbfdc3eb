package layers

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// SameContent reports whether two entries, which are at name in their layers,
// are of one type and hold the same: the bytes of files, where links lead.
// Directories are not looked into.
func SameContent(ctx context.Context, name string, a, b Found) (bool, error) {
	if a.Type != b.Type {
		return false, nil
	}
	switch a.Type {
	case File:
		return sameBytes(ctx, name, a, b)
	case Symlink:
		x, err := a.Layer.Readlink(name)
		if err != nil {
			return false, err
		}
		y, err := b.Layer.Readlink(name)
		return x == y, err
	case Device:
		return a.Dev == b.Dev && a.Ino == b.Ino, nil
	}
	return true, nil
}

func sameBytes(ctx context.Context, name string, a, b Found) (bool, error) {
	if a.Size != b.Size {
		return false, nil
	}
	if a.Dev == b.Dev && a.Ino == b.Ino {
		return true, nil
	}
	x, _, err := a.Layer.Open(name)
	if err != nil {
		return false, err
	}
	defer x.Close()
	y, _, err := b.Layer.Open(name)
	if err != nil {
		return false, err
	}
	defer y.Close()
	same, err := sameStreams(ctx, x, y)
	if err != nil {
		return false, a.Layer.fail("compare", name, err)
	}
	return same, nil
}

func sameStreams(ctx context.Context, x, y io.Reader) (bool, error) {
	a, b := make([]byte, 128<<10), make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, errA := io.ReadFull(x, a)
		m, errB := io.ReadFull(y, b)
		if !bytes.Equal(a[:n], b[:m]) {
			return false, nil
		}
		if ended(errA) || ended(errB) {
			return ended(errA) && ended(errB), nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
