package roll

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"l4d2-host/internal/a2s"
)

// occupancy is whether somebody plays on a server, as far as can be told.
type occupancy struct {
	empty  bool
	humans *int   // nil: not known
	kind   string // played, silent, unclear: what does not change with each player
	why    string // in words; empty for an empty one
}

// The kinds of a server that is not known to be empty.
const (
	played  = "played"  // somebody is there
	silent  = "silent"  // it does not answer
	unclear = "unclear" // its answers do not make sense, or contradict each other
)

func playedBy(n int) occupancy {
	return occupancy{humans: &n, kind: played, why: fmt.Sprintf("players: %d", n)}
}

// byQuery judges an answer to A2S_INFO, whose players include the bots.
func byQuery(info a2s.Info, err error) occupancy {
	switch {
	case err != nil:
		return occupancy{kind: silent, why: "it does not answer"}
	case info.Players == 0, info.Players == info.Bots:
		return occupancy{empty: true}
	case info.Players < info.Bots:
		// Plug-ins that hide bots from the one number and not from the other.
		return occupancy{kind: unclear, why: fmt.Sprintf("it claims %d players, %d of them bots", info.Players, info.Bots)}
	}
	return playedBy(info.Players - info.Bots)
}

// byConsole judges the answer to the console command status, of a server that
// is empty by its answer to A2S_INFO.
func byConsole(status string, err error) occupancy {
	if err != nil {
		return occupancy{kind: silent, why: "nobody plays by its answer to a query, but its console cannot be asked: " + err.Error()}
	}
	n, err := humansIn(status)
	if err != nil {
		return occupancy{kind: unclear, why: "nobody plays by its answer to a query, but " + err.Error()}
	}
	if n > 0 {
		return occupancy{humans: &n, kind: unclear, why: fmt.Sprintf("nobody plays by its answer to a query, but %d by its console", n)}
	}
	return occupancy{empty: true}
}

// What the game prints on status, read in what operators have published of
// Left 4 Dead 2 2.2.2 to 2.2.4:
//
//	players : 2 humans, 1 bots (8 max) (not hibernating) (unreserved)
//	# userid name uniqueid connected ping loss state rate adr
//	# 26 1 "Zoey" STEAM_1:0:12345678 05:40 99 0 active 30000 192.0.2.4:44563
//	#27 "Coach" BOT active
//	#end
var (
	countLine = regexp.MustCompile(`^players\s*:\s*(\d+) humans?, (\d+) bots? \(`)
	headLine  = regexp.MustCompile(`^#\s*userid\s+name\s`)
	botLine   = regexp.MustCompile(`"\s+BOT\s+\S+\s*$`)
)

// humansIn returns how many humans the answer to status tells of: by its count,
// or by its list if that has more.
func humansIn(status string) (int, error) {
	counted, listed, counts := 0, 0, 0
	for line := range strings.Lines(status) {
		line = strings.TrimRight(line, "\r\n")
		if m := countLine.FindStringSubmatch(line); m != nil {
			n, err := strconv.Atoi(m[1])
			if err != nil {
				return 0, errors.New("its console counts too many players")
			}
			counted, counts = n, counts+1
			continue
		}
		if strings.HasPrefix(line, "#") && line != "#end" && !headLine.MatchString(line) && !botLine.MatchString(line) {
			listed++
		}
	}
	if counts != 1 {
		return 0, errors.New("its console says nothing about players that can be understood")
	}
	return max(counted, listed), nil
}
