// Package dotenv asks a second reader, godotenv, what an environment file says
// before l4d2ctl writes it. It is apart from package envfile because whoever
// imports godotenv compiles its regular expressions at each start of the
// program: a tenth of a millisecond, which the privileged helper does not have.
package dotenv

import (
	"fmt"
	"maps"

	"github.com/joho/godotenv"

	"l4d2-host/internal/envfile"
)

// Check returns an error unless godotenv reads data, the contents of the file
// called file, as package envfile does.
func Check(file string, data []byte) error {
	ours, err := envfile.Parse(file, data)
	if err != nil {
		return err
	}
	theirs, err := godotenv.UnmarshalBytes(data)
	if err != nil {
		return fmt.Errorf("%s: godotenv: %w", file, err)
	}
	for name, value := range ours {
		if theirs[name] != value {
			return fmt.Errorf("%s: %s has a value that systemd and godotenv read differently", file, name)
		}
	}
	if !maps.Equal(ours, theirs) {
		return fmt.Errorf("%s: godotenv reads variables that systemd does not", file)
	}
	return nil
}
