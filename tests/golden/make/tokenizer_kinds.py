#!/usr/bin/env python3
"""Write tests/golden/tokenizers/*.json: small tokenizers of every kind, trained on sentences of our own, and what Hugging Face's
tokenizers (0.23.3 when this was made) and SentencePiece (0.2.3) make of many texts.

usage: tests/golden/make/tokenizer_kinds.py

A text's ids, and what they decode to, are kept as the CRC-32 of their decimal numbers with commas, or of the bytes;
random texts, made in the same way here and in the test, as one for 20 of them."""
import base64
import copy
import functools
import io
import json
import os
import tempfile
import zlib

import sentencepiece
from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "tokenizers")
SPACE = "\u2581"

SENTENCES = """The lamp in the hall was lit before the rain began, and nobody knew who had lit it.
She had left the window open; the curtains were wet, the floor was wet, the letters on the table were wet.
He counted 12345 drops on the glass, or 67 890, and wrote the number down in a small blue book.
Hello world, hello hall, hello lamp: whoever reads this line has read the whole book.
Der Fluss f\u00fchrt im Fr\u00fchling mehr Wasser als im Herbst, sagt der M\u00fcller.
L'\u00e9t\u00e9, la rivi\u00e8re est \u00e0 sec et les enfants la traversent \u00e0 pied.
\u0420\u0435\u043a\u0430 \u0442\u0435\u0447\u0451\u0442 \u043d\u0430 \u0441\u0435\u0432\u0435\u0440.
\u5ddd\u306f\u5317\u3078\u6d41\u308c\u308b\u3002 \u96e8\u304c\u964d\u308b\u3002
\u0e41\u0e21\u0e48\u0e19\u0e49\u0e33\u0e44\u0e2b\u0e25\u0e44\u0e1b\u0e17\u0e32\u0e07\u0e40\u0e2b\u0e19\u0e37\u0e2d
\u0627\u0644\u0646\u0647\u0631 \u064a\u062c\u0631\u064a \u0646\u062d\u0648 \u0627\u0644\u0634\u0645\u0627\u0644
for row in rows: total += row["count"] * 2; return total
The rain, the hall, the window: THE RAIN IN THE HALL. It is told again and again, it is told it is told.
""".splitlines()

TEXTS = [
    "",
    " ",
    "   ",
    "Hello world",
    " Hello  world ",
    "The lamp in the hall was lit.\n\nShe had left the window open.\n",
    "\ttabs\t\tand\r\n\r\nlines \n \n  ",
    "12345 67,890.5 3.14159 1000000 \u0663\u0664 \u00bd \u2167 \u00b2",
    "DON'T we'Ll I'm 'S it's O'Neil '\u017f",
    "Stra\u00dfe FR\u00dcHLING \u00e9t\u00e9 e\u0301te\u0301 \u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "a\u0323\u0307 q\u0307\u0323 \u1100\u1161\u11a8 \uac01 \u212b \u0958 \u0344 \u0301a",
    "\ufb01le \uff21\uff22\uff23 \u3392 \u2460 x\u00b2 \u00a0nbsp\u3000wide \u2026 \u00a8 \ufdfa",
    "\u5ddd\u306f\u5317\u3078\u6d41\u308c\u308b\u3002\u96e8\u304c\u964d\u308b\u3002\u30ab\u30bf\u30ab\u30ca",
    "\uac15\uc740 \ubd81\ucabd\uc73c\ub85c \ud750\ub978\ub2e4. \u4e2d\u6587\uff0c\u6a19\u9ede\uff01",
    "\u0e41\u0e21\u0e48\u0e19\u0e49\u0e33\u0e44\u0e2b\u0e25\u0e44\u0e1b\u0e17\u0e32\u0e07\u0e40\u0e2b\u0e19\u0e37\u0e2d",
    "\u0627\u0644\u0646\u0647\u0631 \u064a\u062c\u0631\u064a \u0646\u062d\u0648 \u0627\u0644\u0634\u0645\u0627\u0644\u060c \u0648\u0644\u0627 \u064a\u0639\u0648\u062f\u061f",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u094d\u0937",
    "\U0001f642 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea\U0001f1eb \u2764\ufe0f \U0001f44d\U0001f3fd",
    "\u0001\u0002\u0007\u001b[0m \u007f \u0085 \u200b\u200d\ufeff\u180e\u2028\u2029",
    "word " * 12 + "w" * 90,
    "\u2581\u2581lamp \u2581 hall\u2581",
    "<s>Hello</s> <unk> <s> x</s>y",
    "<|end|> <|user|>\n hello <|end|>\n\n <extra>x <extra>  word lamp wordy sword <0x41> <0x0A>",
    "hello  <extra><extra> <sep> and<sep>",
    "def f(x):\n    return x**2  # comment\n\n\n\tif a != b: pass",
    "http://example.org/a_b?c=d&e=f#g user@example.org C++ $5.00 <b>bold</b>",
    "\u00b5g \u01bb \u0294 \u24b6 \u1e9e \u1d00 \ua727 \ufb01 \U00010400\U00010428",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "!!!???...,,;;--__((()))[[]]{{}}``~~^^",
    "\n",
    "\n\n\nx",
    "x\n",
    "the the  the   the    the",
]
POOL = [" ", " ", "  ", "\n", "\t", "\r\n", "the", "The", " lamp", " hall", "HALL", "hello", "rain", "it is told", "'s", "'LL", "7", "42",
        "12345", ".", ",", "!?", "--", "(", "_", "$", "\u0301", "\u0323", "\u00e9", "\u00fc", "\u5ddd", "\u306f", "\u30ab", "\uac01",
        "\u0e41\u0e21", "\u0e48", "\u0627\u0644", "\u0928\u092e", "\u094d", "\U0001f642", "\u200d", "\ufe0f", "\ufb01", "\uff21", "\u00bd",
        "\u2460", "\u00a0", "\u3000", "\u2581", "\u0420\u0435", "<s>", "</s>", "<|end|>", "<extra>", "<sep>", "w", "word", "\u0130", "\u00df"]
