package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaultCvars are the variables that matter here. The standin_ ones steer the
// stand-in itself:
//
//	standin_mute        milliseconds without A2S answers after a map change
//	standin_challenges  how often to challenge before an A2S answer, at least once
//	standin_split       bytes in each part of a split A2S answer, 0 for never
//	standin_deaf        1: leave all packets unread, as if only RCON worked
//	standin_a2s         humans that A2S_INFO claims, -1 for those that are there
//	standin_status      humans that the command status claims, -1 as above
func defaultCvars() map[string]string {
	return map[string]string{
		"hostname":            "Left 4 Dead 2",
		"mp_gamemode":         "coop",
		"rcon_password":       "",
		"sv_maxplayers":       "-1",
		"sv_password":         "",
		"sv_rcon_maxfailures": "10",
		"sv_tags":             "",
		"tv_enable":           "0",
		"tv_name":             "SourceTV",
		"tv_port":             "27020",

		"standin_mute":       "2000",
		"standin_challenges": "1",
		"standin_split":      "1248",
		"standin_deaf":       "0",
		"standin_a2s":        "-1",
		"standin_status":     "-1",
	}
}

// number is a variable's value; what is no number counts as 0.
func (s *server) number(name string) int {
	n, _ := strconv.Atoi(s.cvars[name])
	return n
}

// commands are the console commands; anything else is a variable.
var commands map[string]func(s *server, args string)

func init() { // not in the declaration: exec would refer to itself
	commands = map[string]func(s *server, args string){
		"echo":    func(s *server, args string) { s.print("%s", args) },
		"exec":    func(s *server, args string) { s.exec(args) },
		"quit":    func(s *server, _ string) { s.shutdown("quit") },
		"exit":    func(s *server, _ string) { s.shutdown("exit") },
		"status":  (*server).status,
		"players": (*server).setPlayers,
		"bots":    (*server).setBots,
		"say":     func(s *server, args string) { s.print("Console: %s", args) },

		"map":         (*server).changeMap,
		"changelevel": (*server).changeMap,
		"cvarlist":    (*server).cvarList,

		"addip":    (*server).addIP,
		"removeip": func(s *server, args string) { delete(s.bans.addresses, args) },
		"writeip":  func(s *server, _ string) { s.writeBans() },
		"banid":    (*server).banID,
		"writeid":  func(s *server, _ string) { s.writeBans() },

		// The ways to go wrong.
		"crash": func(*server, string) { crash() },
		"hang":  func(*server, string) { select {} },
		"spin": func(*server, string) {
			for i := 0; ; i++ { // and not an empty loop, which linters take for a mistake
			}
		},
		// Long loads of a map, in which nothing is answered.
		"load":  func(_ *server, args string) { load(args, readGame) },
		"grind": func(_ *server, args string) { load(args, compute) },

		// What limits of resources are for.
		"burn": func(*server, string) {
			go func() {
				for i := 0; ; i++ {
				}
			}()
		},
		"eat": func(_ *server, args string) { go eat(args) },
		"write": func(s *server, _ string) {
			if f := s.open("write.dat", os.O_TRUNC); f != nil {
				go keepWriting(f)
			}
		},

		// What the sandbox lets this process see and do.
		"look":   func(s *server, args string) { s.print("%s", look(args)) },
		"poke":   func(s *server, args string) { s.print("%s", poke(args)) },
		"mounts": func(s *server, _ string) { s.print("%s", mounts()) },
	}
}

func (s *server) run(c command) {
	name := strings.ToLower(c.name)
	if f, ok := commands[name]; ok {
		f(s, c.args)
		return
	}
	value, known := s.cvars[name]
	switch {
	case c.args != "":
		// Also an unknown one: a plug-in may bring it.
		s.cvars[name] = c.args
	case known:
		s.print("%q = %q", name, value)
	default:
		s.print("Unknown command %q", name)
	}
}

func (s *server) changeMap(name string) {
	name, _, _ = strings.Cut(name, " ") // a game mode may follow
	if !s.loadMap(name) {
		s.print("changelevel failed: %s not found", name)
	}
}

