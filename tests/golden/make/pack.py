"""tests/golden/pack.json: what the gguf package makes of floats, type by type: the floats as hexadecimal of their bytes, and the packed bytes.
Usage: pack.py >tests/golden/pack.json        (gguf 0.17 or later, numpy)"""
import json
import sys

import gguf
import numpy as np

numbers = np.random.default_rng(7)
rows = [numbers.normal(0, s, 32) for s in (1, 0.02, 1e-4, 30, 3e4)]
rows += [np.zeros(32), np.full(32, 0.37), np.full(32, -1e-9), np.linspace(-1, 1, 32), np.linspace(0, 8, 32), -np.linspace(0, 8, 32),
         np.round(numbers.normal(0, 4, 32)) / 2, np.where(np.arange(32) == 9, 5.5, 0.25), numbers.normal(0, 3e-7, 32)]
x = np.stack(rows).astype(np.float32)
types = {"F16": gguf.GGMLQuantizationType.F16, "BF16": gguf.GGMLQuantizationType.BF16, "Q8_0": gguf.GGMLQuantizationType.Q8_0,
         "Q4_0": gguf.GGMLQuantizationType.Q4_0, "Q4_1": gguf.GGMLQuantizationType.Q4_1}
json.dump({"rows": [r.tobytes().hex() for r in x],
           "packed": {name: [gguf.quants.quantize(r[None], t).tobytes().hex() for r in x] for name, t in types.items()}}, sys.stdout, indent=0)
