#!/usr/bin/env bash
# Chat templates other than ChatML, from outside: what tokenize renders, what training learns, stopped and resumed, and what is refused.
# HONE names the program; HONE_MODEL a real model, whose file's template is exchanged: skipped, aloud, where it is absent.
set -euo pipefail
hone=${HONE:-build/hone}
tiny=tests/golden/models/llama
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

fail() {
    echo "test_chat_templates: $*" >&2
    exit 1
}

# expect CODE TEXT ARGUMENTS..: exit code, and TEXT somewhere in what is written; standard input is $in
expect() {
    local code=0
    printf '%s' "${in:-}" | "$hone" "${@:3}" >"$out/stdout" 2>"$out/stderr" || code=$?
    [ "$code" = "$1" ] || fail "hone ${*:3}: exit code $code, expected $1: $(cat "$out/stderr")"
    cat "$out/stdout" "$out/stderr" | grep -qF -e "$2" || fail "hone ${*:3}: no '$2' in: $(cat "$out/stdout" "$out/stderr")"
}

# folder NAME: a tokenizer with the template on standard input
folder() {
    mkdir "$out/$1"
    python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["base"], open(sys.argv[2], "w"))' \
        tests/golden/tokenizer.json "$out/$1/tokenizer.json"
    echo '{"bos_token": "<|endoftext|>", "eos_token": {"content": "<|im_end|>"}}' >"$out/$1/tokenizer_config.json"
    cat >"$out/$1/chat_template.jinja"
}

# ---- BOS around plain text, only where it is asked for ----
mkdir "$out/llama"
python3 -c 'import json, sys; json.dump(json.load(open(sys.argv[1]))["base"], open(sys.argv[2], "w"))' \
    tests/golden/tokenizers/characters.json "$out/llama/tokenizer.json"
in='{"text": "<s>the"}' expect 0 '{"ids": [1, ' tokenize --tokenizer "$out/llama"
bare=$(sed 's/.*"ids": \[1, \([^]]*\)\].*/\1/' "$out/stdout")
in='{"text": "the"}' expect 0 "{\"ids\": [$bare], \"text\": \"the\"}" tokenize --tokenizer "$out/llama"
in='{"text": "the"}' expect 0 "{\"ids\": [1, $bare], \"text\": \"the\"}" tokenize --tokenizer "$out/llama" --add-special-tokens

# ---- templates of our own, in the manner of several families ----
folder turns <<'END'
{{ bos_token }}
{%- if messages[0].role == 'system' %}
    {%- set first = messages[0].content | trim + '\n\n' %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set first = '' %}
{%- endif %}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('turns must alternate') }}
    {%- endif %}
    {{- '[' ~ ('model' if m.role == 'assistant' else m.role) ~ ']' ~ (first if loop.first else '') ~ m.content | trim ~ '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[model]' }}
{%- endif %}
END
folder tools <<'END'
{%- if tools %}
    {{- 'Tools: ' ~ tools | tojson ~ '\n' }}
{%- endif %}
{%- for m in messages %}
    {{- '[' ~ m.role ~ ']' ~ m.content }}
    {%- for call in m.tool_calls or [] %}
        {{- '<call>' ~ call.function.name ~ call.function.arguments | tojson ~ '</call>' }}
    {%- endfor %}
    {{- eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '[assistant]' ~ ('' if enable_thinking is undefined or enable_thinking else '(no thoughts)') }}
{%- endif %}
END
folder thinks <<'END'
{% for m in messages %}[{{ m.role }}]{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant]<think>{% endif %}
END
folder index <<'END'
{% for i in range(messages | length) %}[{{ messages[i].role }}]{{ messages[i].content }}<|im_end|>{% endfor %}
END
folder odd <<'END'
{% for m in messages %}
{{ m.content | wordwrap(10) }}
{% endfor %}
END

talk='{"messages": [{"role": "system", "content": " Be kind. "}, {"role": "user", "content": "Hi\n"}, {"role": "assistant", "content": "Lamp"}, {"role": "user", "content": "Rain?"}]}'
in=$talk expect 0 '"text": "<|endoftext|>[user]Be kind.\n\nHi<|im_end|>\n[model]Lamp<|im_end|>\n[user]Rain?<|im_end|>\n"' \
    tokenize --tokenizer "$out/turns"
in=$talk expect 0 '[user]Rain?<|im_end|>\n[model]"' tokenize --tokenizer "$out/turns" --add-generation-prompt
in='{"messages": [{"role": "assistant", "content": "a"}]}' \
    expect 1 "line 1: the chat template: line 10: the template refuses: turns must alternate" tokenize --tokenizer "$out/turns"
in='{"messages": [{"role": "user", "content": "go"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]}, {"role": "tool", "content": "2", "name": "f"}], "tools": [{"name": "f"}], "chat_template_kwargs": {"enable_thinking": false}}' \
    expect 0 '"text": "Tools: [{\"name\": \"f\"}]\n[user]go<|im_end|>[assistant]<call>f{\"x\": 1}</call><|im_end|>[tool]2<|im_end|>[assistant](no thoughts)"' \
    tokenize --tokenizer "$out/tools" --add-generation-prompt