RANGES = [[0x21, 0x7E], [0x21, 0x7E], [0xA1, 0x17F], [0x300, 0x32F], [0x391, 0x3A1], [0x3B1, 0x3C9], [0x410, 0x44F], [0x5D0, 0x5EA],
          [0x621, 0x64A], [0x915, 0x939], [0xE01, 0xE2E], [0x1E00, 0x1EFF], [0x2010, 0x2027], [0x2100, 0x2138], [0x2460, 0x24FF],
          [0x3041, 0x3096], [0x30A1, 0x30FA], [0x4E00, 0x9FA5], [0xAC00, 0xD7A3], [0xFF01, 0xFF5E], [0x1F600, 0x1F64F]]
RANDOM = 1000
BLOCK = 20


def of_ids(ids):
    return "".join(f"{i}," for i in ids).encode()


@functools.cache
def random_texts(pool):
    """The test makes the same ones."""
    x = 2385

    def below(n):
        nonlocal x
        x = (x * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (x >> 33) % n

    texts = []
    for _ in range(RANDOM):
        s = ""
        for _ in range(1 + below(20)):
            if below(3):
                s += pool[below(len(pool))]
            else:
                a, b = RANGES[below(len(RANGES))]
                s += chr(a + below(b - a + 1))
        texts.append(s)
    return texts


def expectations(encode, decode, pool=POOL):
    """SentencePiece (decode may be None) has no tokens that are found in text, so what looks like one is left out (null)."""
    own = pool is not POOL
    ids = [None if own and ("<" in t or SPACE in t) else encode(t) for t in TEXTS]
    out = {"ids": [None if i is None else zlib.crc32(of_ids(i)) for i in ids]}
    if decode:
        out["decoded"] = [None if i is None else zlib.crc32(decode(i).encode()) for i in ids]
    blocks, block = [], b""
    for n, text in enumerate(random_texts(tuple(pool)), 1):
        i = encode(text)
        block += of_ids(i) + b";" + (decode(i).encode() if decode else b"")
        if n % BLOCK == 0:
            blocks.append(zlib.crc32(block))
            block = b""
    out["random"] = blocks
    return out


def hf(tokenizer_json):
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as f:
        json.dump(tokenizer_json, f)
        f.flush()
        return Tokenizer.from_file(f.name)


def patched(base, patch):
    whole = copy.deepcopy(base)
    for key, value in patch.items():
        whole[key] = {**whole[key], **value} if key == "model" else value
    return whole


def variants_of(base, patches):
    out = []
    for name, patch in patches.items():
        t = hf(patched(base, patch))
        row = {"name": name, "patch": patch}
        row.update(expectations(lambda s: t.encode(s, add_special_tokens=False).ids, lambda i: t.decode(i, skip_special_tokens=False)))
        whole = t.encode("hello").ids
        bare = t.encode("hello", add_special_tokens=False).ids
        row["whole"] = whole
        assert bare, name
        out.append(row)
    return out


def write(name, value):
    """A row a line, but for what is short."""
    parts = []
    for key, v in value.items():
        if isinstance(v, list):
            parts.append(json.dumps(key) + ": [\n" + ",\n".join(json.dumps(r) for r in v) + "\n]")
        else:
            parts.append(json.dumps(key) + ": " + json.dumps(v))
    with open(os.path.join(OUT, name), "w") as f:
        f.write("{\n" + ",\n".join(parts) + "\n}\n")


def train(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 4), model_writer=model, hard_vocab_limit=False, character_coverage=0.98,
        minloglevel=2, num_threads=1, **options)
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()), model.getvalue()


