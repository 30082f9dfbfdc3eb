package systemtest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"l4d2-host/internal/spec"
	"l4d2-host/internal/spec/spectest"
	"l4d2-host/internal/standin"
)

// argvUnit prints the arguments that systemd makes of $L4D2_ARGS, as the unit
// of an instance uses it.
const argvUnit = `[Service]
Type=oneshot
EnvironmentFile=/root/argv/%i.env
ExecStart=/usr/bin/env -- /bin/sh -c 'printf "%%s\\0" "$@" >/root/argv/%i.out' sh $L4D2_ARGS
`

// For hundreds of generated specs, the started process receives the words of
// the spec.
func TestArgumentsArrive(t *testing.T) {
	onEach(t, func(h *host) {
		const specs = 600
		r := rand.New(rand.NewPCG(222860, 0))
		h.must(h.WriteFile("/etc/systemd/system/argv@.service", []byte(argvUnit), 0o644))
		var units []string
		var want [specs][]string
		for i := range specs {
			want[i] = spectest.Words(r)
			s, err := spec.Parse("generated", spectest.YAML(r, 27015, want[i]))
			h.must(err)
			env, err := s.Env()
			h.must(err)
			text, err := env.Format()
			h.must(err)
			h.must(h.WriteFile(fmt.Sprintf("/root/argv/%d.env", i), text, 0o600))
			units = append(units, fmt.Sprintf("argv@%d", i))
		}
		h.sh("systemctl daemon-reload")
		for chunk := range slices.Chunk(units, 100) {
			h.sh("systemctl start %s", strings.Join(chunk, " "))
		}
		for i := range specs {
			out, err := h.ReadFile(fmt.Sprintf("/root/argv/%d.out", i))
			h.must(err)
			got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
			if len(want[i]) == 0 {
				want[i] = []string{""} // printf without arguments prints one
			}
			if !slices.Equal(got, want[i]) {
				t.Errorf("spec %d:\ngot  %q\nwant %q", i, got, want[i])
			}
		}
	})
}

// And a few through l4d2ctl and the unit as shipped.
func TestArgumentsArriveAtTheServer(t *testing.T) {
	onEach(t, func(h *host) {
		r := rand.New(rand.NewPCG(550, 0))
		for i := range 5 {
			words := append([]string{"+standin_dump", "dump.json", "+sv_tags", "it's \"a b\" $HOME %i ${X} #1; \\n ü"}, spectest.Words(r)...)
			h.initWith("words", string(spectest.YAML(r, 27140, words)))
			h.sh("l4d2ctl start words")
			var dump standin.Dump
			h.eventually("the dump", func() bool {
				data, err := h.ReadFile(merged("words") + "/dump.json")
				return err == nil && json.Unmarshal(data, &dump) == nil
			})
			want := append([]string{"-game", "left4dead2", "-strictportbind", "-ip", "0.0.0.0", "-port", "27140"}, words...)
			if got := dump.Arguments[1:]; !slices.Equal(got, want) {
				t.Errorf("start %d:\ngot  %q\nwant %q", i, got, want)
			}
			h.sh("l4d2ctl delete --yes words")
		}
	})
}
