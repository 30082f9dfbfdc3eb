// Command mkinstall lays down a fake game installation with the stand-in
// server in it: go run ./internal/standin/mkinstall DIR. It is for the
// demonstration and for tests that are shell scripts.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"l4d2-host/internal/standin"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: mkinstall DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "mkinstall:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	tmp, err := os.MkdirTemp("", "mkinstall-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "srcds_linux")
	if err := standin.Build(context.Background(), binary); err != nil {
		return err
	}
	return standin.Install(dir, binary)
}
