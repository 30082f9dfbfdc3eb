package main

import "errors"

// The two servers.
const (
	versusPort = 27015
	coopPort   = 27016
	password   = "letmein" // of the consoles
)

// files are what the operator of the story has in /root: specs and layers.
var files = map[string]string{
	"/root/versus.yaml": `port: 27015
arguments: [+map c5m1_waterfront, '+sv_tags "versus, ready up"']
overlays: [competitive, sourcemod]   # topmost first
config:
  - hostname "Versus in the demo"
  - rcon_password "letmein"
`,
	"/root/coop.yaml": `port: 27016
arguments: [+map dbd1_street, +sv_tags custom]
overlays: [campaigns, sourcemod]
config:
  - hostname "Coop in the demo"
  - rcon_password "letmein"
`,
	"/root/wrong.yaml": `port: 27015
overlays: [competitve]
`,
	"/root/layers/competitive/left4dead2/motd.txt":                                 "Versus: type !ready\n",
	"/root/layers/competitive/left4dead2/addons/sourcemod/plugins/readyup.smx":     "a plug-in\n",
	"/root/layers/campaigns/left4dead2/addons/deadbeforedawn.vpk":                  "a campaign\n",
	"/root/layers/campaigns/left4dead2/maps/dbd1_street.bsp":                       "VBSP dbd1_street\n",
	"/root/layers/sourcemod/left4dead2/addons/metamod.vdf":                         "\"Plugin\" { }\n",
	"/root/layers/sourcemod/left4dead2/addons/sourcemod/plugins/basechat.smx":      "a plug-in\n",
	"/root/layers/sourcemod/left4dead2/addons/sourcemod/configs/admins_simple.ini": "// admins\n",
}

