package steam

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestSettings(t *testing.T) {
	got, err := ParseSettings("f", []byte("# all\nSTEAMCMD=/opt/steamcmd.sh\nLOGIN=some_one\nBETA=public-beta\nVALIDATE=yes\nATTEMPTS=3\nRETRY_DELAY=0\n"))
	want := Settings{Command: "/opt/steamcmd.sh", Login: "some_one", Beta: "public-beta", Validate: true, Attempts: 3}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseSettings("f", []byte(strings.Join(Keys(), "=\n")+"=\n")); err != nil || got != Defaults() {
		t.Errorf("empty values: %+v, %v", got, err)
	}
	if got, err := ReadSettings(t.TempDir() + "/none"); err != nil || got != Defaults() || got.RetryDelay != 10*time.Second {
		t.Errorf("no file: %+v, %v", got, err)
	}
	for line, want := range map[string]string{
		"LOGIN='a +quit'":          "LOGIN",
		"LOGIN=+quit":              "LOGIN",
		"LOGIN=-x":                 "LOGIN",
		"LOGIN='name secret'":      "LOGIN",
		"LOGIN=name secret":        "f:1",
		"BETA='x -betapassword y'": "BETA",
		"STEAMCMD=steamcmd":        "absolute",
		"VALIDATE=perhaps":         "yes or no",
		"ATTEMPTS=0":               "1 to 100",
		"ATTEMPTS=many":            "1 to 100",
		"RETRY_DELAY=-1":           "0 to 3600",
		"PASSWORD=secret":          "no setting PASSWORD",
		"LOGIN=$USER":              "f:1",
	} {
		if _, err := ParseSettings("f", []byte(line+"\n")); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// The file of the package changes nothing. That it has each setting, the tests of
// the manual say (man.TestUpdateSettings).
func TestShippedFile(t *testing.T) {
	data, err := os.ReadFile("../../packaging/update.conf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseSettings("update.conf", data)
	if err != nil || got != Defaults() {
		t.Errorf("%+v, %v", got, err)
	}
}
