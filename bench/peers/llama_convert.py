"""Writes a GGUF file in the other formats that llama.cpp is timed with.  Usage: llama_convert.py FILE.gguf FOLDER"""
import os
import sys

import common
import llama_cpp

FORMATS = {"F32": llama_cpp.LLAMA_FTYPE_ALL_F32, "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
           "BF16": llama_cpp.LLAMA_FTYPE_MOSTLY_BF16, "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0}

file, folder = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
for name, kind in FORMATS.items():
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = kind
    settings.nthread = common.THREADS
    settings.allow_requantize = True
    to = os.path.join(folder, name + ".gguf")
    if llama_cpp.llama_model_quantize(file.encode(), (to + ".part").encode(), settings) != 0:
        common.stop(f"llama_convert: llama.cpp did not convert '{file}' to {name}")
    os.rename(to + ".part", to)
