package instance

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"l4d2-host/internal/envfile"
)

// The variables of instance.env.
const (
	PortVariable   = "L4D2_PORT"
	ArgsVariable   = "L4D2_ARGS"
	LowersVariable = "L4D2_LOWERDIRS"
)

// Variables are all that instance.env must have, and the only ones with L4D2_
// in front that it may have.
var Variables = []string{PortVariable, ArgsVariable, LowersVariable}

// MaxLayers is the greatest number of layers, the installation included: the
// kernel's limit (OVL_MAX_STACK).
const MaxLayers = 500

// Env is what an instance's instance.env says.
type Env struct {
	// Port is the game's UDP and TCP port; never 0.
	Port uint16
	// Args is the command line as systemd splits it (envfile.JoinWords).
	Args string
	// Lowers are the layers, topmost first, as paths below the root:
	// "overlays/NAME", and as the last "installation" or, for an instance that
	// is pinned to a release, "releases/NAME". Package chain says what directories
	// the last one stands for.
	Lowers []string
}

// Release returns the release that the instance is pinned to, or "".
func (e Env) Release() Name {
	if len(e.Lowers) == 0 {
		return ""
	}
	name, pinned := strings.CutPrefix(e.Lowers[len(e.Lowers)-1], ReleasesDir+"/")
	if !pinned {
		return ""
	}
	return Name(name)
}

// Format returns the file that ParseEnv reads as e, or an error that names the
// variable.
func (e Env) Format() ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	return envfile.Format([]envfile.Var{
		{Name: PortVariable, Value: strconv.Itoa(int(e.Port))},
		{Name: ArgsVariable, Value: e.Args},
		{Name: LowersVariable, Value: strings.Join(e.Lowers, ":")},
	})
}

// ParseEnv reads data, the contents of an instance.env; file is its name for
// errors. Variables that do not start with L4D2_ are left alone: they are for
// the game.
func ParseEnv(file string, data []byte) (Env, error) {
	vars, err := envfile.Parse(file, data)
	if err != nil {
		return Env{}, err
	}
	e, err := parseVars(vars)
	if err != nil {
		return Env{}, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

func parseVars(vars map[string]string) (Env, error) {
	var errs []error
	for _, name := range Variables {
		if _, found := vars[name]; !found {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	for name := range vars {
		if strings.HasPrefix(name, "L4D2_") && !slices.Contains(Variables, name) {
			errs = append(errs, fmt.Errorf("unknown variable %s; known are %s", name, strings.Join(Variables, ", ")))
		}
	}
	if errs != nil {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return Env{}, errors.Join(errs...)
	}
	port, err := ParsePort(vars[PortVariable])
	if err != nil {
		return Env{}, fmt.Errorf("%s: %w", PortVariable, err)
	}
	e := Env{Port: port, Args: vars[ArgsVariable], Lowers: strings.Split(vars[LowersVariable], ":")}
	return e, e.check()
}

// ParsePort returns the port that s says in plain decimal digits, 1 to 65535.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("%s is not a port: use a number from 1 to 65535", strconv.Quote(s))
	}
	return uint16(n), nil
}

func (e Env) check() error {
	if e.Port == 0 {
		return fmt.Errorf("%s: 0 is not a port: use a number from 1 to 65535", PortVariable)
	}
	if _, err := envfile.SplitWords(e.Args); err != nil {
		return fmt.Errorf("%s: %w", ArgsVariable, err)
	}
	if err := checkLowers(e.Lowers); err != nil {
		return fmt.Errorf("%s: %w", LowersVariable, err)
	}
	return nil
}

func checkLowers(lowers []string) error {
	if n := len(lowers); n > MaxLayers {
		return fmt.Errorf("%d layers, the kernel allows at most %d", n, MaxLayers)
	}
	if len(lowers) == 0 {
		return errLastLayer
	}
	if last := lowers[len(lowers)-1]; last != InstallationLayer {
		name, found := strings.CutPrefix(last, ReleasesDir+"/")
		if !found {
			return errLastLayer
		}
		if _, err := ParseName(name); err != nil {
			return fmt.Errorf("layer %s: %w", strconv.Quote(last), err)
		}
	}
	seen := make(map[string]bool, len(lowers))
	for _, layer := range lowers[:len(lowers)-1] {
		name, found := strings.CutPrefix(layer, OverlaysDir+"/")
		if !found {
			return fmt.Errorf("layer %s: must be %s/NAME", strconv.Quote(layer), OverlaysDir)
		}
		if _, err := ParseName(name); err != nil {
			return fmt.Errorf("layer %s: %w", strconv.Quote(layer), err)
		}
		if seen[layer] {
			return fmt.Errorf("layer %s: named twice", strconv.Quote(layer))
		}
		seen[layer] = true
	}
	return nil
}

var errLastLayer = errors.New("the last layer must be \"" + InstallationLayer + "\" or " + ReleasesDir + "/NAME")

// ReadEnv reads the instance.env of n. The error is fs.ErrNotExist when there
// is no such instance; a symbolic link or anything else but a regular file is
// refused.
func ReadEnv(l Layout, n Name) (Env, error) {
	path := l.Env(n)
	data, err := ReadFile(path, envfile.MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return Env{}, fmt.Errorf("no such instance %s: create it with l4d2ctl init: %w", n, err)
	}
	if err != nil {
		return Env{}, err
	}
	return ParseEnv(path, data)
}
