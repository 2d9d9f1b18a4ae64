#!/usr/bin/env bash
# Every recipe of recipes/small, run for real by the line in its comment: on the help desk's rows, or, where it wants problems or steps, on
# sums and differences that a seeded script makes.  Shorter than it says: at most STEPS steps or ITERATIONS iterations; three members
# of an ensemble, which adapt the last six layers; 16 prompts for those that only sample.  Before them SFT and a reward model by their own recipes.
# The curves are drawn as recipes.svg, a table is printed and kept.  Runs that are there are gone on with.
# Usage: bench/recipes.sh [FOLDER]
#   HONE=build/hone, STEPS=20, ITERATIONS=8, SUMS=30 (iterations on the sums), SEED=1, THREADS; ONLY="dpo kto": these recipes alone.
#   About an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-runs/recipes}
repository=$PWD
hone=$(realpath "${HONE:-build/hone}")
M=$(realpath "$(tools/get-model.sh)")
export M
python3 bench/recipes.py make "$folder"
for part in desk sums; do
    [ -e "$folder/$part/recipes" ] || ln -s "$repository/recipes" "$folder/$part/recipes"
done
system=$(cat examples/helpdesk/system.txt)

run() { # RECIPE PART LINE: once
    local name=$1 part=$2 line=$3 command=${1%%-*}
    [ "$command" != online ] || command=online-dpo
    local flags=(--seed "${SEED:-1}" --threads "${THREADS:-0}")
    [ "$part" != desk ] || flags+=(--system "$system")
    case $command in
    generate) flags+=(--prompts few.jsonl) ;;
    ppo | grpo | rloo | online-dpo)
        local iterations=${ITERATIONS:-8}
        [ "$part" = desk ] || iterations=${SUMS:-30}
        flags+=(--iterations "$iterations" --resume)
        ;;
    *)
        flags+=(--max-steps "${STEPS:-20}" --resume)
        [ "$command" = reward ] || [ "$command" = sft ] || flags+=(--eval-data heldout.jsonl)
        ;;
    esac
    if [ "$name" = reward-ensemble ]; then # members that share a trunk start from a model, not from an adapter on one
        flags+=(--ensemble 3 --layers-from 24)
        line=${line/--model runs\/sft/--model \$M}
    fi
    [ ! -e "$folder/done/$part-$name" ] || return 0
    [ -z "${ONLY:-}" ] || [[ " $ONLY " == *" $name "* ]] || return 0
    echo "$name" >&2
    line=${line/#hone /\"$hone\" }
    TIMEFORMAT='%U'
    (
        cd "$folder/$part"
        { time eval "${line% >*} \"\${flags[@]}\"" >"$name.out" 2>>"$name.log"; } 2>"$name.time" || {
            tail -n 3 "$name.log" >&2
            exit 1
        }
    )
    touch "$folder/done/$part-$name"
}
line_of() { sed -n 's/^#  *\(hone .*--config recipes.*\)/\1/p' "recipes/small/$1.yaml" | head -n 1; }

run sft desk "$(line_of sft)"
run reward desk "$(line_of reward)"
run sft sums "$(line_of sft)"
for recipe in recipes/small/*.yaml; do
    name=$(basename "$recipe" .yaml)
    line=$(line_of "$name")
    part=desk
    [[ $line != *problems.jsonl* && $line != *steps.jsonl* ]] || part=sums
    run "$name" "$part" "$line"
done
for name in sft grpo dr-grpo dapo gspo; do # the held-out sums, answered greedily
    [ -n "${ONLY:-}" ] || [ -e "$folder/sums/answers-$name.jsonl" ] || {
        "$hone" generate --model "$folder/sums/runs/$name" --prompts "$folder/sums/heldout.jsonl" --temperature 0 --max-new-tokens 24 --quiet \
            >"$folder/part"
        mv "$folder/part" "$folder/sums/answers-$name.jsonl"
    }
done
[ -n "${ONLY:-}" ] || {
    python3 bench/recipes.py table "$folder" | tee "$folder/table.txt"
    python3 bench/recipes.py plot "$folder" >"$folder/recipes.svg"
}
