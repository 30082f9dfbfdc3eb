package main

// setup is one way to run the instances of a start storm.
type setup struct {
	name   string
	dropIn string // for l4d2@.service
}

// All but the first are started as a program that nobody waits for (Type=exec),
// so that they compare with each other.
var setups = []setup{
	{"as shipped, until players can join", ""},
	{"the same without the watcher", withoutWatcher},
	{"/var/lib/l4d2 hidden by TemporaryFileSystem=", hiddenByTmpfs},
	{"without the two steps", withoutSteps},
	{"without the sandbox", withoutSandbox},
	{"without both", withoutBoth},
}

const (
	withoutWatcher = "[Service]\n" + startIn + "./srcds_linux" + arguments

	// Before systemd mounts a tmpfs it unmounts all that is below, one by one,
	// and reads mountinfo again after each: with the other instances' overlays
	// there, a start costs the square of their number.
	hiddenByTmpfs = `[Service]
TemporaryFileSystem=
TemporaryFileSystem=/dev/shm:mode=1777
TemporaryFileSystem=/var/lib/l4d2:ro
BindPaths=
BindPaths=-/var/lib/l4d2/runtime/%i/merged
WorkingDirectory=-/var/lib/l4d2/runtime/%i/merged
` + startIn + "./srcds_linux" + arguments

	// The same number of mounts in each namespace, but none of ours: a plain
	// copy of the installation stands in for the merged directory.
	withoutSteps = `[Service]
ExecStartPre=
ExecStopPost=
BindPaths=
BindPaths=-/srv/plain/%i:/var/lib/l4d2
` + startIn + "./srcds_linux" + arguments

	withoutSandbox = noSandbox + `WorkingDirectory=-/var/lib/l4d2/runtime/%i/merged
` + startIn + "./srcds_linux" + arguments

	withoutBoth = noSandbox + `ExecStartPre=
ExecStopPost=
WorkingDirectory=-/srv/plain/%i
` + startIn + "./srcds_linux" + arguments

	startIn   = "Type=exec\nExecStart=\nExecStart=/usr/bin/env LD_LIBRARY_PATH=.:bin "
	arguments = " -game left4dead2 -strictportbind -ip 0.0.0.0 -port ${L4D2_PORT} $L4D2_ARGS\n"

	noSandbox = `[Service]
TemporaryFileSystem=
BindPaths=
BindReadOnlyPaths=
InaccessiblePaths=
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
PrivateDevices=no
PrivateIPC=no
PrivateUsers=no
ProtectProc=default
NoNewPrivileges=no
RestrictSUIDSGID=no
RestrictNamespaces=no
RestrictRealtime=no
LockPersonality=no
ProtectClock=no
ProtectControlGroups=no
ProtectHostname=no
ProtectKernelLogs=no
ProtectKernelModules=no
ProtectKernelTunables=no
SystemCallArchitectures=
SystemCallFilter=
RestrictAddressFamilies=
`
)
