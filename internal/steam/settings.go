package steam

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"l4d2-host/internal/advice"
	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
)

// SettingsFile is where the administrator says how to update.
const SettingsFile = "/etc/l4d2-host/update.conf"

// Settings are how to update; l4d2-update.conf(5) explains each.
type Settings struct {
	Command    string        // STEAMCMD=: "" looks for it
	Login      string        // LOGIN=
	Beta       string        // BETA=
	Validate   bool          // VALIDATE=
	Attempts   int           // ATTEMPTS=, at least 1
	RetryDelay time.Duration // RETRY_DELAY=, before the second attempt
}

// Defaults are the settings of an empty file.
func Defaults() Settings {
	return Settings{Login: Anonymous, Attempts: 5, RetryDelay: 10 * time.Second}
}

const (
	maxAttempts   = 100
	maxRetryDelay = time.Hour
)

// keys are all that can be set; each puts a value, which is not empty, into s, or
// says what it should have been.
var keys = map[string]func(s *Settings, value string) error{
	"STEAMCMD": func(s *Settings, value string) error {
		if !filepath.IsAbs(value) {
			return errors.New("not an absolute path")
		}
		s.Command = value
		return nil
	},
	"LOGIN": func(s *Settings, value string) error {
		s.Login = value
		return plainWord(value)
	},
	"BETA": func(s *Settings, value string) error {
		s.Beta = value
		return plainWord(value)
	},
	"VALIDATE": func(s *Settings, value string) (err error) {
		switch value {
		case "yes":
			s.Validate = true
		case "no":
			s.Validate = false
		default:
			return errors.New("use yes or no")
		}
		return nil
	},
	"ATTEMPTS": func(s *Settings, value string) (err error) {
		s.Attempts, err = number(value, 1, maxAttempts)
		return err
	},
	"RETRY_DELAY": func(s *Settings, value string) error {
		seconds, err := number(value, 0, int(maxRetryDelay/time.Second))
		s.RetryDelay = time.Duration(seconds) * time.Second
		return err
	},
}

// Keys returns the names of all settings, sorted.
func Keys() []string { return slices.Sorted(maps.Keys(keys)) }

// plainWord makes sure that steamcmd takes value for one argument: it splits
// its command line at blanks again, and takes a + for the next command.
func plainWord(value string) error {
	for i, r := range value {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
		case i > 0 && strings.ContainsRune("-.@", r):
		default:
			return errors.New("use letters, digits and _, and besides -, . and @ behind the first character")
		}
	}
	return nil
}

func number(value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("use a number from %d to %d", least, most)
	}
	return n, nil
}

// maxSettings bounds the file, in bytes.
const maxSettings = 64 << 10

// ReadSettings reads the file at path; without one, the defaults apply.
func ReadSettings(path string) (Settings, error) {
	data, err := instance.ReadFile(path, maxSettings)
	if errors.Is(err, fs.ErrNotExist) {
		return Defaults(), nil
	}
	if err != nil {
		return Settings{}, err
	}
	return ParseSettings(path, data)
}

// ParseSettings reads data, the contents of the file called path.
func ParseSettings(path string, data []byte) (Settings, error) {
	const help = "see l4d2-update.conf(5)"
	s := Defaults()
	vars, err := envfile.Parse(path, data)
	if err != nil {
		return Settings{}, advice.With(err, help)
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		set, known := keys[name]
		if !known {
			return Settings{}, advice.With(fmt.Errorf("%s: there is no setting %s, but: %s", path, name, strings.Join(Keys(), ", ")), help)
		}
		if vars[name] == "" {
			continue // the default
		}
		if err := set(&s, vars[name]); err != nil {
			// Not the value, which somebody may have put a password into.
			return Settings{}, advice.With(fmt.Errorf("%s: %s: %w", path, name, err), help)
		}
	}
	return s, nil
}