def pieces(sp):
    n = sp.get_piece_size()
    kind = lambda i: (2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 5 if sp.is_unused(i) else 1)
    return {"tokens": [sp.id_to_piece(i) for i in range(n)], "scores": [sp.get_score(i) for i in range(n)],
            "types": [kind(i) for i in range(n)]}


def merges_of(p):
    """As transformers converts SentencePiece's BPE: every cut of a token into two, the best score first."""
    known = {t: i for i, t in enumerate(p["tokens"])}
    rows = []
    for token, i in known.items():
        if p["types"][i] != 1:
            continue
        local = [(token[:c], token[c:]) for c in range(1, len(token)) if token[:c] in known and token[c:] in known]
        local.sort(key=lambda ab: (known[ab[0]], known[ab[1]]))
        rows += [(p["scores"][i], ab) for ab in local]
    rows.sort(key=lambda r: r[0], reverse=True)
    return [list(ab) for _, ab in rows]


def added(i, content, **flags):
    token = dict(id=i, content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False)
    return {**token, **flags}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def metaspace(scheme, split_it=False):
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split_it}


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def around(prefix=(), suffix=()):
    names = list(prefix) + list(suffix)
    piece = lambda name: {"SpecialToken": {"id": name[0], "type_id": 0}}
    single = [piece(x) for x in prefix] + [{"Sequence": {"id": "A", "type_id": 0}}] + [piece(x) for x in suffix]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in names}}


FALLBACK = {"type": "ByteFallback"}
FUSE = {"type": "Fuse"}
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
LLAMA_DECODER = sequence("decoders", replace(SPACE, " "), FALLBACK, FUSE, STRIP)
LEGACY = sequence("normalizers", {"type": "Prepend", "prepend": SPACE}, replace(" ", SPACE))


