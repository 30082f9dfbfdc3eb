package systemtest

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"l4d2-host/internal/machine"
	"l4d2-host/internal/rig"
)

// onOwn is onEach on systems that the test may reboot and take apart.
func onOwn(t *testing.T, f func(h *host)) {
	t.Helper()
	machine.NeedRoot(t)
	for _, dist := range machine.Distributions {
		t.Run(string(dist), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
			defer cancel()
			r, err := rig.New(ctx, dist, os.Stderr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if t.Failed() {
					text, _ := r.Journal(context.Background(), "--lines=80")
					t.Logf("the end of the journal:\n%s", text)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			h := &host{Rig: r, t: t, ctx: ctx}
			h.layer("mod", map[string]string{"addons/mod.txt": "of the mod"})
			f(h)
		})
	}
}

func TestReboot(t *testing.T) {
	onOwn(t, func(h *host) {
		for i, name := range []string{"boot-a", "boot.b", "boot_c"} {
			h.initWith(name, yaml(name, 27301+i))
		}
		h.sh("systemctl enable --now l4d2@boot-a l4d2@boot.b")
		h.sh("systemctl start l4d2@boot_c")
		for port := range 3 {
			h.answers(27301 + port)
		}
		h.sh("echo precious >%s/left4dead2/note", merged("boot-a"))
		h.must(h.Reboot(h.ctx))
		h.answers(27301)
		h.answers(27302)
		if got := h.show("boot_c", "ActiveState"); got != "inactive" {
			t.Errorf("an instance that is not enabled is %s after the reboot", got)
		}
		if got := h.sh("cat %s/left4dead2/note", merged("boot-a")); got != "precious" {
			t.Errorf("the note reads %q", got)
		}
		wantCleanShutdown(h, "--boot=-1")

		h.must(h.Poweroff(h.ctx))
		wantCleanShutdown(h, "--boot=0")
	})
}

// wantCleanShutdown reads what the journal has of the end of a boot.
func wantCleanShutdown(h *host, boot string) {
	h.t.Helper()
	text, err := h.Journal(h.ctx, boot)
	h.must(err)
	for _, name := range []string{"boot-a", "boot.b"} {
		if !strings.Contains(text, "unmounted "+merged(name)) {
			h.t.Errorf("%s was not unmounted by its unit", name)
		}
	}
	for line := range strings.Lines(text) {
		lower := strings.ToLower(line)
		if strings.Contains(lower, "target is busy") || strings.Contains(lower, "failed unmounting") ||
			strings.Contains(line, "merged.mount: Failed") {
			h.t.Errorf("at shutdown: %s", line)
		}
	}
}
