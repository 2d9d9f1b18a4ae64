"""Each export of hone, loaded by the tool that it is for: the largest difference between their logits and the truth, which is what
transformers and peft compute from the model and the adapter that hone was given, and the tokens of many texts.
Usage: exports.py HONE     HONE_MODEL=FILE.gguf: that model, too"""
import contextlib
import ctypes
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unicodedata
import warnings

import tokenizers
import torch
import transformers

warnings.filterwarnings("ignore")
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
import peft  # noqa: E402 (transformers is to be silent first)

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "models")
FAMILIES = ("llama", "llama-untied", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "olmo2", "gpt2")
# what a GGUF can only say in a family's own words (docs/families.md): laid over the tiny model's config
GGUF_ONLY = {"gemma3": {"layer_types": ["sliding_attention"] * 3}, "smollm3": {"no_rope_layers": [1, 1, 1]}}
# Phi-3.5's and Phi-4-mini's: a factor a pair, and a part of each head alone is rotated; llama.cpp takes contexts of 256 at least
LONG = {"max_position_embeddings": 4096, "original_max_position_embeddings": 512, "rope_parameters": {
    "rope_theta": 10000.0, "partial_rotary_factor": 0.75, "rope_type": "longrope", "original_max_position_embeddings": 512,
    "short_factor": [1, 1.1, 1.2, 1.5, 1.75, 2], "long_factor": [1, 2, 3, 4, 5, 6]}}
GELU = ("gemma2", "gemma3", "gpt2")
IDS = [5, 300, 17, 44, 211, 8, 129]  # within the tiny models' window of 8
failed = passed = 0


