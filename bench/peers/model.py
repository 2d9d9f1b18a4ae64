"""Writes a GGUF file's model as a Hugging Face folder in F32, so that the peers start quickly.
Usage: model.py FILE.gguf FOLDER"""
import json
import os
import sys

import common  # noqa: F401: before transformers, for its settings
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

file, folder = sys.argv[1:]
place = {"pretrained_model_name_or_path": os.path.dirname(file), "gguf_file": os.path.basename(file)}
unpacked = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)

# A model that came from quantised blocks refuses to be saved: a plain one takes over its weights.
config = unpacked.config
del config.quantization_config
plain = AutoModelForCausalLM.from_config(config)
plain.load_state_dict(unpacked.state_dict())
plain.save_pretrained(folder)
AutoTokenizer.from_pretrained(**place).save_pretrained(folder)

# transformers 4 looks for this key where 5 writes rope_parameters.
path = os.path.join(folder, "config.json")
with open(path) as f:
    written = json.load(f)
written["rope_theta"] = written["rope_parameters"]["rope_theta"]
with open(path, "w") as f:
    json.dump(written, f, indent=2)