in='{"messages": [{"role": "user", "content": null}]}' expect 1 'message 1 must be' tokenize --tokenizer "$out/tools"
in='{"messages": [{"role": "user", "content": "a"}], "tools": 5}' expect 1 'the field "tools" must be a list' tokenize --tokenizer "$out/tools"
in=$talk expect 1 "line 2: the filter 'wordwrap' is not supported" tokenize --tokenizer "$out/odd"
in=$talk expect 0 '"text": "[system] Be kind. <|im_end|>' tokenize --tokenizer "$out/index"

# ---- training: the answers are learnt, and nothing else; stopped and resumed it leaves the same bytes ----
for i in 1 2 3 4 5 6; do
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"the window $i\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"was open\"}]}" >>"$out/rows.jsonl"
    echo "{\"prompt\": \"rain number $i\", \"chosen\": \"a lamp, lit $i times\", \"rejected\": \"the hall\"}" >>"$out/pairs.jsonl"
    echo "{\"prompt\": [{\"role\": \"user\", \"content\": \"go $i\"}], \"completion\": [{\"role\": \"assistant\", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": $i}}}]}], \"tools\": [{\"name\": \"f\"}]}" >>"$out/calls.jsonl"
done
expect 0 'completions with end token' inspect "$out/rows.jsonl" --tokenizer "$out/turns" --rows 1
tail -n 12 "$out/stdout" | grep -qF '[<|im_end|>][\n]' || fail "inspect: the end of the turn is no target: $(cat "$out/stdout")"
base=(--model "$tiny" --lora-r 4 --learning-rate 1e-2 --quiet)
learn=(sft "${base[@]}" --tokenizer "$out/turns" --train-data "$out/rows.jsonl" --max-steps 60)
"$hone" "${learn[@]}" --output-dir "$out/whole"
"$hone" "${learn[@]}" --save-steps 2 --output-dir "$out/stopped" &
pid=$!
until [ -e "$out/stopped/checkpoints/latest" ]; do
    kill -0 $pid 2>/dev/null || fail "sft ended without a checkpoint"
    sleep 0.01
done
kill -9 $pid
wait $pid 2>/dev/null || true
[ ! -e "$out/stopped/adapter/adapter_model.safetensors" ] || fail "sft was not stopped before its end: give it more steps"
"$hone" "${learn[@]}" --save-steps 2 --output-dir "$out/stopped" --resume
cmp "$out/whole/adapter/adapter_model.safetensors" "$out/stopped/adapter/adapter_model.safetensors" || fail "resumed, sft leaves other bytes"
"$hone" dpo "${base[@]}" --tokenizer "$out/tools" --train-data "$out/pairs.jsonl" --max-steps 2 --output-dir "$out/dpo"
"$hone" sft "${base[@]}" --tokenizer "$out/tools" --train-data "$out/calls.jsonl" --max-steps 2 --output-dir "$out/calls"
"$hone" generate --model "$tiny" --tokenizer "$out/turns" --prompts "$out/rows.jsonl" --max-new-tokens 4 --quiet >"$out/answers"
[ "$(wc -l <"$out/answers")" = 6 ] || fail "generate: not an answer a row"
expect 1 "the prompt's tokens are not the beginning of the tokens of prompt and completion" \
    sft "${base[@]}" --tokenizer "$out/thinks" --train-data "$out/rows.jsonl" --max-steps 1 --output-dir "$out/no"
expect 1 "it cannot be told what of the text is message 1: the chat template does not write it in a loop over the messages" \
    sft "${base[@]}" --tokenizer "$out/index" --train-data "$out/rows.jsonl" --max-steps 1 --output-dir "$out/no"
[ ! -e "$out/no/adapter" ] || fail "a refused run left an adapter"

# ---- the template of a GGUF file ----
if [ ! -f "${HONE_MODEL:-}" ]; then
    echo "test_chat_templates: HONE_MODEL is not there: the template of a GGUF file is skipped"
    exit 0
fi
python3 - "$HONE_MODEL" "$out/other.gguf" <<'END'
"""The model with another template, of the same length."""
import struct
import sys

data = bytearray(open(sys.argv[1], "rb").read())
key = b"tokenizer.chat_template"
at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key)
kind, n = struct.unpack_from("<IQ", data, at)
assert kind == 8
new = b"{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{{ eos_token }}{% endfor %}"
new += b"{% if add_generation_prompt %}[assistant]{% endif %}"
data[at + 12:at + 12 + n] = new + b"{#" + b" " * (n - len(new) - 4) + b"#}"
open(sys.argv[2], "wb").write(data)
END
in='{"messages": [{"role": "user", "content": " Hi\n"}]}' \
    expect 0 '"text": "<|im_start|>[user]Hi<|im_end|>[assistant]"' tokenize --model "$out/other.gguf" --add-generation-prompt
expect 0 '"generation_prompt":"[assistant]","end_of_turn":"<|im_end|>"' inspect "$out/other.gguf" --json
