package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/kballard/go-shellquote"

	"l4d2-host/internal/envfile"
	"l4d2-host/internal/instance"
	"l4d2-host/internal/secret"
	"l4d2-host/internal/spec"
	"l4d2-host/internal/store"
	"l4d2-host/internal/systemd"
)

type showCommand struct {
	Name      nameArg `arg:"" help:"Instance to show."`
	Passwords bool    `help:"Show passwords and login tokens too, instead of ${mask}."`
	JSON      bool    `help:"Print an object, for programs."`
}

// Help is what --help prints besides.
func (*showCommand) Help() string {
	return "Prints the spec, the files generated from it, and the command line that the next start uses, from the unit, its drop-ins and instance.env.\n\n" +
		"Example: l4d2ctl show versus"
}

// shown is an instance, and its JSON: these keys are what programs may rely on.
// A null is what is not known; errors says why.
type shown struct {
	Name         instance.Name `json:"name"`
	Directory    string        `json:"directory"`
	Masked       bool          `json:"masked"`        // passwords are replaced by asterisks
	Spec         *string       `json:"spec"`          // the text of instance.yaml
	Environment  *string       `json:"environment"`   // of instance.env
	ServerConfig *string       `json:"server_config"` // of server.cfg
	Unit         *string       `json:"unit"`          // the unit file
	DropIns      []string      `json:"drop_ins"`      // what changes it, in order
	Commands     [][]string    `json:"commands"`      // each ExecStart=, as the process gets it; usually one
	Errors       []string      `json:"errors"`
}

func (c *showCommand) Run(s *session) error {
	n := c.Name.Name
	st, err := s.open()
	if err != nil {
		return err
	}
	text, err := st.ReadSpec(n)
	if errors.Is(err, store.ErrUnknown) {
		return unknown(n)
	}
	if errors.Is(err, fs.ErrPermission) {
		return readable(fmt.Errorf("%s: %w", n, err))
	}
	v := &shown{Name: n, Directory: s.layout.Instance(n), Masked: !c.Passwords, DropIns: []string{}, Commands: [][]string{}, Errors: []string{}}
	v.keep(&v.Spec, text, err)
	v.read(&v.Environment, s.layout.Env(n), envfile.MaxFile)
	v.read(&v.ServerConfig, s.layout.ServerConfig(n), 1<<20)
	if err := s.addCommands(v); err != nil {
		v.Errors = append(v.Errors, "command line: "+err.Error())
	}
	if v.Masked {
		v.mask()
	}
	if err := s.printShown(v, c.JSON); err != nil {
		return err
	}
	if len(v.Errors) > 0 {
		return fmt.Errorf("%s: %s", n, strings.Join(v.Errors, "\n"+string(n)+": "))
	}
	return nil
}

func (v *shown) read(to **string, path string, limit int) {
	data, err := instance.ReadFile(path, limit)
	v.keep(to, data, err)
}

func (v *shown) keep(to **string, data []byte, err error) {
	if err != nil {
		v.Errors = append(v.Errors, err.Error())
		return
	}
	text := string(data)
	*to = &text
}

// addCommands asks systemd what it will start, and puts the variables in.
func (s *session) addCommands(v *shown) error {
	m, err := s.Connect(s.ctx)
	if err != nil {
		return err
	}
	defer m.Close()
	u, err := s.unit(m, v.Name)
	if err != nil {
		return err
	}
	if s.foreign(u, v.Name) {
		return fmt.Errorf("%s is of another root", unitName(v.Name))
	}
	d, err := m.Definition(s.ctx, unitName(v.Name))
	if err != nil {
		return err
	}
	if d.Fragment == "" {
		return fmt.Errorf("%s: %w", unitName(v.Name), systemd.ErrNoUnit)
	}
	v.Unit, v.DropIns = &d.Fragment, append(v.DropIns, d.DropIns...)
	env, err := variables(d)
	if err != nil {
		return err
	}
	for _, c := range d.Commands {
		words, err := c.Expand(env)
		if err != nil {
			return err
		}
		v.Commands = append(v.Commands, words)
	}
	if d.Stale {
		return errors.New("the unit's files were changed: this is what systemd read before; systemctl daemon-reload makes it read them again")
	}
	return nil
}

// variables are those that the unit's command line may name. What a file says
// goes before Environment= (systemd.exec(5)).
func variables(d systemd.Definition) (map[string]string, error) {
	env := map[string]string{}
	for _, assignment := range d.Environment {
		name, value, _ := strings.Cut(assignment, "=")
		env[name] = value
	}
	for _, f := range d.EnvironmentFiles {
		data, err := instance.ReadFile(f.Path, envfile.MaxFile)
		if f.Optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		vars, err := envfile.Parse(f.Path, data)
		if err != nil {
			return nil, err
		}
		for name, value := range vars {
			env[name] = value
		}
	}
	return env, nil
}

// mask hides the secrets in all that is shown. One that is found in any of it
// is hidden everywhere.
func (v *shown) mask() {
	var own, values []string
	if v.Spec != nil {
		if sp, err := spec.Parse(instance.SpecFile, []byte(*v.Spec)); err == nil {
			own = secret.Values(sp.Words(), sp.Config)
		}
	}
	if v.ServerConfig != nil {
		values = secret.Values(nil, strings.Split(*v.ServerConfig, "\n"))
	}
	for i, words := range v.Commands {
		values = append(values, secret.Values(words, nil)...)
		v.Commands[i] = secret.Words(words)
	}
	v.hide(&v.Spec, instance.SpecFile, own, values)
	v.hide(&v.Environment, instance.EnvFile, nil, append(own, values...))
	v.hide(&v.ServerConfig, instance.ServerConfigFile, nil, append(own, values...))
}

func (v *shown) hide(text **string, file string, own, values []string) {
	if *text == nil {
		return
	}
	masked, sure := secret.Text(**text, own, values)
	*text = &masked
	if !sure {
		*text = nil
		v.Errors = append(v.Errors, file+" is not shown: a password in it is written in a way that cannot be masked (--passwords shows it)")
	}
}

func (s *session) printShown(v *shown, asJSON bool) error {
	if asJSON {
		return s.printJSON(v)
	}
	var b strings.Builder
	for _, part := range []struct {
		title string
		text  *string
	}{
		{"What you wrote, " + s.layout.Spec(v.Name), v.Spec},
		{"Generated from it, " + s.layout.Env(v.Name), v.Environment},
		{"Generated from it, " + s.layout.ServerConfig(v.Name), v.ServerConfig},
	} {
		if part.text != nil {
			section(&b, part.title, strings.Split(strings.TrimRight(*part.text, "\n"), "\n"))
		}
	}
	if v.Unit != nil {
		section(&b, "The unit and its drop-ins", append([]string{*v.Unit}, v.DropIns...))
	}
	for _, words := range v.Commands {
		section(&b, "The command line that the next start uses", []string{shellquote.Join(words...)})
	}
	s.print(strings.TrimPrefix(b.String(), "\n"))
	return nil
}

func section(b *strings.Builder, title string, lines []string) {
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, line := range lines {
		fmt.Fprintf(b, "    %s\n", line)
	}
}
