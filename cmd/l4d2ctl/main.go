// Command l4d2ctl is the operator's tool for the Left 4 Dead 2 servers of a
// machine; package cli has all of it.
package main

import (
	"os"

	"l4d2-host/internal/cli"
)

// version is set by the build: -ldflags "-X main.version=1.2.3".
var version = "unreleased"

func main() { os.Exit(cli.New(version).Main(os.Args[1:])) }
