#!/usr/bin/env bash
# The commands that do not train, from outside: tokenize, logprobs, generate, score, chat, inspect.
# HONE names the program; HONE_SHARED the folder of golden values and HONE_MODEL a real model: what needs one that is
# absent is skipped, aloud.  Numbers are compared by python3 (its standard library alone).
set -euo pipefail
hone=${HONE:-build/hone}
shared=${HONE_SHARED:-../shared}
models=tests/golden/models
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export out
# threads that spin while they wait would fight over a busy machine
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

# expect CODE TEXT ARGUMENTS..: exit code, and TEXT somewhere in what is written, runs of spaces aside; standard input is empty or $in
expect() {
    local code=0
    printf '%s' "${in:-}" | "$hone" "${@:3}" >"$out/stdout" 2>"$out/stderr" || code=$?
    [ "$code" = "$1" ] || fail "hone ${*:3}: exit code $code, expected $1: $(cat "$out/stderr")"
    cat "$out/stdout" "$out/stderr" | tr -s ' ' | grep -qF -e "$2" || fail "hone ${*:3}: no '$2' in: $(cat "$out/stdout" "$out/stderr")"
    [ "$code" = 0 ] || [ ! -s "$out/stdout" ] || fail "hone ${*:3}: failed, but wrote to standard output"
    [ "$code" = 0 ] || [ "$(grep -c '^hone: ' "$out/stderr")" = 1 ] || fail "hone ${*:3}: not one line: $(cat "$out/stderr")"
}

fail() {
    echo "test_cli_tools: $*" >&2
    exit 1
}

same() {
    cmp -s "$1" "$2" || fail "$3: $1 and $2 differ: $(diff "$1" "$2" | head -4)"
}