def hone(*words):
    done = subprocess.run([HONE, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return done.stdout


def report(name, difference, limit):
    global failed, passed
    ok = difference <= limit
    passed, failed = passed + ok, failed + (not ok)
    print("%-8s %-44s largest logit difference %.2g (at most %.2g)" % ("ok" if ok else "FAILED", name, difference, limit), flush=True)


def logits_of(model):
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits[0].double()


def causal(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


@contextlib.contextmanager
def silent():
    """llama.cpp's words go nowhere."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def llama_cpp_logits(path):
    import llama_cpp as c
    with silent():
        c.llama_backend_init()
        model = c.llama_model_load_from_file(path.encode(), c.llama_model_default_params())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        params = c.llama_context_default_params()
        params.n_ctx = params.n_batch = 64
        params.type_k = params.type_v = c.GGML_TYPE_F32
        params.flash_attn_type = 0  # disabled: it works with halves
        context = c.llama_init_from_model(model, params)
        batch = c.llama_batch_init(len(IDS), 0, 1)
        batch.n_tokens = len(IDS)
        for i, token in enumerate(IDS):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
            batch.seq_id[i][0] = 0
        if c.llama_decode(context, batch):
            raise RuntimeError(f"llama.cpp does not run {path}")
        n = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
        rows = [list(ctypes.cast(c.llama_get_logits_ith(context, i), ctypes.POINTER(ctypes.c_float * n)).contents) for i in range(len(IDS))]
        c.llama_batch_free(batch)
        c.llama_free(context)
        c.llama_model_free(model)
    return torch.tensor(rows).double()


def spread(a, b):
    return (a - b).abs().max().item()


def family(name, folder, over=None):
    base, lora = os.path.join(MODELS, name), os.path.join(MODELS, name, "lora")
    if over:
        config = {**json.load(open(os.path.join(base, "config.json"))), **over}
        name += "-long"
        shutil.copytree(base, os.path.join(folder, name + "-base"))
        base = os.path.join(folder, name + "-base")
        json.dump(config, open(os.path.join(base, "config.json"), "w"))
    truth = logits_of(peft.PeftModel.from_pretrained(causal(base), lora))
    merged, adapter = os.path.join(folder, name), os.path.join(folder, name + "-adapter")
    hone("export", "--model", base, "--adapter", lora, "--output", merged)
    report(f"{name}: folder in transformers", spread(logits_of(causal(merged)), truth), 5e-5)
    hone("export", "--model", base, "--adapter", lora, "--output", adapter, "--format", "peft")
    report(f"{name}: adapter in peft", spread(logits_of(peft.PeftModel.from_pretrained(causal(base), adapter)), truth), 5e-5)
    if name in GGUF_ONLY:
        config = json.load(open(os.path.join(merged, "config.json")))
        config.update(GGUF_ONLY[name])
        json.dump(config, open(os.path.join(merged, "config.json"), "w"))
        truth = logits_of(causal(merged))
    file = os.path.join(folder, name + ".gguf")
    hone("export", "--model", merged, "--output", file, "--format", "gguf")
    # llama.cpp looks gelu up in a table of halves
    report(f"{name}: GGUF in llama.cpp", spread(llama_cpp_logits(file), truth), 2e-3 if name in GELU else 5e-5)


def types(folder):
    """llama.cpp rounds what is multiplied with, too: the limits are what that costs."""
    base = os.path.join(MODELS, "llama-untied")
    for name, limit in (("f16", 5e-3), ("bf16", 3e-2), ("q8_0", 5e-2), ("q4_0", 1e-1), ("q4_1", 1e-1)):
        file, again = os.path.join(folder, name + ".gguf"), os.path.join(folder, name + "-again")
        hone("export", "--model", base, "--output", file, "--format", "gguf", "--type", name)
        hone("export", "--model", file, "--output", again)
        report(f"llama-untied: {name} GGUF in llama.cpp", spread(llama_cpp_logits(file), logits_of(causal(again))), limit)


def heads(folder):
    """Heads trained by hone, a reward model's and a critic's: what transformers computes with it, and the bias that it has no place for, is the score."""
    rows, run, ids = (os.path.join(folder, name) for name in ("pairs.jsonl", "reward", "ids.jsonl"))
    base, tokenizer = os.path.join(MODELS, "llama"), os.path.join(folder, "tokenizer")
    os.makedirs(tokenizer)
    with open(os.path.join(MODELS, "..", "tokenizer.json"), encoding="utf-8") as f, open(os.path.join(tokenizer, "tokenizer.json"), "w") as out_file:
        json.dump(json.load(f)["base"], out_file)
    with open(os.path.join(tokenizer, "chat_template.jinja"), "w") as f:
        f.write("{% for message in messages %}{{ message['content'] }} {% endfor %}")
    with open(rows, "w") as f:
        f.writelines(json.dumps({"prompt": f"the lamp {i}", "chosen": "was lit", "rejected": "before the rain"}) + "\n" for i in range(24))
    hone("reward", "--model", base, "--tokenizer", tokenizer, "--train-data", rows, "--output-dir", run, "--max-steps", "6",
         "--learning-rate", "1e-2", "--no-normalize-scores", "--quiet")
    policy = os.path.join(folder, "policy")
    hone("ppo", "--model", base, "--tokenizer", tokenizer, "--reward", run, "--train-data", rows, "--output-dir", policy, "--iterations", "2",
         "--learning-rate", "1e-2", "--response-length", "8", "--quiet")
    with open(ids, "w") as f:
        f.write(json.dumps({"prompt_ids": IDS[:3], "completions": [IDS[3:]]}) + "\n")
    for name, head in (("reward model", run), ("critic", os.path.join(policy, "critic"))):
        out = os.path.join(folder, name)
        hone("export", "--model", head, "--output", out)
        score = json.loads(hone("score", "--model", base, "--reward", head, "--data", ids, "--quiet"))["score"]
        model = transformers.AutoModelForSequenceClassification.from_pretrained(out, dtype=torch.float32).eval()
        bias = json.load(open(os.path.join(out, "hone.json")))["score_bias"]
        with torch.no_grad():
            theirs = model(torch.tensor([IDS])).logits.item() + bias
        report(f"llama: {name} in transformers, its score", abs((score[0] if isinstance(score, list) else score) - theirs), 1e-4)


def llama_cpp_ids(path, texts):
    import llama_cpp as c
    with silent():
        params = c.llama_model_default_params()
        params.vocab_only = True
        model = c.llama_model_load_from_file(path.encode(), params)
        if not model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        vocab, room = c.llama_model_get_vocab(model), (ctypes.c_int32 * 8192)()
        ids = []
        for text in texts:
            raw = text.encode()
            ids.append(room[:c.llama_tokenize(vocab, raw, len(raw), room, 8192, False, True)])
        facts = {"bos": c.llama_vocab_bos(vocab), "eos": c.llama_vocab_eos(vocab), "add_bos": c.llama_vocab_get_add_bos(vocab),
                 "template": (c.llama_model_chat_template(model, None) or b"").decode()}
        c.llama_model_free(model)
    return ids, facts


def same_texts(name, ours, theirs, texts, most=0):
    global failed, passed
    wrong = [i for i in range(len(texts)) if ours[i] != theirs[i]]
    ok = len(wrong) <= most
    passed, failed = passed + ok, failed + (not ok)
    print("%-8s %-44s tokens of %d of %d texts differ%s%s" % ("ok" if ok else "FAILED", name, len(wrong), len(texts), f" (at most {most})" if most else "",
          "" if ok else f": {texts[wrong[0]]!r} {ours[wrong[0]]} {theirs[wrong[0]]}"), flush=True)


def golden(*path):
    with open(os.path.join(MODELS, "..", *path), encoding="utf-8") as f:
        return json.load(f)


def random_texts(n):
    """Of the pieces that the tokenizers' own tests take."""
    pool, draw = golden("tokenizers", "texts.json")["pool"], random.Random(1)
    return ["".join(draw.choice(pool) for _ in range(draw.randint(1, 12))) for _ in range(n)]


# of the texts below, so many llama.cpp's own rules of that name cut otherwise than the families' tokenizer.json; it knows no form C either
LLAMA_CPP_DIFFERS = {"deepseek-llm": 1, "falcon": 39, "gpt-4o": 3, "tekken": 3}
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"


def vocabulary(name, tokenizer_json, tiny, folder, texts):
    """A folder's tokenizer in a GGUF, and that one in a folder again."""
    base, file, again = (os.path.join(folder, name + end) for end in ("-text", "-text.gguf", "-text-again"))
    shutil.copytree(tiny, base)
    with open(os.path.join(base, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer_json, f)
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(base, "tokenizer.json"))
    bos, eos = tokenizer.id_to_token(1), tokenizer.id_to_token(2)
    with open(os.path.join(base, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}, f)
    with open(os.path.join(base, "chat_template.jinja"), "w") as f:
        f.write(TEMPLATE)
    hone("export", "--model", base, "--output", file, "--format", "gguf")
    truth = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    composed = [i for i in range(len(texts)) if not tokenizer.normalizer or tokenizer.normalizer.normalize_str("e\u0301") != "\u00e9" or
                unicodedata.is_normalized("NFC", texts[i])]
    ids, facts = llama_cpp_ids(file, [texts[i] for i in composed])
    same_texts(f"{name}: tokenizer in llama.cpp", ids, [truth[i] for i in composed], [texts[i] for i in composed], LLAMA_CPP_DIFFERS.get(name, 0))
    whole = tokenizer.encode("x").ids != tokenizer.encode("x", add_special_tokens=False).ids
    if facts != {"bos": 1, "eos": 2, "add_bos": whole, "template": TEMPLATE}:
        raise RuntimeError(f"{name}: llama.cpp reads {facts}")
    hone("export", "--model", file, "--output", again)
    back = transformers.AutoTokenizer.from_pretrained(again)
    same_texts(f"{name}: and back in transformers", [back(text, add_special_tokens=False)["input_ids"] for text in texts], truth, texts)
    if (back.bos_token, back.eos_token, back.chat_template) != (bos, eos, TEMPLATE):
        raise RuntimeError(f"{name}: transformers reads {back.bos_token}, {back.eos_token}, {back.chat_template}")


def vocabularies(folder):
    tiny = os.path.join(folder, "tiny")
    transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=600, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
                                                           bos_token_id=1, eos_token_id=2)).save_pretrained(tiny)
    texts = [text for text in golden("tokenizers", "texts.json")["texts"] if text] + random_texts(500)
    lists = ((golden("tokenizer.json")["base"], golden("tokenizers", "byte_level.json")["variants"]),
             (golden("tokenizers", "characters.json")["base"],
              [v for v in golden("tokenizers", "characters.json")["variants"] if v["name"] in ("llama-2", "gemma")]))
    for base, variants in lists:
        for v in variants:
            if v["name"] == "kimi-k2":  # hone refuses its tokenizer.json: a pattern with &&
                continue
            whole = {**base, **v["patch"], "model": {**base["model"], **v["patch"].get("model", {})}}
            vocabulary(v["name"], whole, tiny, folder, texts)


def real_model(path, folder):
    """The model of the demo, a GGUF: as a folder, and as a GGUF made of that."""
    texts = random_texts(500) + [json.dumps(row) for row in golden("tokenizers", "texts.json")["texts"]]
    around, file = os.path.join(folder, "real"), os.path.join(folder, "real.gguf")
    hone("export", "--model", path, "--output", around)
    hone("export", "--model", around, "--output", file, "--format", "gguf")
    ids, _ = llama_cpp_ids(path, texts)
    again, _ = llama_cpp_ids(file, texts)
    same_texts("the demo's model: GGUF made of a folder, in llama.cpp", again, ids, texts)
    tokenizer = transformers.AutoTokenizer.from_pretrained(around)
    same_texts("the demo's model: folder made of a GGUF, in transformers", [tokenizer(text)["input_ids"] for text in texts], ids, texts)
    truth = logits_of(causal(around))
    report("the demo's model: GGUF, F32, in llama.cpp", spread(llama_cpp_logits(file), truth), 2e-3)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in FAMILIES:
            family(name, folder)
        family("phi3", folder, LONG)
        types(folder)
        heads(folder)
        vocabularies(folder)
        if os.environ.get("HONE_MODEL"):
            real_model(os.environ["HONE_MODEL"], folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


HONE = sys.argv[1]
if __name__ == "__main__":
    main()
