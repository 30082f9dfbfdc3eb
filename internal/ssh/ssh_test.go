package ssh

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for text, want := range map[string]Host{
		"games":               {"games", ""},
		"root@games.example":  {"root@games.example", ""},
		"root@games:2222":     {"root@games", "2222"},
		"ssh://[2001:db8::1]": {"ssh://[2001:db8::1]", ""},
		"2001:db8::1":         {"2001:db8::1", ""},
		"root@fe80::1%eth0":   {"root@fe80::1%eth0", ""},
		"ssh://root@games:22": {"ssh://root@games:22", ""},
	} {
		if got, err := ParseHost(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-oProxyCommand=reboot", "a b", "a\nb", "a:b:c", "a:b", "games:", "games:0", "games:65536", "root@[::1]:22"} {
		if got, err := ParseHost(text); err == nil {
			t.Errorf("%q: taken for %v", text, got)
		}
	}
}

// What arrives at the other end is word for word what was given.
func TestWordsArrive(t *testing.T) {
	dir := t.TempDir()
	// An ssh that does what sshd does with the command.
	fake := "#!/bin/sh\nfor last; do :; done\nprintf '%s\\n' \"$*\" >" + dir + "/args\nexec sh -c \"$last\"\n"
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	words := []string{"", "a b", "it's", `back\slash`, `'\''`, "$HOME `id` $(id)", "~", "*", "a\nb", "#", "!", "--json", "ä"}
	for _, cmd := range []*exec.Cmd{
		Host{"root@games", "22"}.Command(t.Context(), false, append([]string{"printf", `%s\0`}, words...)...),
		Host{"root@games", "22"}.Channel(t.Context(), append([]string{"printf", `%s\0`}, words...)...),
	} {
		out, err := cmd.Output()
		if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); err != nil || !slices.Equal(got, words) {
			t.Errorf("arrived: %q, %v; want %q", got, err, words)
		}
		args, _ := os.ReadFile(dir + "/args")
		if !strings.HasPrefix(string(args), "-x -T -p 22 -- root@games printf ") {
			t.Errorf("ssh got %q", args)
		}
	}
}
