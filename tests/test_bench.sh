#!/usr/bin/env bash
# hone bench: every row runs on a tiny model and gives positive finite numbers.  No speed is asserted.
set -euo pipefail
hone=${HONE:-build/hone}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
model=tests/golden/models/llama

fail() {
    echo "test_bench: $*" >&2
    exit 1
}

"$hone" bench --what sft,sft-lora,reward,dpo,ppo,grpo,generate-1,generate-32,prompt --model $model --repeats 1 --threads 1 --quiet \
    --json >"$out/rows" 2>"$out/stderr" || fail "exit code $?: $(cat "$out/stderr")"
[ ! -s "$out/stderr" ] || fail "--quiet wrote $(cat "$out/stderr")"

number='[0-9]+([.][0-9]+)?(e[+-]?[0-9]+)?'
for what in sft sft-lora reward dpo ppo ppo-shared grpo generate-1 generate-32 prompt; do
    line=$(grep -F "{\"what\": \"$what\", " "$out/rows") || fail "no row '$what' in: $(cat "$out/rows")"
    more=
    [ $what != generate-1 ] || more=", \"read_gb_s\": $number"
    grep -qE "^\{\"what\": \"$what\", \"tokens_per_s\": $number, \"seconds\": $number, \"peak_rss_mib\": $number, \
\"fma_peak_gflops\": $number, \"limit_tokens_per_s\": $number, \"share_of_limit\": $number$more\}$" <<<"$line" ||
        fail "not as documented: $line"
    tr ',' '\n' <<<"${line%\}}" | awk -F': ' 'NR > 1 && !($2 > 0) { bad = 1 } END { exit bad }' || fail "not positive: $line"
done
[ "$(wc -l <"$out/rows")" = 10 ] || fail "other rows than asked for: $(cat "$out/rows")"

# as a table, in the rows' own order
"$hone" bench --what prompt,generate-1 --model $model --repeats 1 --threads 1 --quiet >"$out/table"
awk '{ print $1 }' "$out/table" | paste -sd' ' | grep -qx 'what generate-1 prompt' || fail "a table: $(cat "$out/table")"

# other shapes: named in the line, and attention counts in the limit
"$hone" bench --what sft-lora,reward,dpo,ppo,grpo,generate-1,generate-32,prompt --model $model --repeats 1 --threads 1 --quiet --json \
    --length 24 --rows 3 --new-tokens 5 --num-generations 2 --recompute >"$out/shapes"
[ "$(wc -l <"$out/shapes")" = 9 ] || fail "other rows than asked for: $(cat "$out/shapes")"
while read -r line; do
    grep -qE "\"length\": 24, \"rows\": 3, \"new_tokens\": 5, \"num_generations\": 2, \"recompute\": true, \"attention_share\": 0[.][0-9]+\}$" \
        <<<"$line" || fail "not as documented: $line"
done <"$out/shapes"
# tokens are the shape's, attention's part is the formula's
awk -F'[:,}] *' '
    /"sft-lora"/ {
        for (i = 1; i < NF; i++)
            value[$i] = $(i + 1)
        work = 4 * (110592 + 32768)
        attention = 3 * 4 * 3 * 64 * (24 + 1) / 2 # forward and backward, 4 FLOP, layers, heads * head_dim, keys that a query sees
        tokens = value["\"tokens_per_s\""] * value["\"seconds\""] / (3 * 24)
        share = value["\"attention_share\""] / (attention / (work + attention))
        found = tokens > 0.999 && tokens < 1.001 && share > 0.999 && share < 1.001
    }
    END { exit !found }' "$out/shapes" || fail "tokens or attention_share are not the shape's: $(cat "$out/shapes")"

# what cannot be run is said before anything is
for bad in gpro no-such-row; do
    code=0
    "$hone" bench --what "sft,$bad" --model $model >"$out/rows" 2>"$out/stderr" || code=$?
    [ $code = 2 ] && [ ! -s "$out/rows" ] && grep -qF -e "--what $bad" "$out/stderr" || fail "$bad: $code, $(cat "$out/stderr")"
done
code=0
"$hone" bench --what sft --model "$out" --quiet >"$out/rows" 2>"$out/stderr" || code=$?
[ $code = 1 ] && grep -q '^hone: bench: sft: ' "$out/stderr" || fail "a folder without a model: $code, $(cat "$out/stderr")"
echo ok
