#!/usr/bin/env python3
"""Write tests/golden/tokenizers/folder.json: what transformers (5.24.0 when this was made) makes of the files beside a
tokenizer.json: tokens put around a text, and added tokens in each of their places.

usage: tests/golden/make/tokenizer_folder.py"""
import json
import os
import tempfile

from transformers import PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(HERE, "..", "tokenizer.json"), encoding="utf-8") as f:
    BASE = json.load(f)["base"]
N = 1 + max(BASE["model"]["vocab"].values())
TEXTS = ["hello world", "", "a <|im_end|>  b", "x  <new> y<new>", "years <late> z", "the <|im_start|>hello"]
BOS, EOS = "<|im_start|>", "<|im_end|>"
NAMED = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS}


def token(content, **flags):
    return {**dict(content=content, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True), **flags}


def template(single):
    return {"type": "TemplateProcessing", "single": single, "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {BOS: {"id": BOS, "ids": [1], "tokens": [BOS]}}}


WITH_BOS = {"type": "Sequence", "processors": [
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
    template([{"SpecialToken": {"id": BOS, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}])]}
ROBERTA = {"type": "RobertaProcessing", "sep": [EOS, 2], "cls": [BOS, 1], "trim_offsets": True, "add_prefix_space": False}

CASES = [
    ("plain", None, {"tokenizer_config.json": NAMED}),
    ("add-bos", None, {"tokenizer_config.json": {**NAMED, "add_bos_token": True}}),
    ("add-eos", WITH_BOS, {"tokenizer_config.json": {**NAMED, "add_eos_token": True}}),
    ("template", WITH_BOS, {"tokenizer_config.json": NAMED}),
    ("template-off", WITH_BOS, {"tokenizer_config.json": {**NAMED, "add_bos_token": False}}),
    ("roberta", ROBERTA, {"tokenizer_config.json": NAMED}),
    ("decoder", WITH_BOS, {"tokenizer_config.json": {**NAMED, "added_tokens_decoder": {
        "0": token("<|endoftext|>"), "1": token(BOS, lstrip=True), "2": token(EOS, rstrip=True), str(N): token("<new>", lstrip=True, special=False)}}}),
    ("older", None, {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}, "added_tokens.json": {"<late>": N},
                     "special_tokens_map.json": {"bos_token": BOS, "eos_token": EOS, "additional_special_tokens": ["<late>"]}}),
    ("named", None, {"tokenizer_config.json": {**NAMED, "pad_token": "ear"}}),
]

rows = []
for name, processor, files in CASES:
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump({**BASE, "post_processor": processor}, f)
        for file, content in files.items():
            with open(os.path.join(folder, file), "w", encoding="utf-8") as f:
                json.dump(content, f)
        t = PreTrainedTokenizerFast.from_pretrained(folder)
        rows.append({"name": name, "post_processor": processor, "files": files, "ids": [t(x)["input_ids"] for x in TEXTS]})

with open(os.path.join(HERE, "..", "tokenizers", "folder.json"), "w") as f:
    f.write('{\n"texts": %s,\n"cases": [\n%s\n]\n}\n' % (json.dumps(TEXTS), ",\n".join(json.dumps(r) for r in rows)))
