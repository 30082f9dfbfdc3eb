package main

import (
	"errors"
	"os"
	"path/filepath"
)

// write replaces, overwrites or removes a file of the main instance, as a game
// could, and makes sure that the disk has it.
func (w *worker) write(name string) error {
	path := filepath.Join(w.layout.Merged(lasting), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	v := w.next
	w.next++
	var err error
	switch w.random.IntN(4) {
	case 0:
		v = 0
		w.say("begin", "file/"+name, v)
		if err = os.Remove(path); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	case 1: // in place: until it is synced, anything may be there
		w.say("begin", "file/"+name, -1)
		w.say("begin", "file/"+name, v)
		err = writeSynced(path, content(name, v))
	default:
		w.say("begin", "file/"+name, v)
		if err = writeSynced(path+".new", content(name, v)); err == nil {
			err = os.Rename(path+".new", path)
		}
	}
	// Of the directory above too, as it may be new.
	err = errors.Join(err, syncPath(filepath.Dir(path)), syncPath(filepath.Dir(filepath.Dir(path))))
	if err != nil {
		return err
	}
	w.say("synced", "file/"+name, v)
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
