package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// open opens a file of the game for writing, and makes it and its directory
// when missing. The game goes on without a file that it cannot write.
func (s *server) open(path string, flag int) *os.File {
	path = filepath.Join(gameDir, path)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		var f *os.File
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|flag, 0o644); err == nil {
			return f
		}
	}
	s.print("couldn't write: %v", err)
	return nil
}

// openLog starts the first log file of this day that is not there yet.
func (s *server) openLog() {
	for i := range 1000 {
		name := fmt.Sprintf("L%s%03d.log", time.Now().Format("0102"), i)
		if exists(filepath.Join(gameDir, "logs", name)) {
			continue
		}
		s.log = s.open(filepath.Join("logs", name), os.O_EXCL)
		s.logLine("Log file started (file %q) (game %q) (version %q)", name, gameDir, s.version)
		return
	}
}

func (s *server) logLine(format string, args ...any) {
	if s.log != nil {
		stamp := time.Now().Format("L 01/02/2006 - 15:04:05: ")
		s.log.WriteString(stamp + fmt.Sprintf(format, args...) + "\n")
	}
}

// touchSourceMod writes what SourceMod does, if a layer brings it.
func (s *server) touchSourceMod() {
	const dir = "addons/sourcemod"
	if !exists(filepath.Join(gameDir, dir)) {
		return
	}
	text := fmt.Sprintf("SourceMod log file session started on port %d\n", s.sockets.port)
	for _, path := range []string{
		"logs/L" + time.Now().Format("20060102") + ".log",
		"data/sqlite/sourcemod-local.sq3",
	} {
		if f := s.open(filepath.Join(dir, path), os.O_APPEND); f != nil {
			f.WriteString(text)
			f.Close()
		}
	}
}

// bans is who may not play, and who may not ask.
type bans struct {
	addresses map[string]bool
	players   map[string]bool // by Steam id
	failures  map[string]int  // wrong RCON passwords, by address
}

func newBans() bans {
	return bans{addresses: map[string]bool{}, players: map[string]bool{}, failures: map[string]int{}}
}

// addIP takes "MINUTES ADDRESS"; here a ban never ends.
func (s *server) addIP(args string) {
	if words := strings.Fields(args); len(words) == 2 {
		s.bans.addresses[words[1]] = true
	}
}

// banID takes "MINUTES ID".
func (s *server) banID(args string) {
	if words := strings.Fields(args); len(words) >= 2 {
		s.bans.players[words[1]] = true
	}
}

// loadBans takes up what the server has written before.
func (s *server) loadBans() {
	for _, file := range []string{"banned_user.cfg", "banned_ip.cfg"} {
		if exists(filepath.Join(gameDir, "cfg", file)) {
			s.exec(file)
		}
	}
}

func (s *server) writeBans() {
	for file, entries := range map[string]struct {
		command string
		who     map[string]bool
	}{
		"cfg/banned_user.cfg": {"banid", s.bans.players},
		"cfg/banned_ip.cfg":   {"addip", s.bans.addresses},
	} {
		f := s.open(file, os.O_TRUNC)
		if f == nil {
			continue
		}
		for _, who := range slices.Sorted(maps.Keys(entries.who)) {
			fmt.Fprintf(f, "%s 0 %s\r\n", entries.command, who)
		}
		f.Close()
	}
}
