#!/usr/bin/env bash
# Law 2 between machines: two builds of hone, each perhaps under an emulator, leave the same bytes when they train, sample and
# score the tiny model.  Prints a line a file, and fails where one differs.
# Usage: tests/machines.sh "build/hone" "qemu-aarch64 build-arm/hone"
set -euo pipefail
cd "$(dirname "$0")/.."
export OMP_WAIT_POLICY=passive
golden=$PWD/tests/golden
work=$(mktemp -d "${TMPDIR:-/tmp}/hone-machines-XXXXXX")
trap 'rm -rf "$work"' EXIT

mkdir "$work/tokenizer"
python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["base"], open(sys.argv[2], "w"))' \
    "$golden/tokenizer.json" "$work/tokenizer/tokenizer.json"
cat >"$work/tokenizer/chat_template.jinja" <<'END'
{% for message in messages %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}
END
for i in 1 2 3 4 5 6; do
    echo "{\"prompt\": \"rain number $i\", \"chosen\": \"a lamp, lit $i times\", \"rejected\": \"the hall\"}" >>"$work/pairs.jsonl"
    echo "{\"prompt\": \"the window $i\", \"completion\": \"was open before it began\"}" >>"$work/rows.jsonl"
    echo "{\"prompt\": \"which hall, $i?\"}" >>"$work/prompts.jsonl"
done

run() { # FOLDER PROGRAM: everything with this program
    mkdir "$1"
    cd "$1"
    local base="--model $golden/models/llama --tokenizer ../tokenizer" train="--lora-r 4 --learning-rate 1e-2 --quiet"
    $2 sft $base $train --train-data ../rows.jsonl --max-steps 5 --output-dir sft
    $2 sft $base $train --full --train-data ../rows.jsonl --max-steps 3 --output-dir full
    $2 reward $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir reward
    $2 dpo $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir dpo
    $2 dpo $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir mixed --loss-type aot,bco_pair,apo_zero,sft
    $2 kto $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir kto
    $2 orpo $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir orpo
    $2 cpo $base $train --train-data ../pairs.jsonl --max-steps 5 --output-dir cpo --loss-type alphapo --alpha 0.25 --beta 2
    $2 ppo $base $train --reward reward --train-data ../prompts.jsonl --iterations 3 --response-length 12 --output-dir ppo
    $2 grpo $base $train --reward rule:length:target=4 --train-data ../prompts.jsonl --iterations 3 --max-completion-length 12 --beta 0.04 --output-dir grpo
    $2 logprobs $base --adapter ppo --ids ../rows.jsonl --logits >logprobs 2>/dev/null
    $2 generate $base --adapter dpo --prompts ../prompts.jsonl --max-new-tokens 20 --temperature 0.9 --top-p 0.9 >generate 2>/dev/null
    $2 score $base --reward reward --data ../pairs.jsonl >score 2>/dev/null
    cd "$work"
}
here=$PWD
absolute() { # the words of a line, those that are files as whole paths
    for word in $1; do
        printf '%s ' "$([ -e "$here/$word" ] && realpath "$here/$word" || echo "$word")"
    done
}
a=$(absolute "$1") b=$(absolute "$2")
cd "$work"
run "$work/a" "$a"
run "$work/b" "$b"

status=0
for file in sft/adapter/adapter_model.safetensors full/model/model.safetensors reward/adapter/adapter_model.safetensors \
    {dpo,mixed,kto,orpo,cpo,ppo,grpo}/adapter/adapter_model.safetensors logprobs generate score; do
    if cmp -s "a/$file" "b/$file"; then
        echo "same    $file ($(stat -c %s "a/$file") bytes)"
    else
        echo "DIFFERS $file"
        status=1
    fi
done
exit $status
