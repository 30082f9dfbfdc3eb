package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// manifest is steamapps/appmanifest_222860.acf. The platform and the files are
// in the real one's depots and in files of their own; here they stand in it.
type manifest struct {
	state           int
	build, platform string
	files           []string
}

func (m manifest) installed() bool { return m.state&4 != 0 }

var pair = regexp.MustCompile(`"([A-Za-z]+)"\s+"([^"]*)"`)

// readManifest returns the zero manifest where there is none.
func readManifest(path string) manifest {
	var m manifest
	data, err := os.ReadFile(path)
	if err != nil {
		return m
	}
	for _, p := range pair.FindAllStringSubmatch(string(data), -1) {
		switch p[1] {
		case "StateFlags":
			m.state, _ = strconv.Atoi(p[2])
		case "buildid":
			m.build = p[2]
		case "platform":
			m.platform = p[2]
		case "file":
			m.files = append(m.files, p[2])
		}
	}
	return m
}

func (u *update) write(m manifest) error {
	if err := os.MkdirAll(u.apps(), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\"AppState\"\n{\n\t\"appid\"\t\t\"%s\"\n\t\"Universe\"\t\t\"1\"\n\t\"name\"\t\t\"Left 4 Dead 2 Dedicated Server\"\n", app)
	fmt.Fprintf(&b, "\t\"StateFlags\"\t\t\"%d\"\n\t\"installdir\"\t\t\"Left 4 Dead 2 Dedicated Server\"\n", m.state)
	fmt.Fprintf(&b, "\t\"LastUpdated\"\t\t\"%d\"\n\t\"buildid\"\t\t\"%s\"\n\t\"platform\"\t\t\"%s\"\n\t\"InstalledFiles\"\n\t{\n", time.Now().UnixNano(), m.build, m.platform)
	for _, name := range m.files {
		fmt.Fprintf(&b, "\t\t\"file\"\t\t\"%s\"\n", name)
	}
	b.WriteString("\t}\n}\n")
	// Written beside and moved: a crash leaves the old one.
	if err := os.WriteFile(u.manifestPath()+".tmp", []byte(b.String()), 0o644); err != nil {
		return err
	}
	return os.Rename(u.manifestPath()+".tmp", u.manifestPath())
}
