"""What all peers' programs share: threads, generated rows, and the one JSON line that each of them prints."""
import json
import os
import random
import resource
import statistics
import sys
from importlib.metadata import version

THREADS = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
os.environ["OMP_NUM_THREADS"] = str(THREADS)
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# What the libraries print goes to standard error: standard output is the result's.
_result = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def random_rows(n, length, vocabulary, seed):
    """n rows of random token ids.  The first ids are left out: they are the special ones, and padding is one of them."""
    numbers = random.Random(seed)
    return [[numbers.randrange(32, vocabulary) for _ in range(length)] for _ in range(n)]


def report(what, peer, packages, tokens, seconds, **more):
    """seconds: of each timed step; their median counts, as in `hone bench`."""
    line = {
        "what": what,
        "peer": f"{peer} {version(packages[0])}",
        "tokens_per_s": tokens / statistics.median(seconds),
        "seconds": statistics.median(seconds),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": THREADS,
        "versions": {name: version(name) for name in packages},
        **more,
    }
    print(json.dumps(line), file=_result, flush=True)


def write_result(value):
    print(json.dumps(value), file=_result, flush=True)


def stop(sentence):
    print(sentence, file=sys.stderr)
    sys.exit(1)
