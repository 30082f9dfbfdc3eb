package steam

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestProgress(t *testing.T) {
	for _, c := range []struct {
		line string
		want Progress
		ok   bool
	}{
		{" Update state (0x61) downloading, progress: 12.34 (123 / 1000)", Progress{"downloading", 12.34, 123, 1000}, true},
		{" Update state (0x3) reconfiguring, progress: 0,00 (0 / 0)", Progress{"reconfiguring", 0, 0, 0}, true},
		{"Update state (0x81) verifying update, progress: 100.00 (9498529183 / 9498529183)", Progress{"verifying update", 100, 9498529183, 9498529183}, true},
		{"[ 97%] Downloading update (50,497 of 50,772 KB)...", Progress{Phase: "updating steamcmd", Percent: 97}, true},
		{"[100%] Download complete.", Progress{Phase: "updating steamcmd", Percent: 100}, true},
		{"[----] Verifying installation...", Progress{}, false},
		{"[101%] Downloading", Progress{}, false},
		{" Update state (0x61) downloading, progress: 999.99 (1 / 2)", Progress{}, false},
		{" Update state (0x61) downloading, progress: 1.00 (9999999999999999999 / 2)", Progress{}, false},
		{"Success! App '222860' fully installed.", Progress{}, false},
		{"", Progress{}, false},
	} {
		got, ok := ParseProgress(c.line)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%q: %+v, %t", c.line, got, ok)
		}
		if !ok {
			continue
		}
		if back, ok := ParseStatus(got.String()); !ok || back != got {
			t.Errorf("%q comes back as %+v, %t", got.String(), back, ok)
		}
	}
}

// output is what steamcmd printed, as people showed it, and what it means.
var outputs = []struct {
	name, text string
	kind       Kind
	ok         bool
}{
	{"done", "Waiting for user info...OK\n Update state (0x101) committing, progress: 99.00 (9 / 10)\nSuccess! App '222860' fully installed.\n", 0, true},
	{"nothing to do", "Success! App '222860' already up to date.\n", 0, true},
	{"an error, then success", "Error! App '222860' state is 0x402 after update job.\nSuccess! App '222860' fully installed.\n", 0, true},
	{"another app", "Success! App '222840' fully installed.\n", Transient, false},
	{"silence", "", Transient, false},
	{"success, then an error", "Success! App '222860' fully installed.\nError! App '222860' state is 0x202 after update job.\n", DiskFull, false},
	{"disk", " Update state (0x3) reconfiguring, progress: 0.00 (0 / 0)\nError! App '222860' state is 0x202 after update job.\n", DiskFull, false},
	{"disk, installed before", "Error! App '222860' state is 0x206 after update job.", DiskFull, false},
	{"its own disk", "SteamCMD needs 250MB of free disk space to update.\n", DiskFull, false},
	{"broke off", "Error! App '222860' state is 0x602 after update job.\n", Transient, false},
	{"broke off 2", "Error! App '222860' state is 0x6 after update job.\n", Transient, false},
	{"platform", "ERROR! Failed to install app '222860' (Invalid platform)\n", PlatformRefused, false},
	{"platform, odd case", "ERROR! Failed to install app '222860' (Invalid Platform)", PlatformRefused, false},
	{"licence", "ERROR! Failed to install app '222860' (No subscription)\n", Subscription, false},
	{"configuration", "ERROR! Failed to install app '222860' (Missing configuration)\n", Transient, false},
	{"no network", "Connecting anonymously to Steam Public...FAILED (No Connection)\n", Transient, false},
	{"password", "Logging in user 'x' to Steam Public...FAILED (Invalid Password)\n", Login, false},
	{"password, newer", "FAILED login with result code Invalid Password\n", Login, false},
	{"too often", "FAILED (Rate Limit Exceeded)\n", Login, false},
	{"code", "Login Failure: Two-factor code mismatch\n", Login, false},
	{"token", "Cached credentials not found.\n", Login, false},
	{"libraries", "steamcmd.sh: line 39: /var/lib/l4d2/steam/linux32/steamcmd: No such file or directory\n", Libraries, false},
	{"colours and returns", "\x1b[0m Update state (0x61) downloading, progress: 1.00 (1 / 100)\r\x1b[1mSuccess! App '222860' fully installed.\x1b[0m\r\n", 0, true},
}

func judged(text string) error {
	var v verdict
	s := &splitter{emit: v.judge}
	s.Write([]byte(text))
	s.flush()
	return v.conclude(nil)
}

func TestVerdicts(t *testing.T) {
	for _, c := range outputs {
		err := judged(c.text)
		var f *Failure
		switch {
		case c.ok && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case !c.ok && (!errors.As(err, &f) || f.Kind != c.kind):
			t.Errorf("%s: %v, want kind %d", c.name, err, c.kind)
		}
	}
	// Whatever it printed, it has to end well.
	v := verdict{success: true}
	if err := v.conclude(errors.New("exit status 8")); err == nil {
		t.Error("success although the exit code says otherwise")
	}
}

func TestLines(t *testing.T) {
	var got []string
	s := &splitter{emit: func(line string) { got = append(got, line) }}
	s.Write([]byte("one\r\n\n  two\x1b[31;1m red\x1b[0m\rthree\xff"))
	s.Write([]byte(strings.Repeat("x", 1<<20) + "\n\x1b"))
	s.Write([]byte("[2"))
	s.Write([]byte("Kfour"))
	s.flush()
	want := []string{"one", "two red", "three?" + strings.Repeat("x", maxLine-6), "four"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%.80q", got)
	}
}

// Whatever is printed, the lines are short and text, progress makes sense, and
// no half of a known line counts as success.
func FuzzOutput(f *testing.F) {
	for _, c := range outputs {
		f.Add([]byte(c.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v verdict
		success := false
		s := &splitter{emit: func(line string) {
			if len(line) > 3*maxLine || !utf8.ValidString(line) || strings.ContainsAny(line, "\x1b\n\r") || line == "" {
				t.Errorf("line %.100q", line)
			}
			if p, ok := ParseProgress(line); ok {
				if p.Percent < 0 || p.Percent > 100 || p.Phase == "" {
					t.Errorf("%q: %+v", line, p)
				}
				if back, ok := ParseStatus(p.String()); !ok || back != p {
					t.Errorf("%+v does not come back: %+v", p, back)
				}
				return
			}
			v.judge(line)
			success = success || strings.Contains(line, "Success!")
		}}
		s.Write(data)
		s.flush()
		if err := v.conclude(nil); err == nil && !success {
			t.Errorf("success out of %.200q", data)
		}
	})
}
