package standin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Version is what an installation made by Install says in steam.inf, and the
// stand-in therefore to A2S_INFO.
const Version = "2.2.4.3"

// files is the installation besides srcds_linux: a small likeness of what
// steamcmd leaves. There is no cfg/server.cfg, as in the real one.
var files = map[string]string{
	"bin/engine_srv.so":    "stand-in for the engine\n",
	"bin/libgcc_s.so.1":    "stand-in for the bundled libgcc_s\n",
	"bin/libstdc++.so.6":   "stand-in for the bundled libstdc++\n",
	"bin/libtier0_srv.so":  "stand-in for tier0\n",
	"bin/steamclient.so":   "stand-in for steamclient\n",
	"bin/vphysics_srv.so":  "stand-in for vphysics\n",
	"hl2/readme.txt":       "stand-in\n",
	"platform/readme.txt":  "stand-in\n",
	"srcds_run":            runScript,
	"thirdpartylegal.txt":  "stand-in\n",
	"left4dead2/steam.inf": "PatchVersion=" + Version + "\nProductName=left4dead2\nappID=550\nServerAppID=222860\n",

	"left4dead2/addons/readme.txt":             "Put add-ons here.\n",
	"left4dead2/bin/server_srv.so":             "stand-in for the game's code\n",
	"left4dead2/cfg/config.cfg":                "// made by the game\n",
	"left4dead2/cfg/skill_manifest.cfg":        "// stand-in\n",
	"left4dead2/cfg/valve.rc":                  "exec config.cfg\nexec autoexec.cfg\nstuffcmds\n",
	"left4dead2/gameinfo.txt":                  "\"GameInfo\"\n{\n\tgame \"Left 4 Dead 2\"\n}\n",
	"left4dead2/maps/c1m1_hotel.bsp":           "VBSP c1m1_hotel\n",
	"left4dead2/maps/c1m2_streets.bsp":         "VBSP c1m2_streets\n",
	"left4dead2/maps/c5m1_waterfront.bsp":      "VBSP c5m1_waterfront\n",
	"left4dead2/missioncycle.txt":              "c1m1_hotel\n",
	"left4dead2/motd.txt":                      "Welcome\n",
	"left4dead2/pak01_dir.vpk":                 "VPK " + strings.Repeat("left4dead2 ", 6000),
	"left4dead2/resource/game.txt":             "stand-in\n",
	"left4dead2/scripts/vscripts/director.nut": "// stand-in\n",
	"left4dead2/scripts/weapons.txt":           "// stand-in\n",
}

// runScript ends like the wrapper that the real game brings: systemd counts
// the signal as a clean end, whatever the server's own exit was.
const runScript = `#!/bin/sh
cd "$(dirname "$0")" || exit 1
export LD_LIBRARY_PATH=".:bin:$LD_LIBRARY_PATH"
./srcds_linux $*
kill -2 $$
`

// Install lays down a game installation in dir, which it makes when missing,
// with a copy of binary as its srcds_linux. The content is the same each time.
// What lies in dir besides stays, as with a steamcmd update.
func Install(dir, binary string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("install the stand-in: %w", err)
	}
	paths := make([]string, 0, len(files))
	for path := range files {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		mode := fs.FileMode(0o644)
		if path == "srcds_run" {
			mode = 0o755
		}
		if err := put(filepath.Join(dir, path), []byte(files[path]), mode); err != nil {
			return fmt.Errorf("install the stand-in: %w", err)
		}
	}
	if err := put(filepath.Join(dir, "srcds_linux"), program, 0o755); err != nil {
		return fmt.Errorf("install the stand-in: %w", err)
	}
	return nil
}

// put writes a new file in the place of what is there: a running program
// cannot be written to.
func put(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // whatever the umask is
}
