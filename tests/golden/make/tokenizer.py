#!/usr/bin/env python3
"""Write tokenizer.json: a small byte-level BPE vocabulary of our own, variants of its tokenizer.json, and the ids that Hugging
Face's tokenizers (0.23.3 when this was made) gives for some texts.

usage: tests/golden/make/tokenizer.py > tests/golden/tokenizer.json"""
import copy
import json
import random
import sys
import tempfile

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEXT = """The lamp in the hall was lit before the rain began. She'd left the window open, and we'll never know why;
I'm told it's the habit of 40 years. They've counted 12,345 drops, or so they say. Don't ask what 3.14159 means here.
    for row in rows:\n        total += row["count"] * 2\n    return total\n
Der Fluß führt im Frühling mehr Wasser. L'été, la rivière est à sec. Река течёт на север. 川は北へ流れる。 강은 북쪽으로 흐른다.
The lamp, the hall, the window, the rain: THE LAMP IN THE HALL. Hello hello hello world, world. \t\t tabs\r\n\r\n and spaces   .
""" * 3

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace("{1,3}", "")
PUNCTUATION = r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def byte_level(add_prefix_space=False, use_regex=True):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def digits(individual):
    return {"type": "Digits", "individual_digits": individual}


def added(i, content, **flags):
    token = dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {**token, **flags}


trained = Tokenizer(models.BPE())
trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
trained.decoder = decoders.ByteLevel()
trained.train_from_iterator(
    [TEXT],
    trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    ),
)
base = json.loads(trained.to_str())
N = len(base["model"]["vocab"])
# Like the real thing, one byte (0x04) is missing.
four = base["model"]["vocab"].pop("\u0104")
base["model"]["vocab"]["\u0104\u0104"] = four

variants = {
    "gpt-2": {},
    "smollm": {"pre_tokenizer": sequence(digits(True), byte_level())},
    "prefix-space": {"pre_tokenizer": sequence(digits(False), byte_level(add_prefix_space=True))},
    "llama-bpe": {"pre_tokenizer": sequence(split(LLAMA3), byte_level(use_regex=False)), "model": {"ignore_merges": True}},
    "qwen2": {"normalizer": {"type": "NFC"}, "pre_tokenizer": sequence(split(QWEN2), byte_level(use_regex=False))},
    "several": {
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": sequence(sequence(split(r"\p{N}{1,3}")), split(PUNCTUATION), byte_level(use_regex=False)),
    },
    "removed": {"pre_tokenizer": sequence(split("[aeiou]+", "Removed"), byte_level(use_regex=False))},
    "removed-inverted": {"pre_tokenizer": sequence(split(QWEN2, "Removed", True), byte_level(use_regex=False))},
    "contiguous": {
        "pre_tokenizer": sequence(
            split("l", "Contiguous"), split(" ", "Contiguous", True, "String"), byte_level(use_regex=False)
        )
    },
    "unk": {"model": {"unk_token": "<|endoftext|>", "fuse_unk": False}},
    "fuse-unk": {"model": {"unk_token": "<|endoftext|>", "fuse_unk": True}},
    "merges-as-strings": {"model": {"merges": [" ".join(m) for m in base["model"]["merges"]]}},
    "added": {
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]},
        "added_tokens": base["added_tokens"]
        + [
            added(N, "<l>", lstrip=True),
            added(N + 1, "<r>", rstrip=True, special=True),
            added(N + 2, "<lr>", lstrip=True, rstrip=True),
            added(N + 3, "<w>", single_word=True),
            added(N + 4, "we\u0301", single_word=True, normalized=True),
            added(N + 5, "<n>", normalized=True, lstrip=True),
            added(N + 6, "<|im"),
            added(N + 7, "<|im_start|>x"),
            added(N + 8, "hello"),
            added(N + 9, "hello world"),
        ],
    },
}

texts = [
    "",
    " ",
    "Hello hello world",
    "The lamp, 12345 drops; DON'T we'Ll 'S '\u017f '\u212a",
    "  two  spaces \n \n\t\ttabs\r\n\r\nlines\n",
    "Stra\u00dfe \u00e9t\u00e9 e\u0301te\u0301 \u1100\u1161\u11a8\uac00\u11a8 \u212b \u0958 \u0344 q\u0323\u0307 q\u0307\u0323",
    "\u00bd \u2167 \u00b2 \u0663\u0664 1,000.5",
    "\u180e \u0085\u00a0\u3000\u2028 \u200b\u200d",
    "\u5317\u3078\u6d41\u308c\u308b\u3002 \U0001f642\U0001f468\u200d\U0001f469",
    "\x00\x01\x04\x04 \x04a\x7f",
    "<|im_start|>user\nhello<|im_end|>\n<|im_start|>x<|im_start|><|im",
    "a <l> b <r> c  <lr>  d<w> <w> <w>e _<w> \u00e9<w> we\u0301 w\u00e9 w\u00e9s \t<n> hello world hello",
    "aaaa llll  ll ooo",
    "return total += row[\"count\"]",
]
pieces = [" ", "\n", "'s", "the", " lamp", "L", "ll", "7", "42", "\u0301", "\u00e9", "\u6d41", ".", "!?", "\t", "<r>", "hello"]
random.seed(2385)
texts += ["".join(random.choices(pieces, k=random.randint(2, 14))) for _ in range(24)]

out = []
for name, patch in variants.items():
    whole = copy.deepcopy(base)
    for key, value in patch.items():
        whole[key] = {**whole[key], **value} if key == "model" else value
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(whole, f)
        f.flush()
        tokenizer = Tokenizer.from_file(f.name)
    ids = [tokenizer.encode(t, add_special_tokens=False).ids for t in texts]
    out.append({"name": name, "patch": patch, "ids": ids})


def lines(rows):
    return "[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]"


# One row a line.
sys.stdout.write('{\n"base": %s,\n"texts": %s,\n"variants": %s\n}\n' % (json.dumps(base), lines(texts), lines(out)))