# ---- wrong input: one line with place and reason, exit 1 (2 for usage), nothing on standard output ----
tiny=$models/llama
expect 2 "--model is missing" tokenize
expect 2 "did you mean '--add-generation-prompt'" tokenize --model "$tiny" --add-generation-promt
expect 1 "'/no/such' is not there" tokenize --model /no/such
expect 1 "has no tokenizer.json: give one with --tokenizer" tokenize --model "$tiny"
expect 2 "--ids is missing" logprobs --model "$tiny"
expect 1 "cannot open '/no/such'" logprobs --model "$tiny" --ids /no/such
expect 1 "is no adapter" logprobs --model "$tiny" --adapter "$tiny" --ids -
in='{"input_ids": [1, 512]}' expect 1 "line 1: token id 512 is outside the model's vocabulary of 512" logprobs --model "$tiny" --ids -
in='{"input_ids": [1], "prompt_length": 2}' expect 1 'line 1: the field "prompt_length" is 2' logprobs --model "$tiny" --ids -
in='{"input_ids": []}' expect 1 'line 1: the list in "input_ids" is empty' logprobs --model "$tiny" --ids -
in='{"text": "a"}' expect 1 "no tokenizer: give one with --tokenizer" logprobs --model "$tiny" --ids -
in='{"input_ids": [1]}
{"input_ids": [1' expect 1 "line 2: the row breaks off" logprobs --model "$tiny" --ids -
long=$(printf '1,%.0s' {1..256})
in="{\"input_ids\": [${long}1]}" expect 1 "more than the 256 positions" logprobs --model "$tiny" --ids -
in='{"input_ids": [1]}' expect 1 "lower --max-new-tokens" generate --model "$tiny" --prompts - --max-new-tokens 256
in='{"input_ids": [-1]}' expect 1 "entry 1 is no token id" generate --model "$tiny" --prompts -
in='{"prompt": "a"}' expect 1 "no tokenizer" generate --model "$tiny" --prompts -
expect 2 "--temperature is 1e-09: it must be 0" generate --model "$tiny" --prompts - --temperature 1e-9
expect 2 "--top-p is 0, out of range" generate --model "$tiny" --prompts - --top-p 0
expect 2 "--reward is missing" score --model "$tiny" --data -
in='{"input_ids": [1]}' expect 1 "has no head (score.weight)" score --model "$tiny" --reward "$tiny" --data -
expect 1 "has no tokenizer.json" chat --model "$tiny"
expect 2 "PATH is missing" inspect
expect 1 "'/no/such' is not there" inspect /no/such
expect 1 "is a folder with neither" inspect tests

# ---- inspect ----
expect 0 "parameters 143,808" inspect "$tiny"
expect 0 "update norm 4.564" inspect "$tiny/lora" --model "$tiny"
expect 0 "name it with --model" inspect "$tiny/lora"
in='{"prompt": "a", "chosen": "b", "rejected": "b"}
{"prompt": "a", "chosen": "", "rejected": "b"}
{"prompt": "a", "chosen": "b", "rejected": "b"}' expect 0 "line 1: both answers are the same" inspect -
grep -q 'rows that cannot be used *1$' "$out/stdout" || fail "inspect: the row without an answer is not counted"
grep -q 'duplicates *1$' "$out/stdout" || fail "inspect: the duplicate is not counted"

# ---- one set of weights, one set of bits: generate against itself and against logprobs ----
for i in 1 2 3; do
    echo "{\"id\": \"p$i\", \"input_ids\": [$i, 17, $((40 + i)), 99, 4]}"
done >"$out/prompts.jsonl"
sample() {
    "$hone" generate --model "$tiny" --adapter "$tiny/lora" --prompts "$out/prompts.jsonl" --num-generations 4 --max-new-tokens 12 \
        --temperature 0.8 --quiet "$@"
}
sample --threads 1 --slots 1 >"$out/one.jsonl"
[ "$(wc -l <"$out/one.jsonl")" = 12 ] || fail "generate: 3 prompts with 4 answers did not give 12 lines"
for flags in "--threads 2" "--slots 5 --threads 2" "--no-pack"; do
    # shellcheck disable=SC2086
    sample $flags >"$out/other.jsonl"
    same "$out/one.jsonl" "$out/other.jsonl" "generate $flags"
done
sed -n 2p "$out/prompts.jsonl" >"$out/alone.jsonl"
"$hone" generate --model "$tiny" --adapter "$tiny/lora" --prompts "$out/alone.jsonl" --num-generations 4 --max-new-tokens 12 \
    --temperature 0.8 --quiet | sed 's/"index": 0/"index": 1/' >"$out/other.jsonl"
sed -n 5,8p "$out/one.jsonl" >"$out/second.jsonl"
same "$out/second.jsonl" "$out/other.jsonl" "generate: a prompt alone and among others"

command -v python3 >/dev/null || {
    echo "test_cli_tools: no python3: numbers are not compared" >&2
    exit 0
}

# sampled PROMPTS ANSWERS: rows {"prompt_ids", "completions"} for logprobs
cat >"$out/check.py" <<'PY'
import json, math, os, struct, sys

def rows(path):
    return [json.loads(line) for line in open(path)]

def put(path, list_):
    with open(path, "w") as f:
        f.writelines(json.dumps(row) + "\n" for row in list_)

def near(got, want, tolerance, what):
    assert len(got) == len(want), (what, len(got), len(want))
    for i, (g, w) in enumerate(zip(got, want)):
        assert abs(g - w) <= tolerance, (what, i, g, w)

def to_trees(prompts, answers, to):
    answers, k = rows(answers), len(rows(answers)) // len(rows(prompts))
    put(to, [{"prompt_ids": p.get("input_ids") or p["ids"], "completions": [a["ids"] for a in answers[i * k:(i + 1) * k]]}
             for i, p in enumerate(rows(prompts))])

def same_logprobs(answers, logprobs):
    """To the last bit: the numbers are printed so that they read back the same."""
    got = [c["token_logprobs"] for row in rows(logprobs) for c in row["completions"]]
    assert got == [a["logprobs"] for a in rows(answers)], "logprobs are not those that generate sampled at"

def golden_rows(model, to):
    d = json.load(open(model + "/expected.json"))
    put(to, [{"input_ids": ids[:n], "prompt_length": p} for ids, n, p in zip(d["input_ids"], d["length"], d["prompt"])])

def golden(model, expected, got):
    d, want, got = json.load(open(model + "/expected.json")), json.load(open(expected)), rows(got)
    counts = [n - p for n, p in zip(d["length"], d["prompt"])]
    for b, row in enumerate(got):
        assert len(row["token_logprobs"]) == d["length"][b] - 1
        near(row["logits_last"], want["logits_last"][b], 2e-5, "logits")
        if "token_logprobs" in want:
            near(row["token_logprobs"], want["token_logprobs"][b], 2e-5, "log-probs")
    nll = sum(row["nll"] * n for row, n in zip(got, counts)) / sum(counts)
    near([nll], [want["nll"]], 2e-5, "nll")

def greedy_row(model, to):
    put(to, [{"input_ids": json.load(open(model + "/expected.json"))["greedy"]["prompt"]}])

def greedy(model, got):
    want = json.load(open(model + "/expected.json"))["greedy"]["completion"]
    row = rows(got)[0]
    assert row["ids"] == want, (row["ids"], want)
    assert row["completion"] == "" and row["finish_reason"] == "length" and "sample" not in row

def head(model, lora, to):
    """The adapter with a head, as PEFT stores one."""
    data = open(lora + "/adapter_model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + n]), data[8 + n:]
    weights = struct.pack("<64f", *(math.sin(i) / 8 for i in range(64)))
    header["base_model.model.score.weight"] = {"dtype": "F32", "shape": [1, 64], "data_offsets": [len(body), len(body) + 256]}
    text = json.dumps(header).encode()
    os.makedirs(to)
    open(to + "/adapter_model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + body + weights)
    config = json.load(open(lora + "/adapter_config.json"))
    json.dump(dict(config, base_model_name_or_path=model), open(to + "/adapter_config.json", "w"))
    json.dump({"score_bias": 0.5, "tie_parameter": 0}, open(to + "/hone.json", "w"))

def scores(both, one, alone):
    both, one, alone = rows(both), rows(one), rows(alone)
    for b, o in zip(both, one):
        lists = isinstance(o["score"], list)
        for k in range(len(o["score"]) if lists else 1):
            pick = (lambda row, key: row[key][k]) if lists else (lambda row, key: row[key])
            assert pick(o, "scores") == [pick(o, "score")] and pick(o, "std") == 0
            pair = pick(b, "scores")
            mean = sum(pair) / 2
            near([pick(b, "score"), pick(b, "std")], [mean, abs(pair[0] - pair[1]) / 2], 1e-6, "ensemble")
            assert pair[0] == pick(o, "score")
    assert alone[0]["score"] == one[1]["score"], "a row's score depends on the others"
    assert one[0]["score"] == one[2]["score"][0], "a score depends on the prompt's other completions"

def trl_rewards(expected, got):
    want = json.load(open(expected))["results"]["reward"]["steps"][0]
    flat = [x for row in rows(got)[:4] for x in row["score"]]
    near([min(flat), sum(flat) / len(flat), max(flat)], [want["min_reward"], want["mean_reward"], want["max_reward"]], 1e-6, "rewards")

def real_prompts(golden, to):
    put(to, [{"prompt": r["prompt"]} for r in json.load(open(golden))["results"]])

def real_greedy(golden, got):
    for r, row in zip(json.load(open(golden))["results"], rows(got)):
        assert row["ids"] == r["greedy_ids"], (r["prompt"], row["ids"], r["greedy_ids"])
        end = "<|im_end|>"
        assert row["completion"] == (r["text"][:-len(end)] if r["text"].endswith(end) else r["text"])
        assert row["finish_reason"] == ("stop" if r["text"].endswith(end) else "length")
        near(row["logprobs"], r["completion_logprobs"], 2e-4, r["prompt"])

def token_rows(cases, to):
    put(to, [{"text": c["text"]} for c in json.load(open(cases))["cases"]])

def tokens(cases, got):
    for c, row in zip(json.load(open(cases))["cases"], rows(got)):
        assert row == {"ids": c["ids"], "text": c["text"]}, (row, c)

globals()[sys.argv[1]](*sys.argv[2:])
PY
check() {
    python3 -I "$out/check.py" "$@"
}

check to_trees "$out/prompts.jsonl" "$out/one.jsonl" "$out/trees.jsonl"
"$hone" logprobs --model "$tiny" --adapter "$tiny/lora" --ids "$out/trees.jsonl" --temperature 0.8 --quiet >"$out/logprobs.jsonl"
check same_logprobs "$out/one.jsonl" "$out/logprobs.jsonl"

# ---- golden values ----
for model in llama llama-untied llama3; do
    check golden_rows "$models/$model" "$out/rows.jsonl"
    "$hone" logprobs --model "$models/$model" --ids "$out/rows.jsonl" --logits --quiet >"$out/got.jsonl"
    check golden "$models/$model" "$models/$model/expected.json" "$out/got.jsonl"
    "$hone" logprobs --model "$models/$model" --adapter "$models/$model/lora" --ids "$out/rows.jsonl" --logits --quiet >"$out/got.jsonl"
    check golden "$models/$model" "$models/$model/lora/expected.json" "$out/got.jsonl"
    check greedy_row "$models/$model" "$out/rows.jsonl"
    "$hone" generate --model "$models/$model" --prompts "$out/rows.jsonl" --temperature 0 --max-new-tokens 16 --quiet >"$out/got.jsonl"
    check greedy "$models/$model" "$out/got.jsonl"
done

# ---- scores ----
check head "$tiny" "$tiny/lora" "$out/reward-a"
check head "$tiny" "$tiny/lora" "$out/reward-b"
echo '{"score_bias": -2, "tie_parameter": 0}' >"$out/reward-b/hone.json"
cat >"$out/rows.jsonl" <<'ROWS'
{"prompt_ids": [1, 2, 3], "completions": [[4, 5]]}
{"prompt_ids": [9, 8], "completions": [[7]]}
{"prompt_ids": [1, 2, 3], "completions": [[4, 5], [6]]}
ROWS
score() {
    "$hone" score --model "$tiny" --quiet "$@"
}
score --reward "$out/reward-a" --data "$out/rows.jsonl" >"$out/score-one.jsonl"
score --reward "$out/reward-a" --reward "$out/reward-b" --data "$out/rows.jsonl" >"$out/score-two.jsonl"
sed -n 2p "$out/rows.jsonl" | score --reward "$out/reward-a" --data - >"$out/score-alone.jsonl"
check scores "$out/score-two.jsonl" "$out/score-one.jsonl" "$out/score-alone.jsonl"

if [ -d "$shared/golden/trl" ]; then
    trl=$shared/golden/trl
    "$hone" score --model "$trl/model" --reward "$trl/reward-model" --data "$trl/pairs.json" --quiet >"$out/got.jsonl"
    check trl_rewards "$trl/expected.json" "$out/got.jsonl"
    expect 0 "completions with end token 24" inspect "$trl/pairs.json" --model "$trl/model" --rows 1
    grep -qF -e '[B][oil][ it][.][<|im_end|>][\n]' "$out/stdout" || fail "inspect: the mask is not shown"
    in='{"messages": [{"role": "robot", "content": "a"}]}' expect 1 "line 1: message 0 has the role 'robot'" tokenize --model "$trl/model"
    in='{"messages": [{"role": "user"}]}' expect 1 "line 1: message 1 must be" tokenize --model "$trl/model"
    in='{"messages": [{"role": "user", "content": "Hi"}]}' expect 0 '<|im_end|>\n<|im_start|>assistant\n"}' \
        tokenize --model "$trl/model" --add-generation-prompt
    in='{"text": "Hi<|im_end|>"}' expect 0 '{"ids": [26843, 2], "text": "Hi<|im_end|>"}' tokenize --tokenizer "$trl/model"
    in='Hi
/undo
/undo
/hlp
/system Be brief.
/quit
never sent' expect 0 "system message: Be brief." chat --model "$trl/model" --max-new-tokens 3
    grep -q 'there is no /hlp: did you mean /help?' "$out/stderr" || fail "chat: a wrong command is not explained"
    grep -q 'there is nothing to take back' "$out/stderr" || fail "chat: an empty conversation could be taken back"
    [ "$(grep -c '^took back' "$out/stderr")" = 1 ] || fail "chat: /undo"
else
    echo "test_cli_tools: '$shared/golden/trl' is not there: text rows, TRL's rewards and chat are skipped" >&2
fi

# ---- the real model ----
if [ -z "${HONE_MODEL:-}" ] || [ ! -d "$shared/golden/smollm2-135m" ]; then
    echo "test_cli_tools: no HONE_MODEL or no '$shared/golden/smollm2-135m': the real model is skipped" >&2
    exit 0
fi
real=$shared/golden/smollm2-135m
check token_rows "$real/tokenizer.json" "$out/rows.jsonl"
"$hone" tokenize --model "$HONE_MODEL" "$out/rows.jsonl" >"$out/got.jsonl"
check tokens "$real/tokenizer.json" "$out/got.jsonl"

check real_prompts "$real/greedy.json" "$out/rows.jsonl"
"$hone" generate --model "$HONE_MODEL" --prompts "$out/rows.jsonl" --temperature 0 --max-new-tokens 48 --quiet >"$out/got.jsonl"
check real_greedy "$real/greedy.json" "$out/got.jsonl"

python3 -I -c '
import json, sys
for i, row in enumerate(list(open(sys.argv[1]))[:3]):
    print(json.dumps({"id": f"q{i}", "messages": [{"role": "user", "content": json.loads(row)["prompt"]}]}))' "$out/rows.jsonl" \
    >"$out/prompts.jsonl"
sample() {
    "$hone" generate --model "$HONE_MODEL" --num-generations 4 --max-new-tokens 12 --quiet "$@"
}
sample --prompts "$out/prompts.jsonl" --threads 1 >"$out/one.jsonl"
sample --prompts "$out/prompts.jsonl" --threads 2 --slots 5 >"$out/other.jsonl"
same "$out/one.jsonl" "$out/other.jsonl" "generate with 1 and 2 threads"
sed -n 3p "$out/prompts.jsonl" | sample --prompts - | sed 's/"index": 0/"index": 2/' >"$out/other.jsonl"
sed -n 9,12p "$out/one.jsonl" >"$out/third.jsonl"
same "$out/third.jsonl" "$out/other.jsonl" "generate alone and among others"
"$hone" tokenize --model "$HONE_MODEL" --add-generation-prompt "$out/prompts.jsonl" >"$out/ids.jsonl"
check to_trees "$out/ids.jsonl" "$out/one.jsonl" "$out/trees.jsonl"
for threads in 1 2; do
    "$hone" logprobs --model "$HONE_MODEL" --ids "$out/trees.jsonl" --threads $threads --quiet >"$out/logprobs.jsonl"
    check same_logprobs "$out/one.jsonl" "$out/logprobs.jsonl"
    while read -r row; do
        echo "$row" | "$hone" logprobs --model "$HONE_MODEL" --ids - --threads $threads --quiet
    done <"$out/trees.jsonl" >"$out/other.jsonl"
    same "$out/logprobs.jsonl" "$out/other.jsonl" "logprobs alone and in a batch"
done
