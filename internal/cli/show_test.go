package cli

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"l4d2-host/internal/systemd"
)

func TestShowCommandLine(t *testing.T) {
	h := newHost(t)
	h.init(ExitDone, "port: 27015\narguments: ['+sv_tags \"a b\"', +rcon_password hunter2]\n")
	extra := h.layout.Root() + "/extra.env"
	must(t, os.WriteFile(extra, []byte("MORE='-extra x'\nBOTH=file\n"), 0o644))
	h.systemd.definition = systemd.Definition{
		Fragment: "/usr/lib/l4d2@.service", DropIns: []string{"/etc/drop.conf"},
		Environment: []string{"BOTH=unit", "ONE=1=1"},
		EnvironmentFiles: []systemd.EnvironmentFile{
			{Path: h.layout.Env("a")}, {Path: extra}, {Path: "/no/such/file", Optional: true},
		},
		Commands: []systemd.Command{{Words: []string{"env", "-port", "${L4D2_PORT}", "$L4D2_ARGS", "$MORE", "${BOTH}", "${ONE}"}}},
	}
	h.run(ExitDone, "show", "--json", "a")
	var got struct {
		Unit     string     `json:"unit"`
		DropIns  []string   `json:"drop_ins"`
		Commands [][]string `json:"commands"`
	}
	must(t, json.Unmarshal(h.out.Bytes(), &got))
	want := []string{"env", "-port", "27015", "+sv_tags", "a b", "+rcon_password", "********", "-extra", "x", "file", "1=1"}
	if len(got.Commands) != 1 || !slices.Equal(got.Commands[0], want) {
		t.Errorf("got  %q\nwant %q", got.Commands, want)
	}
	if got.Unit != "/usr/lib/l4d2@.service" || !slices.Equal(got.DropIns, []string{"/etc/drop.conf"}) {
		t.Errorf("%+v", got)
	}
	h.saysNot(&h.out, "hunter2")
	h.run(ExitDone, "show", "a")
	h.says(&h.out, "    env -port 27015 +sv_tags 'a b' +rcon_password", "    /etc/drop.conf\n")
	h.run(ExitDone, "show", "--passwords", "a")
	h.says(&h.out, "+rcon_password hunter2")

	h.systemd.definition.EnvironmentFiles[2].Optional = false
	h.run(ExitFailed, "show", "a")
	h.says(&h.err, "l4d2ctl: show: a: command line: open /no/such/file")
	h.systemd.definition.EnvironmentFiles = nil
	h.systemd.definition.Stale = true
	h.run(ExitFailed, "show", "a")
	h.says(&h.err, "daemon-reload")
	h.systemd.definition = systemd.Definition{}
	h.run(ExitFailed, "show", "a")
	h.says(&h.err, "no such unit is installed")

	must(t, os.Remove(h.layout.ServerConfig("a")))
	h.run(ExitFailed, "show", "--json", "a")
	h.says(&h.out, `"server_config": null`)
	if !strings.Contains(h.err.String(), "server.cfg") {
		t.Errorf("no word of server.cfg: %s", &h.err)
	}
}