def characters():
    options = dict(model_type="bpe", vocab_size=560, byte_fallback=True, normalization_rule_name="identity",
                   remove_extra_whitespaces=False, split_digits=True, allow_whitespace_only_pieces=True)
    sp, _ = train(**options)
    p = pieces(sp)
    n = len(p["tokens"])
    base = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, p["tokens"][i], special=True) for i in range(3)],
        "normalizer": LEGACY, "pre_tokenizer": None, "post_processor": around([("<s>", 1)]), "decoder": LLAMA_DECODER,
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(p["tokens"])}, "merges": merges_of(p)},
    }
    more = base["added_tokens"] + [
        added(n, "<|end|>", rstrip=True, special=True), added(n + 1, "<|user|>", rstrip=True, special=True),
        added(n + 2, "<extra>", normalized=True), added(n + 3, "<sep>", lstrip=True), added(n + 4, "word", single_word=True),
        added(n + 5, "lamp", single_word=True, normalized=True),
    ]
    gemma = {"normalizer": replace(" ", SPACE), "pre_tokenizer": split(" ", "MergedWithPrevious", kind="String"),
             "decoder": sequence("decoders", replace(SPACE, " "), FALLBACK, FUSE)}
    no_bytes = {"byte_fallback": False}
    plain = {"normalizer": None, "decoder": sequence("decoders", replace(SPACE, " "), FALLBACK, FUSE)}
    patches = {
        "llama-2": {},
        "phi-3": {"added_tokens": more},
        "llama-first": {"normalizer": None, "pre_tokenizer": metaspace("first"), "added_tokens": more},
        "mistral-always": {"normalizer": None, "pre_tokenizer": metaspace("always"), "added_tokens": more},
        "never": {"normalizer": None, "pre_tokenizer": metaspace("never"), "decoder": metaspace("never"), "added_tokens": more},
        "metaspace-split": {"normalizer": None, "pre_tokenizer": metaspace("first", True), "decoder": metaspace("first"), "added_tokens": more},
        "gemma": gemma,
        "gemma-added": {**gemma, "added_tokens": more, "post_processor": around([("<s>", 1)], [("</s>", 2)])},
        "unk": {"model": {**no_bytes, "fuse_unk": False}},
        "fused-unk": {"model": no_bytes},
        "no-unk": {"model": {**no_bytes, "unk_token": None}},
        "ignore-merges": {**plain, "pre_tokenizer": split(" ", "MergedWithNext", kind="String"), "model": {"ignore_merges": True}},
        "nfc": {**plain, "normalizer": {"type": "NFC"}},
        "nfd": {**plain, "normalizer": {"type": "NFD"}},
        "nfkc": {**plain, "normalizer": {"type": "NFKC"}, "added_tokens": more},
        "nfkd-lower": {**plain, "normalizer": sequence("normalizers", {"type": "NFKD"}, {"type": "Lowercase"}), "added_tokens": more},
        "lower": {**plain, "normalizer": {"type": "Lowercase"}},
        "accents": {**plain, "normalizer": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Strip", "strip_left": True, "strip_right": False})},
        "strip-right": {**plain, "normalizer": {"type": "Strip", "strip_left": False, "strip_right": True}, "added_tokens": more},
        "replace-regex": {**plain, "normalizer": sequence("normalizers", replace(r"\s{2,}", SPACE, "Regex"), replace("[aeiou]", "", "Regex"))},
        "whitespace": {**plain, "pre_tokenizer": {"type": "Whitespace"}},
        "whitespace-split": {**plain, "pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always", True)), "added_tokens": more},
        "digits": {**plain, "pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, {"type": "Punctuation", "behavior": "Contiguous"})},
        "next": {**plain, "pre_tokenizer": split(r"\p{P}|\s", "MergedWithNext")},
        "previous": {**plain, "pre_tokenizer": split(r"\p{P}|\s", "MergedWithPrevious")},
        "next-inverted": {**plain, "pre_tokenizer": split(r"\p{L}+|\d", "MergedWithNext", True)},
        "previous-inverted": {**plain, "pre_tokenizer": split(r"\p{L}+|\d", "MergedWithPrevious", True)},
    }
    for b in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        patches["punctuation-" + b.lower()] = {**plain, "pre_tokenizer": {"type": "Punctuation", "behavior": b}}
    write("characters.json", {"base": base, "variants": variants_of(base, patches)})
    bare = [x for x in POOL if "<" not in x and SPACE not in x]
    rows = {}
    bare_prefix, _ = train(**options, add_dummy_prefix=False)
    for name, other in {"prefix": sp, "no-prefix": bare_prefix}.items():
        rows[name] = {**pieces(other), **expectations(other.encode, other.decode, bare)}
    return bare, rows


RULES = {"\uff21": "A", "\uff22": "B", "\uff23": "C", "\ufb01": "fi", "\u2026": "...", "\u00a0": " ", "\u3000": " ", "\n": " ", "\t": " ",
         "\r": " ", "\u200b": "", "e\u0301": "\u00e9", "\u0301": "", "\u2460": "1", "\u00bd": "1/2", "\u30ab": "\u304b", "a\u0323\u0307": "a",
         "\u1100\u1161\u11a8": "\uac01", "\u0923\u094d": "N", "\u2764": "<3", "\u0001": "",
         "q": "Q", "q\u0307": "K"}


