// Command srcds_linux is a stand-in for the Left 4 Dead 2 dedicated server,
// for tests and the demonstration; it is never packaged. It takes the game's
// command line, reads its server.cfg, answers A2S and RCON, writes the files
// that the game writes, and ends in all the ways that the game ends.
//
// It is built like the original for i386. Its working directory is the game's
// root. Besides the game's own words it knows some that begin with standin_:
//
//	+standin_dump FILE   write a standin.Dump to FILE
//	+standin_exit N      exit at once with status N
//	+standin_slow N      wait N seconds before listening
//	+standin_grind N     compute for N seconds before listening
//
// and the variables and commands in console.go.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args))
}

// run returns the exit status of a server that could not start; a started one
// ends by Server.shutdown or by a signal.
func run(args []string) int {
	line := parseCommandLine(args[1:])
	if n, ok := line.command("standin_exit"); ok {
		status, err := strconv.Atoi(n)
		if err != nil {
			status = 2
		}
		return status
	}
	s := newServer(line)
	if os.Geteuid() == 0 {
		// srcds_run waits here for 10 seconds; tests have no time for it.
		s.print("WARNING: running the server as root is a security risk")
	}
	if file, ok := line.command("standin_dump"); ok {
		if err := writeDump(file); err != nil {
			s.print("standin_dump: %v", err)
			return 1
		}
	}
	if n, ok := line.command("standin_slow"); ok {
		seconds, _ := strconv.Atoi(n)
		time.Sleep(time.Duration(seconds) * time.Second)
	}
	if n, ok := line.command("standin_grind"); ok {
		load(n, compute)
	}
	// As the game: Go's own handler would print the stacks of all goroutines.
	resetSignal(syscall.SIGABRT)
	// Before the port is told to anyone: whoever knows it may send a signal.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)

	sockets, err := listen(line)
	if err != nil {
		s.print("Couldn't allocate dedicated server IP port: %v", err)
		return 1
	}
	s.boot(sockets)
	go s.serveQueries(sockets.udp)
	go s.serveRCON(sockets.tcp)
	go s.serveStdin(os.Stdin)

	sig := <-signals
	// A hung game does not look at its signals either: shutdown then waits for
	// ever, and only SIGKILL ends it.
	s.mu.Lock()
	s.shutdown(fmt.Sprintf("received %s", sig))
	return 0
}
