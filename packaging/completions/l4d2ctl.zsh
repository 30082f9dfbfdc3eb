#compdef l4d2ctl
# The program itself answers what can come next, one word on a line with its
# meaning behind a tab.

local line
local -a described unfinished
for line in "${(@f)$(command l4d2ctl complete -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
	case $line in
	'') ;;
	:file)
		[[ $PREFIX == --*=* ]] && compset -P '*='
		_files && return
		;;
	:dir)
		[[ $PREFIX == --*=* ]] && compset -P '*='
		_files -/ && return
		;;
	*/) unfinished+=("$line") ;; # more of it can come
	*) described+=("${line/$'\t'/:}") ;;
	esac
done
(( $#unfinished )) && compadd -S '' -- $unfinished
(( $#described )) && _describe l4d2ctl described