func (s *server) status(string) {
	s.print("hostname: %s", s.cvars["hostname"])
	s.print("version : %s secure", s.version)
	s.print("udp/ip  : %s:%d", s.sockets.ip, s.sockets.port)
	s.print("os      : Linux Dedicated")
	s.print("map     : %s", s.mapName)
	hibernating := "hibernating"
	if len(s.players) > 0 {
		hibernating = "not hibernating"
	}
	s.print("players : %d humans, %d bots (%d max) (%s) (unreserved)", s.claimed("standin_status"), s.bots, s.maxPlayers(), hibernating)
	s.print("# userid name uniqueid connected ping loss state rate adr")
	for i, p := range s.players {
		connected := time.Since(p.since).Round(time.Second)
		s.print("# %d %d %q STEAM_1:0:%d %s 50 0 active 30000 192.0.2.%d:27005", i+2, i+1, p.name, i+1, connected, i+1)
	}
	for i := range s.bots {
		s.print("#%d %q BOT active", len(s.players)+i+2, botName(i))
	}
	s.print("#end")
}

// claimed is how many humans are there, unless the variable says otherwise.
func (s *server) claimed(variable string) int {
	if n := s.number(variable); n >= 0 {
		return n
	}
	return len(s.players)
}

// botName is that of a survivor whom nobody plays, and of more of them than
// there are survivors.
func botName(i int) string {
	names := []string{"Coach", "Ellis", "Nick", "Rochelle"}
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("Bot %d", i+1)
}

func (s *server) maxPlayers() int {
	if n := s.number("sv_maxplayers"); n > 0 {
		return n
	}
	if n, err := strconv.Atoi(s.line.switches["maxplayers"]); err == nil && n > 0 {
		return n
	}
	return 8
}

// setPlayers lets "players N NAME…" pretend that N players are there, the
// first ones with these names.
func (s *server) setPlayers(args string) {
	words := strings.Fields(args)
	if len(words) == 0 {
		s.print("usage: players N [NAME…]")
		return
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 0 || n > 255 {
		s.print("players: %s: not 0 to 255", words[0])
		return
	}
	s.players = nil
	for i := range n {
		p := player{name: fmt.Sprintf("Player %d", i+1), score: 10 * i, since: time.Now()}
		if i+1 < len(words) {
			p.name = words[i+1]
		}
		s.players = append(s.players, p)
	}
}

// setBots lets "bots N" pretend that N bots play.
func (s *server) setBots(args string) {
	n, err := strconv.Atoi(args)
	if err != nil || n < 0 || n > 100 {
		s.print("usage: bots N, 0 to 100")
		return
	}
	s.bots = n
}

// cvarList is an answer that needs many packets.
func (s *server) cvarList(string) {
	var lines []string
	for name, value := range s.cvars {
		if name != "rcon_password" {
			lines = append(lines, fmt.Sprintf("%-40s : %-8s : : ", name, value))
		}
	}
	for i := range 3000 {
		lines = append(lines, fmt.Sprintf("z_standin_%04d%26s : %-8d : , \"sv\", \"cheat\" : One of many variables", i, "", i))
	}
	slices.Sort(lines)
	s.print("cvar list\n--------------\n%s\n--------------\n%5d total convars/concommands", strings.Join(lines, "\n"), len(lines))
}

// eat lets "eat N" take N MiB of memory for good, some seconds later, when the
// server has been taken for started.
func eat(args string) {
	n, _ := strconv.Atoi(args)
	time.Sleep(3 * time.Second)
	for range n {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1
		}
		eaten = append(eaten, block)
	}
}

// keepWriting lets "write" write to the disk without an end, in a file that
// stays small.
func keepWriting(f *os.File) {
	block := make([]byte, 64<<10)
	for i := int64(0); ; i++ {
		if _, err := f.WriteAt(block, i%64*int64(len(block))); err != nil || f.Sync() != nil {
			return
		}
	}
}

var eaten [][]byte
