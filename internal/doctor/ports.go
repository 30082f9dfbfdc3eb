package doctor

import (
	"slices"
	"strings"

	"l4d2-host/internal/holder"
	"l4d2-host/internal/instance"
)

// checkPorts finds instances with one port, and ports that somebody else has.
func (d *Doctor) checkPorts(names []instance.Name) {
	owners := map[uint16][]string{}
	var ports []uint16
	for _, n := range d.list() {
		env, err := instance.ReadEnv(d.Layout, n)
		if err != nil {
			continue // said with the instance
		}
		owners[env.Port] = append(owners[env.Port], string(n))
		if slices.Contains(names, n) && !slices.Contains(ports, env.Port) {
			ports = append(ports, env.Port)
		}
	}
	right := true
	for _, port := range ports {
		if who := owners[port]; len(who) > 1 {
			d.add(Error, "ports", "give each a port of its own: l4d2ctl edit "+who[len(who)-1], "port %d is that of several instances: %s", port, strings.Join(who, ", "))
			right = false
		}
	}
	taken, err := holder.Ports(ports)
	if err != nil {
		d.fail(Error, "ports", err)
		return
	}
	for _, l := range taken {
		right = d.checkListening(l, owners[l.Port]) && right
	}
	if right {
		d.ok("ports", "no port is in two hands")
	}
}

func (d *Doctor) checkListening(l holder.Listening, owners []string) bool {
	if l.Holder.PID == 0 && !d.Superuser {
		d.asRoot("ports", "port %d/%s of %s is in use; by whom, only root can see", l.Port, l.Network, strings.Join(owners, ", "))
		return false
	}
	for _, n := range owners {
		if l.Holder.Unit == "l4d2@"+n+".service" {
			return true
		}
	}
	by := "a process that cannot be seen from here"
	if l.Holder.PID != 0 {
		by = l.Holder.String()
	}
	d.add(Error, "ports", "end it, or give the instance another port: l4d2ctl edit "+owners[0],
		"port %d/%s of %s is in use by %s", l.Port, l.Network, strings.Join(owners, ", "), by)
	return false
}
