// Package completions holds what bash, zsh and fish load to complete l4d2ctl's
// command lines; its tests have these shells do it.
package completions

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a directory with l4d2ctl in bin/, two instances, two layers and two
// releases in root/, and files in work/.
type world string

func newWorld(t *testing.T) world {
	t.Helper()
	w := world(t.TempDir())
	for _, dir := range []string{"bin", "root/instances/versus", "root/instances/coop", "root/overlays/maps", "root/overlays/mods", "root/releases/2026-11-24", "root/releases/2026-11-25.2", "root/installation/left4dead2/cfg", "work/elsewhere/instances/other", "work/empty", "home"} {
		w.must(t, os.MkdirAll(w.path(dir), 0o755))
	}
	for _, file := range []string{"work/versus.yaml", "work/notes.txt", "root/instances/.lock"} {
		w.must(t, os.WriteFile(w.path(file), nil, 0o644))
	}
	for file, text := range map[string]string{
		"instances/versus/instance.env":             "L4D2_PORT=27015\nL4D2_ARGS=\nL4D2_LOWERDIRS=overlays/mods:installation\n",
		"installation/left4dead2/cfg/a.cfg":         "",
		"installation/left4dead2/cfg/$(reboot)":     "",
		"installation/left4dead2/cfg/b c'd;e:f=g\"": "",
		"installation/left4dead2/gameinfo.txt":      "",
		"overlays/mods/left4dead2/cfg/a2.cfg":       "",
	} {
		w.must(t, os.MkdirAll(filepath.Dir(w.path("root/"+file)), 0o755))
		w.must(t, os.WriteFile(w.path("root/"+file), []byte(text), 0o644))
	}
	if out, err := exec.Command("go", "build", "-o", w.path("bin/l4d2ctl"), "../../cmd/l4d2ctl").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return w
}

func (w world) path(name string) string { return filepath.Join(string(w), name) }

func (w world) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// install copies a completion into the home directory.
func (w world) install(t *testing.T, script, as string) {
	t.Helper()
	text, err := os.ReadFile(script)
	w.must(t, err)
	w.must(t, os.WriteFile(w.path("home/"+as), text, 0o644))
}

func (w world) environment() []string {
	return []string{
		"PATH=" + w.path("bin") + ":/usr/bin:/bin", "HOME=" + w.path("home"), "ZDOTDIR=" + w.path("home"),
		"L4D2_ROOT=" + w.path("root"), "TERM=dumb", "LC_ALL=C.UTF-8",
	}
}

// bash and zsh complete only at a terminal. In both, the tab key here inserts
// all that could come, and the function "show" writes down its arguments.
const show = `
show() { printf '%s\n' "$@" >"$HOME/arguments.new"; command mv "$HOME/arguments.new" "$HOME/arguments"; }
PS1= PS2=
`

const bashrc = show + `
bind 'set enable-bracketed-paste off'
bind '"\t": insert-completions'
source "$HOME/l4d2ctl"
complete -F _l4d2ctl show
`

const zshrc = show + `
fpath=("$HOME" $fpath)
autoload -Uz compinit && compinit -u -D
compdef _l4d2ctl show
bindkey '^I' complete-word
zstyle ':completion:*' completer _all_matches _complete
zstyle ':completion:*' insert yes
`

// shells complete lines, without the program, in the directory work/: each
// returns for each line the words that the last one could be.
var shells = map[string]func(t *testing.T, w world, lines []string) [][]string{
	"bash": func(t *testing.T, w world, lines []string) [][]string {
		w.install(t, "l4d2ctl.bash", "l4d2ctl")
		w.must(t, os.WriteFile(w.path("home/rc"), []byte(bashrc), 0o644))
		return w.atTerminal(t, lines, "bash", "--noprofile", "--rcfile", w.path("home/rc"), "-i")
	},
	"zsh": func(t *testing.T, w world, lines []string) [][]string {
		w.install(t, "l4d2ctl.zsh", "_l4d2ctl")
		w.must(t, os.WriteFile(w.path("home/.zshrc"), []byte(zshrc), 0o644))
		return w.atTerminal(t, lines, "zsh", "--no-globalrcs", "-i")
	},
	"fish": func(t *testing.T, w world, lines []string) [][]string {
		w.install(t, "l4d2ctl.fish", "l4d2ctl.fish")
		script := "source $HOME/l4d2ctl.fish; for line in $argv; complete --do-complete=\"l4d2ctl $line\"; echo ;end"
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "fish", append([]string{"--no-config", "--command", script}, lines...)...)
		cmd.Dir, cmd.Env = w.path("work"), w.environment()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		answers := [][]string{nil}
		for line := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
			if last := len(answers) - 1; word != "" {
				answers[last] = append(answers[last], word)
			} else {
				answers = append(answers, nil)
			}
		}
		return answers[:len(answers)-1]
	},
}