def unigram(bare, spm):
    rules = tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8", delete=False)
    with rules as f:
        for a, b in RULES.items():
            f.write(" ".join(f"{ord(c):X}" for c in a) + "\t" + " ".join(f"{ord(c):X}" for c in b) + "\n")
    options = dict(model_type="unigram", vocab_size=330, normalization_rule_tsv=rules.name, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    sp, proto = train(**options)
    with_bytes, _ = train(**{**options, "vocab_size": 560}, byte_fallback=True)
    os.unlink(rules.name)
    from sentencepiece import sentencepiece_model_pb2 as pb

    parsed = pb.ModelProto.FromString(proto)
    charsmap = base64.b64encode(parsed.normalizer_spec.precompiled_charsmap).decode()
    p, q = pieces(sp), pieces(with_bytes)
    n = len(p["tokens"])
    base = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [added(i, p["tokens"][i], special=True) for i in range(3)],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": charsmap}, "pre_tokenizer": metaspace("always", True),
        "post_processor": around([], [("</s>", 1)]), "decoder": metaspace("always", True),
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [list(x) for x in zip(p["tokens"], p["scores"])], "byte_fallback": False},
    }
    more = base["added_tokens"] + [added(n, "<extra>", normalized=True), added(n + 1, "<|end|>", rstrip=True, special=True),
                                   added(n + 2, "<sep>", lstrip=True), added(n + 3, "word", single_word=True)]
    squeezed = sequence("normalizers", {"type": "Precompiled", "precompiled_charsmap": charsmap},
                        {"type": "Strip", "strip_left": False, "strip_right": True}, replace(" {2,}", SPACE, "Regex"))
    tied = [[t, -1.0 * len(t) if i > 2 else 0.0] for i, t in enumerate(p["tokens"])]
    # Letters that only longer tokens have, and scores above 0: the cost of an unknown decides.
    lone = [[t + "#" if t in "aeot" else t, 0.5 + 0.25 * (i % 7) * len(t)] for i, t in enumerate(p["tokens"])]
    patches = {
        "t5": {},
        "t5-added": {"added_tokens": more},
        "xlm-r": {"normalizer": squeezed, "added_tokens": more, "post_processor": around([("<pad>", 0)], [("</s>", 1)])},
        "whitespace-split": {"pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("always", True))},
        "unsplit": {"normalizer": None, "pre_tokenizer": metaspace("first"), "decoder": metaspace("first"), "added_tokens": more},
        "ties": {"model": {"vocab": tied}},
        "lone": {"model": {"vocab": lone}},
        "bytes": {"model": {"byte_fallback": True, "vocab": [list(x) for x in zip(q["tokens"], q["scores"])]},
                  "decoder": sequence("decoders", FALLBACK, metaspace("always", True))},
    }
    write("unigram.json", {"base": base, "variants": variants_of(base, patches)})
    for name, model in {"t5": sp, "t5-bytes": with_bytes}.items():
        spm[name] = {**pieces(model), "charsmap": charsmap, **expectations(model.encode, None, bare)}
    return spm


CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
CASED = r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + r"+@|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*@"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377"
    "\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556"
    "\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15"
    "\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113"
    "\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184"
    "\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e"
    "\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
HAN = "&&[^\\p{Han}]]"


def byte_levels():
    with open(os.path.join(HERE, "..", "tokenizer.json"), encoding="utf-8") as f:
        base = json.load(f)["base"]
    level = lambda use_regex: {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}
    one = lambda *patterns: {"pre_tokenizer": sequence("pretokenizers", *[split(x) for x in patterns], level(False))}
    digits = {"pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, level(True))}
    nfc = {"normalizer": {"type": "NFC"}}
    whole = {"model": {"ignore_merges": True}}
    kimi = r"[\p{Han}]+|" + CASED.replace(UPPER, UPPER[:-1] + HAN).replace(LOWER, LOWER[:-1] + HAN).replace("@", CONTRACTIONS + "?")
    patches = {
        "gpt-2": {"pre_tokenizer": level(True)},
        "olmo": {"pre_tokenizer": level(True), **nfc},
        "smollm": digits,
        "command-r": {**digits, **nfc},
        "llama-bpe": {**one(LLAMA3), **whole},
        "dbrx": one(LLAMA3),
        "qwen2": {**one(LLAMA3.replace("{1,3}", "")), **nfc},
        "qwen35": {**one(LLAMA3.replace("{1,3}", "").replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")), **nfc},
        "deepseek-llm": one("[\r\n]", "\\s?[" + DEEPSEEK_LETTERS + "]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                            "\\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}+"),
        "deepseek-coder": one("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"),
        "deepseek-v3": one(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
                           "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                           "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
        "falcon": {"pre_tokenizer": sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, level(True),
                                             {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]"))},
        "gpt-4o": one(CASED.replace("@", CONTRACTIONS + "?") + r"|\p{N}{1,3}" + REST),
        "tekken": {**one(CASED.replace("@", "") + r"|\p{N}" + REST), **whole},
        "bloom": one(BLOOM),
        "viking": one(BLOOM, r"\p{N}"),
        "kimi-k2": one(kimi + r"|\p{N}{1,3}" + REST.replace("/", "")),
        "bailingmoe": one(r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"),
        "seed-coder": one(CONTRACTIONS + "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"),
        "exaone-moe": one(CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"),
        "minicpm5": {**one(r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")), **whole},
    }
    write("byte_level.json", {"variants": variants_of(base, patches)})


def main():
    os.makedirs(OUT, exist_ok=True)
    write("texts.json", {"texts": TEXTS, "pool": POOL, "ranges": RANGES})
    bare, spm = characters()
    spm = unigram(bare, spm)
    write("spm.json", {"pool": bare, "models": [{"name": k, **v} for k, v in spm.items()]})
    byte_levels()


main()
