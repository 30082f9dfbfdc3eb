package store

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	s := newStore(t)
	if _, err := s.Init("a", "f", []byte("port: 1\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Init("b", "f", []byte("port: 2\n")); err != nil {
		t.Fatal(err)
	}
	want := func(files string, texts ...string) {
		t.Helper()
		different, err := s.Check("a")
		var names []string
		for _, path := range different {
			names = append(names, filepath.Base(path))
		}
		if got := strings.Join(names, " "); got != files {
			t.Errorf("different: %q, want %q", got, files)
		}
		if (err != nil) != (len(texts) > 0) {
			t.Errorf("error %v, want %q", err, texts)
		}
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("error %v lacks %q", err, text)
			}
		}
	}
	want("")
	put := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	put(s.Layout.ServerConfig("a"), "hostname changed\n")
	want("server.cfg")
	put(s.Layout.Spec("a"), "port: 2\noverlays: [none]\n")
	want("instance.env server.cfg", "port: 2 is taken by instance b", `layer "none"`)
	put(s.Layout.Spec("a"), "port: nought\n")
	want("", "instance.yaml:1: port")
	put(s.Layout.Spec("a"), "port: 1\n")
	if err := os.Chmod(s.Layout.Instance("a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.Layout.Env("a")); err != nil {
		t.Fatal(err)
	}
	want("instance.env server.cfg a")
}

func TestLeftOvers(t *testing.T) {
	s := newStore(t)
	if _, err := s.Init("a", "f", []byte("port: 1\n")); err != nil {
		t.Fatal(err)
	}
	if found, err := s.LeftOvers(); err != nil || len(found) > 0 {
		t.Errorf("found %v, %v", found, err)
	}
	for _, dir := range []string{s.Layout.Runtime("gone"), s.Layout.Runtime("a"), s.Layout.RuntimeDir() + "/Odd",
		s.Layout.Instances() + "/.b.new", s.Layout.Instances() + "/.c.deleted", s.Layout.Instances() + "/NO"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	found, err := s.LeftOvers()
	if err != nil || len(found) != 5 {
		t.Fatalf("found %v, %v", found, err)
	}
	text := ""
	for _, err := range found {
		text += err.Error() + "\n"
	}
	for _, want := range []string{"no instance gone", "Odd", "interrupted init of b", "removal of c", "NO"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}
