# bash completion for l4d2ctl: the program itself answers what can come next,
# one word on a line with its meaning behind a tab.

_l4d2ctl() {
	local word
	COMPREPLY=()
	# $2 and not the last of COMP_WORDS: the word up to the cursor
	while IFS=$'\t' read -r word _; do
		case $word in
		:file) compopt -o default ;;
		:dir) compopt -o dirnames ;;
		*/) COMPREPLY+=("$word") && compopt -o nospace ;; # more of it can come
		*) COMPREPLY+=("$word") ;;
		esac
	done < <(command l4d2ctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$2" 2>/dev/null)
} &&
	complete -F _l4d2ctl l4d2ctl
