# The warden of a machine: waits until its standard input ends, which means that
# the owner has closed the machine or is dead, then removes all that belongs to
# the machine. It is a process of its own because nothing in the owner survives
# a SIGKILL, and a script because the owner may be any test binary.
#
# Arguments: the run directory, the machine's ID, then its control groups, the
# cgroup2 one first. Exits with 0 when nothing is left.
set -u
dir=$1 id=$2
shift 2
while read -r _; do :; done

# A group is removable once its dead have been reaped: 30 s at the most.
[ ! -e "$1/cgroup.kill" ] || echo 1 >"$1/cgroup.kill"
tries=0
while grep -qs 'populated 1' "$1/cgroup.events" && [ $tries -lt 1500 ]; do
	tries=$((tries + 1))
	sleep 0.02
done
for group; do
	[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {} +
done

# What systemd-nspawn, killed, could not clean up, and what a test may have
# mounted from outside: rm would go through a bind mount and empty its source.
# Mount points are listed parents first and detached with all below them.
unexport=/run/systemd/nspawn/unix-export/$id
while read -r _ _ _ _ point _; do
	point=$(printf %b "$point")
	case $point in
	"$dir"/* | "$unexport") umount -l "$point" ;;
	esac
done </proc/self/mountinfo
rmdir "/run/systemd/nspawn/propagate/$id" "$unexport" 2>/dev/null
for point in $(cut -d ' ' -f 5 /proc/self/mountinfo); do
	case $(printf %b "$point") in
	"$dir"/*) echo "still mounted: $point" >&2 && exit 1 ;;
	esac
done
rm -rf -- "$dir" 2>/dev/null || {
	chattr -R -f -i -a "$dir/tree" # a test may have made files immutable
	rm -rf -- "$dir"
}
for left in "$dir" "$@"; do
	[ ! -e "$left" ] || { echo "could not remove $left" >&2 && exit 1; }
done
