// Package dotenv asks a second reader, godotenv, what an environment file says
// before l4d2ctl writes it. It is apart from package envfile because whoever
// imports godotenv compiles its regular expressions at each start of the
// program: a tenth of a millisecond, which the privileged helper does not have.
package dotenv

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
	if err := compare(ours, theirs); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func compare(ours, theirs map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		if value, found := theirs[name]; !found || value != ours[name] {
			return fmt.Errorf("%s has a value that systemd and godotenv read differently", name)
		}
	}
	if len(theirs) > len(ours) {
		return errors.New("godotenv reads variables that systemd does not")
	}
	return nil
}
