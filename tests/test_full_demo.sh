#!/usr/bin/env bash
# hone demo on the real model (HONE_MODEL) with a few rows and tiny recipes: all stages run, and a second run skips them all.
set -euo pipefail
hone=${HONE:-build/hone}
[ -n "${HONE_MODEL:-}" ] || {
    echo 'skipped: HONE_MODEL does not name the real model'
    exit 0
}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
from=examples/helpdesk
mkdir "$out/examples" "$out/recipes"

few() { head -n "$2" "$from/$1" >"$out/examples/$1"; }
few demonstrations.jsonl 4
few demonstrations-heldout.jsonl 2
few comparisons.jsonl 8
few comparisons-second.jsonl 8
few comparisons-heldout.jsonl 8
few prompts.jsonl 2
few prompts-heldout.jsonl 2
head -c 1500 "$from/plain.txt" >"$out/examples/plain.txt"
cp "$from/rubric.yaml" "$from/system.txt" "$out/examples/"
for recipe in sft reward reward-second dpo; do
    printf 'max_steps: 1\nper_device_train_batch_size: 2\nlora_r: 4\n' >"$out/recipes/$recipe.yaml"
done
printf 'iterations: 1\nper_device_train_batch_size: 2\nnum_ppo_epochs: 1\nresponse_length: 8\nlora_r: 4\n' \
    >"$out/recipes/ppo.yaml"

demo() {
    "$hone" demo --model "$HONE_MODEL" --output-dir "$out/demo" --examples "$out/examples" \
        --recipes "$out/recipes" >"$out/stdout" 2>"$out/stderr" || {
        cat "$out/stderr" >&2
        exit 1
    }
}
demo
[ "$(grep -c 'done in' "$out/stderr")" = 7 ]
grep -q 'goals met' "$out/stdout"
[ -s "$out/demo/report.html" ] && [ -s "$out/demo/results.json" ]
demo
[ "$(grep -c 'done before' "$out/stderr")" = 7 ]
rm "$out/demo/dpo/manifest.json"
demo
[ "$(grep -c 'done before' "$out/stderr")" = 6 ]
grep -q 'goes on from its last checkpoint' "$out/stderr"
echo ok
