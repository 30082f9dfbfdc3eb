package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// gameDir is what -game names; this stand-in knows no other game.
const gameDir = "left4dead2"

// server is the game. Like the original it does one thing at a time: whoever
// answers, executes or prints holds mu, and a hanging command holds it for
// good.
type server struct {
	mu   sync.Mutex
	line commandLine

	sockets    sockets
	cvars      map[string]string
	version    string
	mapName    string
	mutedUntil time.Time // no answer to A2S before
	players    []player  // humans
	bots       int
	bans       bans
	challenges map[string]*challengeState

	console *os.File         // console.log with -condebug, or nil
	log     *os.File         // logs/L*.log, or nil
	capture *strings.Builder // what a command prints, for RCON; or nil
	depth   int              // of exec within exec
}

type player struct {
	name  string
	score int
	since time.Time
}

func newServer(line commandLine) *server {
	s := &server{
		line:       line,
		cvars:      defaultCvars(),
		version:    "0.0.0.0",
		bans:       newBans(),
		challenges: map[string]*challengeState{},
	}
	if inf, err := os.ReadFile(filepath.Join(gameDir, "steam.inf")); err == nil {
		for _, l := range strings.Split(string(inf), "\n") {
			if v, ok := strings.CutPrefix(strings.TrimSpace(l), "PatchVersion="); ok {
				s.version = v
			}
		}
	}
	if line.has("condebug") {
		s.console = s.open("console.log", os.O_APPEND)
	}
	return s
}

// boot does what happens between binding the port and answering on it.
func (s *server) boot(sockets sockets) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sockets = sockets
	s.openLog()
	s.loadBans()
	s.touchSourceMod()
	start := "c5m1_waterfront" // which map the real one starts with is not known
	for _, c := range s.line.commands {
		switch {
		case c.name == "map":
			start = c.args
		case c.name == "standin_dump", c.name == "standin_slow", c.name == "standin_grind":
		default:
			s.run(c)
		}
	}
	s.loadMap(start)
	s.mutedUntil = time.Time{} // a test that wants to wait says +standin_slow
	s.print("Network: IP %s, mode MP, dedicated Yes, ports %d SV / 27005 CL", sockets.ip, sockets.port)
}

// loadMap changes the map, if there is one of that name, and executes
// server.cfg, as the game does with each map.
func (s *server) loadMap(name string) bool {
	if name == "" || strings.Contains(name, "/") || !exists(filepath.Join(gameDir, "maps", name+".bsp")) {
		s.print("CModelLoader::Map_IsValid:  No such map 'maps/%s.bsp'", name)
		s.exec("server.cfg")
		return false
	}
	s.mapName = name
	s.print("Loading map %q", name)
	s.exec("server.cfg")
	s.mutedUntil = time.Now().Add(time.Duration(s.number("standin_mute")) * time.Millisecond)
	return true
}

// exec executes a file below cfg/. Like the game it goes on without it.
func (s *server) exec(file string) {
	const maxDepth = 16
	if filepath.Ext(file) == "" {
		file += ".cfg"
	}
	text, err := os.ReadFile(filepath.Join(gameDir, "cfg", file))
	if err != nil || s.depth >= maxDepth {
		s.print("exec: couldn't exec %s", file)
		return
	}
	s.depth++
	defer func() { s.depth-- }()
	for _, c := range splitCommands(string(text)) {
		s.run(parseCommand(c))
	}
}

// execute runs a line from outside and returns what it prints. The caller
// holds mu.
func (s *server) execute(text string) string {
	s.capture = &strings.Builder{}
	defer func() { s.capture = nil }()
	for _, c := range splitCommands(text) {
		s.run(parseCommand(c))
	}
	return s.capture.String()
}

// serveStdin is the server's console.
func (s *server) serveStdin(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		s.mu.Lock()
		s.execute(lines.Text())
		s.mu.Unlock()
	}
}

// print prints one line to the console and to whoever asked.
func (s *server) print(format string, args ...any) {
	line := fmt.Sprintf(format, args...) + "\n"
	os.Stdout.WriteString(line)
	if s.console != nil {
		s.console.WriteString(line)
	}
	if s.capture != nil {
		s.capture.WriteString(line)
	}
}

// shutdown ends the process as the game ends on quit and on SIGTERM. The
// caller holds mu.
func (s *server) shutdown(reason string) {
	s.print("Server is shutting down: %s", reason)
	for _, p := range s.players {
		s.print("Kicked %s: Server is shutting down", p.name)
	}
	s.writeBans()
	s.logLine("Log file closed.")
	os.Exit(0)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
