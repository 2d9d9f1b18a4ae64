#!/usr/bin/env bash
# The architecture: a file under src/ includes only headers of its own folder and of folders below.
# Nothing but src/hub may open a connection (law 10).  Prints each offence as file:line, and fails if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

# From the bottom to the top; folders on one line may include each other.
layers='
util
hub
jinja
kernel
nn
objective
optim
tokenizer
data
model
checkpoint
store
rollout
reward
train
eval
serve web
cmd
'

status=0
grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' src |
    awk -v layers="$layers" '
        BEGIN {
            n = split(layers, lines, "\n")
            for (i = 1; i <= n; i++) {
                k = split(lines[i], names, " ")
                for (j = 1; j <= k; j++)
                    level[names[j]] = i
            }
        }
        {
            split($0, at, ":")
            split(at[1], path, "/")
            match($0, /"[^"]*"/)
            header = substr($0, RSTART + 1, RLENGTH - 2)
            folder = header
            if (!sub("/.*", "", folder)) {
                if (header == "hone.h")
                    next
                why = "includes \"" header "\": write it as \"folder/file.h\""
            } else if (!(path[2] in level))
                why = "the folder " path[2] " has no place in the table of tools/check_layers.sh"
            else if (!(folder in level))
                why = "includes \"" header "\", whose folder has no place in the table of tools/check_layers.sh"
            else if (level[folder] > level[path[2]])
                why = "includes \"" header "\", which stands above " path[2]
            else
                next
            print at[1] ":" at[2] ": " why
            bad = 1
        }
        END { exit bad }' || status=1

if grep -rnE --include='*.[ch]' '^[[:space:]]*#[[:space:]]*include[[:space:]]*<(curl/|sys/socket|netdb|netinet/)' src | grep -v '^src/hub/'; then
    echo "only src/hub opens connections" >&2
    status=1
fi
exit "$status"
