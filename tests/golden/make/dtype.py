"""What the PyPI package gguf makes of stored blocks.  For each block type three blocks of our own, with the floats that gguf.quants unpacks from them, and the SHA-256 of
the floats of 2,048 more, whose bytes a generator of one line makes here and in the test.  And the sizes of all types.
Usage: dtype.py OUT.json"""
import hashlib
import importlib.metadata
import json
import sys

import gguf
import numpy as np

# where a block's halves are: of any other bits the numbers would soon be infinite
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
MANY = 2048


def generated(n, seed):
    out = bytearray()
    x = seed
    for _ in range(n):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(x >> 24)
    return out


def finite(blocks, size, halves):
    """Each half below 2: its exponent's highest bit is taken away."""
    for at in range(0, len(blocks), size):
        for h in halves:
            blocks[at + h + 1] &= 0xbf
    return bytes(blocks)


def with_halves(byte, size, halves, values):
    block = bytearray([byte] * size)
    for h, v in zip(halves, values):
        block[h:h + 2] = v.to_bytes(2, "little")
    return bytes(block)


def floats(kind, data):
    return gguf.quants.dequantize(np.frombuffer(data, np.uint8), kind).astype("<f4").tobytes()


types = {}
for name, halves in HALVES.items():
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    subnormal = bytearray(generated(size, 3))
    for h, v in zip(halves, (0x8003, 0x0205)):  # -3 and 517 of the smallest there are
        subnormal[h:h + 2] = v.to_bytes(2, "little")
    blocks = [finite(generated(size, 1), size, halves), bytes(subnormal),
              with_halves(0xff, size, halves, (0xbe00, 0x3c01))]  # all bits; -1.5 and a little above 1
    many = finite(generated(MANY * size, 7), size, halves)
    types[name] = {"halves": halves, "blocks": [b.hex() for b in blocks], "floats": [floats(kind, b).hex() for b in blocks],
                   "many": MANY, "sha256": hashlib.sha256(floats(kind, many)).hexdigest()}
sizes = {str(t.value): [t.name, *gguf.GGML_QUANT_SIZES[t]] for t in gguf.GGMLQuantizationType}
out = {"gguf": importlib.metadata.version("gguf"), "types": types, "sizes": sizes}
open(sys.argv[1], "w").write(json.dumps(out, indent=1) + "\n")