// story is all that is shown, in this order.
func story() []step {
	// The checksum of the whole installation, before any server ran.
	var pristine string
	remember := func(out string) error { pristine = out; return nil }
	unchanged := func(out string) error {
		if out != pristine {
			return errors.New("the installation has changed")
		}
		return nil
	}
	const checksum = "cd /var/lib/l4d2/installation && find . -type f | sort | xargs sha1sum | sha1sum"
	const overlays = "findmnt --noheadings --types overlay --output SOURCE,TARGET | sort"
	bothMounted := lines("l4d2:coop +/var/lib/l4d2/runtime/coop/merged", "l4d2:versus +/var/lib/l4d2/runtime/versus/merged")
	listing := func(boot, state string) check {
		return lines("NAME +PORT +STATE +MAP +PLAYERS +PID +UPTIME +RESTARTS +BOOT", "coop +27016 +"+state+" +"+boot, "versus +27015 +"+state+" +"+boot)
	}
	running := listing("enabled", `active +.+ \d+ +\S+ +\d+`)

	return []step{
		{"The package is installed. It brings the unit l4d2@.service, its helper, l4d2ctl and the user l4d2.", []action{
			sh("dpkg -i /root/l4d2-host.deb", has("Setting up l4d2-host")),
			sh("systemctl is-enabled l4d2.target", lines("enabled")),
		}},
		{"The game goes to /var/lib/l4d2/installation, where steamcmd would download it: here a small stand-in.", []action{
			sh("cp -r /root/game/. /var/lib/l4d2/installation"),
			sh("cp -r /root/layers/. /var/lib/l4d2/overlays"),
			sh("chown -R l4d2:l4d2 /var/lib/l4d2/installation /var/lib/l4d2/overlays/*"),
			sh("ls /var/lib/l4d2/installation", has("left4dead2", "srcds_linux")),
			sh(checksum, remember),
		}},
		{"Beside it lie three layers with mods. A layer is a tree over the game's root.", []action{
			sh("cd /var/lib/l4d2/overlays && find * -type f | sort", has("campaigns/left4dead2/maps/dbd1_street.bsp", "competitive/left4dead2/motd.txt")),
		}},
		{"Two servers are described, with different layers.", []action{
			sh("cat /root/versus.yaml", has("competitive, sourcemod")),
			sh("cat /root/coop.yaml", has("campaigns, sourcemod")),
		}},
		{"l4d2ctl init checks each spec and makes an instance of it.", []action{
			sh("l4d2ctl init versus /root/versus.yaml", has("versus: created")),
			sh("l4d2ctl init coop /root/coop.yaml", has("coop: created")),
		}},
		{"A wrong spec is refused with file and line, and nothing is changed: here a port is taken and a layer misspelt.", []action{
			exits(1, "l4d2ctl init third /root/wrong.yaml", has("wrong.yaml:1:", "27015", "versus", "wrong.yaml:2:", "competitve")),
			sh("ls /var/lib/l4d2/instances", lines("coop", "versus")),
		}},
		{"The servers are instances of a systemd unit: enabled for the boot, and started, as any service. A start is done when players can join.", []action{
			sh("systemctl enable --now l4d2@versus l4d2@coop", has("Created symlink")),
			sh("systemctl status l4d2@versus", has("active (running)", "/usr/libexec/l4d2-host/l4d2-overlay mount versus", `Status: "c5m1_waterfront, 0/8 players, Versus in the demo"`, "./srcds_linux")),
			sh("l4d2ctl list", running),
		}},
		{"Both answer as game servers, each with its own map and tags; the map of the one comes from its layer.", []action{
			ask(versusPort, "Versus in the demo", "c5m1_waterfront", "versus, ready up"),
			ask(coopPort, "Coop in the demo", "dbd1_street", "custom"),
		}},
		{"The journal has the helper's steps and the server's console together.", []action{
			sh("journalctl --sync && journalctl --unit=l4d2@coop", has("copied server.cfg", "mounted /var/lib/l4d2/runtime/coop/merged", `Loading map "dbd1_street"`)),
		}},
		{"A file of the installation is seen by both, and not copied.", []action{
			sh("cd /var/lib/l4d2 && sha1sum installation/left4dead2/gameinfo.txt runtime/*/merged/left4dead2/gameinfo.txt", sameSums(3)),
			sh("cd /var/lib/l4d2 && find runtime/*/upper -name gameinfo.txt", nothing),
		}},
		{"A file of a layer is seen by the servers that have the layer, and hides the one below.", []action{
			sh("cd /var/lib/l4d2/runtime && ls */merged/left4dead2/maps/dbd1_street.bsp", lines("coop/merged/left4dead2/maps/dbd1_street.bsp")),
			sh("cd /var/lib/l4d2/runtime && ls */merged/left4dead2/addons/sourcemod/plugins/basechat.smx", lines("coop/.*", "versus/.*")),
			sh("cd /var/lib/l4d2 && grep . installation/left4dead2/motd.txt runtime/*/merged/left4dead2/motd.txt",
				lines("installation/.*:Welcome", "runtime/coop/.*:Welcome", "runtime/versus/.*:Versus: type !ready")),
		}},
		{"What a server changes is its own: versus appends a line to a file of the installation, and bans a player.", []action{
			console(versusPort, "poke left4dead2/missioncycle.txt c5m1_waterfront", has("ok")),
			console(versusPort, "banid 0 STEAM_1:0:42"),
			console(versusPort, "writeid"),
			sh("cd /var/lib/l4d2 && grep . installation/left4dead2/missioncycle.txt runtime/*/merged/left4dead2/missioncycle.txt",
				lines("installation/.*:c1m1_hotel", "runtime/coop/.*:c1m1_hotel", "runtime/versus/.*:c1m1_hotel", "runtime/versus/.*:c5m1_waterfront")),
			sh("cd /var/lib/l4d2/runtime && find versus/upper -type f | sort", has("versus/upper/left4dead2/cfg/banned_user.cfg", "versus/upper/left4dead2/missioncycle.txt")),
			sh("cd /var/lib/l4d2/runtime && find coop/upper -type f -name missioncycle.txt", nothing),
		}},
		{"A server costs what it has changed, not another copy of the game.", []action{
			sh("cd /var/lib/l4d2 && du -sh installation runtime/*/upper", lines(`[\d.]+M\tinstallation`, `[\d.]+K?\truntime/coop/upper`, `[\d.]+K?\truntime/versus/upper`)),
		}},
		{"A server crashes. systemd has the helper unmount, waits for 5 s and starts it again; the other one plays on.", []action{
			crash(coopPort),
			ask(coopPort, "Coop in the demo", "dbd1_street", "custom"),
			sh("systemctl show --property=NRestarts --value l4d2@coop l4d2@versus", lines("1", "", "0")),
			sh("journalctl --sync && journalctl --unit=l4d2@coop --output=cat --lines=14", has("unmounted /var/lib/l4d2/runtime/coop/merged", "restart counter is at 1", "\nmounted /var/lib/l4d2/runtime/coop/merged")),
			sh(overlays, bothMounted),
		}},
		{"The machine reboots: the servers end and are unmounted in order, and those that are enabled come back, with their state.", []action{
			reboot,
			ask(versusPort, "Versus in the demo", "c5m1_waterfront", "versus, ready up"),
			ask(coopPort, "Coop in the demo", "dbd1_street", "custom"),
			sh("journalctl --boot=-1 --unit=l4d2@versus --output=cat --lines=12", has("Server is shutting down", "unmounted /var/lib/l4d2/runtime/versus/merged", "Stopped")),
			sh("cat /var/lib/l4d2/runtime/versus/merged/left4dead2/cfg/banned_user.cfg", has("banid 0 STEAM_1:0:42")),
			sh("l4d2ctl list", running),
		}},
		{"Stopped, nothing is mounted any more.", []action{
			sh("l4d2ctl stop versus coop", has("versus: stopped"), has("coop: stopped")),
			sh("l4d2ctl list", listing("enabled", "inactive +- +- +- +- +-")),
			sh(overlays, nothing),
			exits(1, "pgrep srcds_linux", nothing),
		}},
		{"delete removes an instance and its own state; the installation is to the byte what it was.", []action{
			sh("l4d2ctl delete --yes versus", has("versus: deleted")),
			sh("l4d2ctl delete --yes coop", has("coop: deleted")),
			sh("cd /var/lib/l4d2 && ls instances runtime", lines("instances:", "", "runtime:")),
			sh(checksum, unchanged),
		}},
		{"The package is removed; the game and the mods stay.", []action{
			sh("dpkg --purge l4d2-host", has("Removing l4d2-host", "stay in /var/lib/l4d2")),
			sh("ls /var/lib/l4d2", lines("installation", "overlays")),
			exits(127, "l4d2ctl list"),
		}},
	}
}
