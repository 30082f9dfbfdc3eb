# fish completion for l4d2ctl: the program itself answers what can come next,
# one word on a line with its meaning behind a tab.

function __l4d2ctl_complete
    set -l before (commandline --tokenize --current-process --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    for line in (command l4d2ctl complete -- $before[2..-1] "$current" 2>/dev/null)
        set -l flag (string match --regex -- '^--[^=]*=' "$current")
        set -l path (string replace --regex -- '^--[^=]*=' '' "$current")
        switch $line
            case :file
                string replace --regex -- '^' "$flag" (__fish_complete_path "$path")
            case :dir
                string replace --regex -- '^' "$flag" (__fish_complete_directories "$path")
            case '*'
                echo $line
        end
    end
end

complete --command l4d2ctl --no-files --arguments '(__l4d2ctl_complete)'