// limit is for a shell to do all it is asked: far longer than it takes.
const limit = 2 * time.Minute

// atTerminal types each line and the tab key in a shell, and returns the words
// that the shell put in the place of the last one.
func (w world) atTerminal(t *testing.T, lines []string, shell ...string) [][]string {
	t.Helper()
	terminal, name := openTerminal(t)
	defer terminal.Close()
	inside, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	w.must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell[0], shell[1:]...)
	cmd.Dir, cmd.Env = w.path("work"), w.environment()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = inside, inside, inside
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	w.must(t, cmd.Start())
	inside.Close()
	said := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(terminal) // until EIO, when the shell has gone
		said <- string(text)
	}()
	var answers [][]string
	for _, line := range lines {
		_, err := terminal.WriteString("show " + line + "\t\r")
		w.must(t, err)
		arguments, found := w.arguments(ctx)
		if !found {
			break
		}
		// of a finished word the last one is empty
		answers = append(answers, arguments[min(len(strings.Fields(line+"x"))-1, len(arguments)):])
	}
	_, err = terminal.WriteString("exit\r")
	w.must(t, err)
	err = cmd.Wait()
	if text := <-said; err != nil || len(answers) < len(lines) || strings.Contains(text, "error") {
		t.Fatalf("%s: %v, %d of %d lines completed; it said: %q", shell[0], err, len(answers), len(lines), text)
	}
	return answers
}

// arguments waits for those that "show" wrote down.
func (w world) arguments(ctx context.Context) ([]string, bool) {
	file := w.path("home/arguments")
	for ctx.Err() == nil {
		if text, err := os.ReadFile(file); err == nil {
			return strings.Fields(string(text)), os.Remove(file) == nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, false
}

// openTerminal returns a new pseudo-terminal (pts(4)) and the name of its other
// end.
func openTerminal(t *testing.T) (*os.File, string) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(terminal.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 200})
	}
	if err != nil {
		t.Fatal(err)
	}
	return terminal, fmt.Sprintf("/dev/pts/%d", number)
}

func TestShells(t *testing.T) {
	w := newWorld(t)
	cases := []struct {
		line string
		want []string
	}{
		{"st", []string{"start", "status", "stop"}},
		{"resta", []string{"restart"}},
		{"delete --y", []string{"--yes"}},
		{"list --j", []string{"--json"}},
		{"start ", []string{"coop", "versus"}},
		{"start v", []string{"versus"}},
		{"start versus ", []string{"coop"}},
		{"delete -y ", []string{"coop", "versus"}},
		{"--root " + w.path("work/elsewhere") + " start ", []string{"other"}},
		{"--root=" + w.path("work/elsewhere") + " start o", []string{"other"}},
		{"--root=" + w.path("work/empty") + " start ", nil},
		{"init new ", []string{"elsewhere", "empty", "notes.txt", "versus.yaml"}},
		{"init new v", []string{"versus.yaml"}},
		{"--root e", []string{"elsewhere", "empty"}},
		{"--root=el", []string{"--root=elsewhere"}},
		{"nonsense ", nil},
		{"which versus ", []string{"left4dead2"}},
		{"which versus left4dead2/", []string{"left4dead2/cfg", "left4dead2/gameinfo.txt"}},
		{"which versus left4dead2/cfg/", []string{"left4dead2/cfg/a.cfg", "left4dead2/cfg/a2.cfg"}},
		{"layer remove ", []string{"maps", "mods"}},
		{"layer remove ma", []string{"maps"}},
		{"layer add ", nil},
		{"rollback ", []string{"2026-11-24", "2026-11-25.2"}},
		{"rollback 2026-11-25", []string{"2026-11-25.2"}},
		{"diff versus --text left4dead2/g", []string{"left4dead2/gameinfo.txt"}},
		{"diff versus --text=left4dead2/g", []string{"--text=left4dead2/gameinfo.txt"}},
	}
	lines := make([]string, len(cases))
	for i, c := range cases {
		lines[i] = c.line
	}
	for shell, complete := range shells {
		t.Run(shell, func(t *testing.T) {
			answers := complete(t, w, lines)
			if len(answers) != len(lines) {
				t.Fatalf("%d answers for %d lines: %q", len(answers), len(lines), answers)
			}
			for i, got := range answers {
				for j, word := range got {
					got[j] = strings.TrimSuffix(word, "/") // which not all show
				}
				slices.Sort(got)
				if !slices.Equal(got, cases[i].want) {
					t.Errorf("%q is completed to %q, want %q", lines[i], got, cases[i].want)
				}
			}
		})
	}
}
