package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settings are what a test wants of Valve's servers:
//
//	BUILD=1             the present build
//	ANONYMOUS=windows   anonymous users get the Windows version only, or what
//	                    was made of it
//	PAUSE=5ms           after each chunk that is downloaded
//	CHUNK=65536         bytes
//	LOGIN_FAILS=REASON  the next login fails
//	UPDATE_FAILS=TEXT   the next update fails, half-way, with that line; "die"
//	                    is a crash, "hang" for ever
//	SAME_FILES=yes      files are downloaded again though they are the same
//
// What "the next" says holds once: it is taken out of the file.
type settings struct {
	dir    string
	values map[string]string
}

func readSettings(dir string) (settings, error) {
	s := settings{dir, map[string]string{"BUILD": "1", "CHUNK": "65536"}}
	data, err := os.ReadFile(filepath.Join(dir, "settings"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		s.values[key] = value
	}
	return s, err
}

// take returns a value and takes it out of the file.
func (s settings) take(key string) string {
	value, found := s.values[key]
	if !found {
		return ""
	}
	delete(s.values, key)
	var b strings.Builder
	for k, v := range s.values {
		fmt.Fprintf(&b, "%s=%s\n", k, v)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "settings"), []byte(b.String()), 0o644); err != nil {
		fmt.Println(err)
	}
	return value
}

func (s settings) content() string { return filepath.Join(s.dir, "content") }

func (s settings) chunk() int64 {
	n, err := strconv.ParseInt(s.values["CHUNK"], 10, 64)
	if err != nil || n < 1 {
		return 65536
	}
	return n
}

func (s settings) pause() {
	d, err := time.ParseDuration(s.values["PAUSE"])
	if err == nil {
		time.Sleep(d)
	}
}
