package standin

// Dump is what the stand-in writes, as JSON, to the file that +standin_dump
// names: what it was started with. The file appears whole, by a rename.
type Dump struct {
	Arguments   []string          `json:"arguments"`   // the program's own name first
	Environment []string          `json:"environment"` // NAME=value
	Directory   string            `json:"directory"`   // the working directory
	UID         int               `json:"uid"`         // effective
	GID         int               `json:"gid"`
	Groups      []int             `json:"groups"` // supplementary
	Umask       string            `json:"umask"`  // octal
	Status      map[string]string `json:"status"` // some lines of /proc/self/status: CapEff, NoNewPrivs, Seccomp, …
	Limits      string            `json:"limits"` // /proc/self/limits
	Cgroup      string            `json:"cgroup"` // /proc/self/cgroup
}
