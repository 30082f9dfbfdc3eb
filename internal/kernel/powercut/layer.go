package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"l4d2-host/internal/activation"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/layer"
)

// maps is a layer that is brought up to date again and again.
const maps instance.Name = "maps"

// mapFiles are its files, all of the same version. In even versions the last one
// is missing.
var mapFiles = []string{"left4dead2/maps/m0.bsp", "left4dead2/maps/m1.bsp", "left4dead2/m2", "left4dead2/maps/m3.bsp"}

func mapsOf(v int) []string { return mapFiles[:len(mapFiles)-(v+1)%2] }

func makeMaps(dir string, v int) error {
	for _, name := range mapsOf(v) {
		if err := put(filepath.Join(dir, name), content(name, v)); err != nil {
			return err
		}
	}
	return nil
}

// checkMaps reports which version of the layer shows in dir, whole.
func (w *worker) checkMaps(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, mapFiles[0]))
	if err != nil {
		return err
	}
	v := version(mapFiles[0], data)
	for _, name := range mapsOf(v) {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || version(name, data) != v {
			return fmt.Errorf("%s is not at version %d: %w", filepath.Join(dir, name), v, err)
		}
	}
	for _, name := range mapFiles[len(mapsOf(v)):] {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("version %d of the layer has %s: %w", v, name, err)
		}
	}
	w.say("found", "layer/"+string(maps), v)
	return nil
}

// updateLayer is what l4d2ctl layer update does.
func (w *worker) updateLayer() error {
	v := w.next
	w.next++
	from := filepath.Join(os.TempDir(), "maps")
	if err := errors.Join(os.RemoveAll(from), makeMaps(from, v)); err != nil {
		return err
	}
	src, err := layer.OpenSource(from)
	if err != nil {
		return err
	}
	defer src.Close()
	w.at("layer")
	w.say("begin", "layer/"+string(maps), v)
	c := &layer.Catalog{Layout: w.layout, Owner: activation.Owner{UID: uid, GID: gid}, Store: w.store}
	if err := c.Put(context.Background(), maps, src, layer.Root, true, func(layer.Plan) error { return nil }); err != nil {
		return err
	}
	w.say("synced", "layer/"+string(maps), v)
	return nil
}
