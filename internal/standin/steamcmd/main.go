// steamcmd is a stand-in for Valve's program of that name, which no test may
// download. It behaves as public documents and reports say of the real one, for
// the one app: it takes its commands in the order given, keeps itself in its
// HOME, downloads beside the files and then puts them into place, deletes what a
// build no longer has, resumes what was interrupted, and fails in the same
// words.
//
// What Valve's servers would give is in $HOME/valve: content/ the files of the
// present build, and settings, lines of KEY=value (type settings). Nothing of
// this is packaged.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const app = "222860"

func main() {
	c := &console{vars: map[string]string{}, platform: "linux"}
	os.Exit(c.run(os.Args[1:]))
}

// The exit codes that users report of the real one.
const (
	exitDone        = 0
	exitLogin       = 5
	exitInstall     = 8
	exitNoDirectory = 254
)

// console is the program's state between its commands.
type console struct {
	home     string
	valve    settings
	vars     map[string]string
	platform string
	dir      string
	user     string // "" before the login
}

func (c *console) run(args []string) int {
	if err := c.begin(); err != nil {
		fmt.Println(err)
		return exitNoDirectory
	}
	for _, command := range split(args) {
		code := c.do(command)
		if code < 0 {
			break
		}
		if code != exitDone {
			fmt.Println("Unloading Steam API...OK")
			return code
		}
	}
	fmt.Println("Unloading Steam API...OK")
	return exitDone
}

// begin prints what comes before the first command, and updates the program's
// own directory, which it must be able to write to.
func (c *console) begin() error {
	c.home = os.Getenv("HOME")
	if c.home == "" {
		return errors.New("fatal error: no HOME")
	}
	logs := filepath.Join(c.home, "Steam", "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return fmt.Errorf("fatal error: %w", err)
	}
	if err := os.WriteFile(filepath.Join(logs, "stderr.txt"), nil, 0o644); err != nil {
		return fmt.Errorf("fatal error: %w", err)
	}
	fmt.Printf("Redirecting stderr to '%s/stderr.txt'\n", logs)
	fmt.Println("[  0%] Checking for available updates...")
	if err := c.updateSelf(); err != nil {
		return fmt.Errorf("fatal error: %w", err)
	}
	fmt.Println("[----] Verifying installation...")
	fmt.Println("\x1b[0mSteam Console Client (c) Valve Corporation - version 1731433425")
	fmt.Println("-- type 'quit' to exit --")
	fmt.Println("Loading Steam API...OK")
	var err error
	c.valve, err = readSettings(filepath.Join(c.home, "valve"))
	return err
}

func (c *console) updateSelf() error {
	dir := filepath.Join(c.home, "Steam", "package")
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	fmt.Println("[  0%] Downloading update (0 of 50,772 KB)...")
	fmt.Println("[ 97%] Downloading update (50,497 of 50,772 KB)...")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Println("[----] Extracting package...")
	return os.WriteFile(filepath.Join(dir, "steam_cmd_linux.installed"), []byte("1\n"), 0o644)
}

// split makes commands of a command line: each begins with a +.
func split(args []string) [][]string {
	var commands [][]string
	for _, arg := range args {
		if name, starts := strings.CutPrefix(arg, "+"); starts {
			commands = append(commands, []string{name})
		} else if n := len(commands); n > 0 {
			commands[n-1] = append(commands[n-1], arg)
		}
	}
	return commands
}

// do runs one command; -1 is quit.
func (c *console) do(words []string) int {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch words[0] {
	case "quit":
		return -1
	case "force_install_dir":
		if c.user != "" {
			fmt.Println("Please use force_install_dir before logon!")
		}
		c.dir = arg(1)
	case "login":
		return c.login(arg(1))
	case "app_update":
		return c.update(words[1:])
	default:
		if !strings.HasPrefix(words[0], "@") {
			fmt.Printf("Command not found: %s\n", words[0])
			return exitDone
		}
		c.vars[words[0]] = arg(1)
		if words[0] == "@sSteamCmdForcePlatformType" {
			c.platform = arg(1)
		}
		fmt.Printf("%q = %q\n", words[0], arg(1))
	}
	return exitDone
}

func (c *console) login(user string) int {
	if user == "anonymous" {
		fmt.Print("\nConnecting anonymously to Steam Public...")
	} else {
		fmt.Printf("Logging in user '%s' to Steam Public...", user)
		if _, err := os.Stat(filepath.Join(c.home, "Steam", "token-"+user)); err != nil {
			fmt.Println("\nCached credentials not found.")
			if c.vars["@NoPromptForPassword"] != "1" {
				fmt.Print("password: ")
			}
			fmt.Println("FAILED (Invalid Password)")
			return exitLogin
		}
	}
	if reason := c.valve.take("LOGIN_FAILS"); reason != "" {
		fmt.Printf("FAILED (%s)\n", reason)
		return exitLogin
	}
	fmt.Println("OK")
	fmt.Println("Waiting for client config...OK")
	fmt.Println("Waiting for user info...OK")
	c.user = user
	return exitDone
}
