// Package fault holds no code but its tests: they run the real l4d2-overlay,
// l4d2ctl and l4d2-update under strace, which kills them before one system call,
// or makes that call fail, one call after the other; and then look at what is
// left on disk and mounted, and whether the next run puts it right.
//
// Only the first thread is traced, so that the Nth call of a name is the same
// one in every run: all do all their work there. l4d2-overlay and l4d2-update say
// so themselves; l4d2ctl is built with one file more, which locks its main
// goroutine to that thread.
//
// The programs run in PID, mount and network namespaces of their own, in which
// the test binary is PID 1; nothing that they mount or leave running reaches
// the host, and all of it goes with that process.
//
// A run by "go test" takes a sample, the same one every time, on a tmpfs. All
// cases, some thirty thousand, take a quarter of an hour on two processors:
//
//	go test ./internal/fault -timeout 1h -v -fault.full
//
// With -fault.disk they work on the disk. A failure names the scenario, the
// call and the fault, and the command that was run; -fault.only takes a regular
// expression for that description, to run nothing else:
//
//	go test ./internal/fault -v -run 'TestFaults/unmount' -fault.full -fault.only 'EIO at statx'
package fault
