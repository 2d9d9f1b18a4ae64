"""Times llama.cpp on the shapes of `hone bench`, through its C interface.  Decoded tokens are random ones: drawing them
from the logits, which ours does, costs this peer nothing.
Usage: llama_speed.py generate-1|generate-32|prompt MODEL.gguf FORMAT REPEATS"""
import sys
import time

import common
import llama_cpp as llama

PROMPT, NEW, LONG_PROMPT = 64, 64, 512


class Streams:
    """n sequences in one context."""

    def __init__(self, model, n, positions):
        settings = llama.llama_context_default_params()
        settings.n_ctx = n * positions
        settings.n_seq_max = n
        settings.n_batch = max(LONG_PROMPT, n * PROMPT)
        settings.n_threads = settings.n_threads_batch = common.THREADS
        self.context = llama.llama_init_from_model(model, settings)
        if not self.context:
            common.stop("llama_speed: llama.cpp made no context")
        self.n = n
        self.batch = llama.llama_batch_init(settings.n_batch, 0, 1)

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def decode(self, rows, start):
        """rows[s]: the next tokens of sequence s, at positions from `start`; logits after the last of them."""
        b, at = self.batch, 0
        for s, row in enumerate(rows):
            for i, token in enumerate(row):
                b.token[at], b.pos[at], b.n_seq_id[at], b.seq_id[at][0] = token, start + i, 1, s
                b.logits[at] = i == len(row) - 1
                at += 1
        b.n_tokens = at
        code = llama.llama_decode(self.context, b)
        llama.llama_synchronize(self.context)
        if code != 0:
            common.stop(f"llama_speed: llama_decode said {code}")


def run_decoding(streams, prompts, continuations):
    streams.clear()
    streams.decode(prompts, 0)
    started = time.monotonic()
    for i in range(NEW):
        streams.decode([[row[i]] for row in continuations], PROMPT + i)
    return time.monotonic() - started


def run_prompt(streams, prompts):
    streams.clear()
    started = time.monotonic()
    streams.decode(prompts, 0)
    return time.monotonic() - started


what, file, kind, repeats = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
llama.llama_backend_init()
net = llama.llama_model_load_from_file(file.encode(), llama.llama_model_default_params())
if not net:
    common.stop(f"llama_speed: llama.cpp cannot load '{file}'")
vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(net))
if what == "prompt":
    tokens, job = LONG_PROMPT, Streams(net, 1, LONG_PROMPT)
    work = [common.random_rows(1, LONG_PROMPT, vocabulary, 1)]
    run = run_prompt
else:
    count = int(what.removeprefix("generate-"))
    tokens, job = count * NEW, Streams(net, count, PROMPT + NEW)
    work = [common.random_rows(count, PROMPT, vocabulary, 1), common.random_rows(count, NEW, vocabulary, 2)]
    run = run_decoding
run(job, *work)  # warms up
common.report(what, "llama-cpp-python", ["llama-cpp-python"], tokens,
              [run(job, *work) for _ in range(repeats)], format=kind)
