"""Runs the rows of `hone bench` and of the peers turn by turn (ours, the peers', ours again), prints them side by side and
keeps them as JSON and as text.  bench/run.sh calls it; it needs nothing but Python."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

ROWS = ["sft", "sft-lora", "reward", "dpo", "ppo", "ppo-shared", "grpo", "generate-1", "generate-32", "prompt"]
TRL_STEPS = {"sft": 2, "sft-lora": 2, "reward": 2, "dpo": 1, "grpo": 1}  # timed, after one that is not
QUALITY = {"sft": "demonstrations", "reward": "comparisons", "dpo": "comparisons"}
HERE = os.path.dirname(os.path.abspath(__file__))


def machine():
    facts = {"cores": len(os.sched_getaffinity(0))}
    with open("/proc/cpuinfo") as f:
        lines = [line.split(":", 1) for line in f if ":" in line]
    known = {key.strip(): value.strip() for key, value in reversed(lines)}
    facts["cpu"] = known.get("model name", known.get("CPU part", "unknown"))
    flags = known.get("flags", known.get("Features", "")).split()
    facts["flags"] = " ".join(flag for flag in flags if flag.startswith(("avx", "fma", "f16c", "asimd", "sve", "bf16")))
    with open("/proc/meminfo") as f:
        facts["memory_mib"] = int(f.readline().split()[1]) // 1024
    return facts


# ---- running ----


def lines_of(command):
    """The JSON lines that a command prints; RuntimeError with its last words where it fails."""
    lock = os.environ.get("LOCK", "").split()  # such as 'flock FILE', where others measure on the same machine
    done = subprocess.run([*lock, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise RuntimeError(words[-1] if words else f"ended with code {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Peers:
    def __init__(self, folder, forms, model, hone):
        self.folder, self.forms, self.model, self.hone = folder, forms, model, hone

    def python(self, environment):
        if not os.path.exists(os.path.join(self.folder, environment, "installed.txt")):
            raise RuntimeError(f"{environment} is not installed")
        return os.path.join(self.folder, environment, "bin", "python")

    def form(self, environment, name):
        """Where the model stands in a form of the environment's."""
        self.python(environment)
        path = os.path.join(self.forms, name)
        if not os.path.exists(path):
            raise RuntimeError(f"the model was not written as {name}")
        return path

    def run(self, environment, script, *arguments):
        return lines_of([self.python(environment), os.path.join(HERE, "peers", script), *arguments])

    def time_llama(self, what):
        yield "llama.cpp", lambda: self.run("llama", "llama_speed.py", what, self.model, "same file", "3")
        for kind in ("Q8_0", "F16", "BF16", "F32"):
            yield "llama.cpp", lambda: self.run("llama", "llama_speed.py", what,
                                                os.path.join(self.form("llama", "gguf"), kind + ".gguf"), kind, "3")

    def time(self, what):
        """A list of results, or of what went wrong."""
        if what in TRL_STEPS:
            script = "trl_grpo.py" if what == "grpo" else "trl_speed.py"
            jobs = [("trl", lambda: self.run("trl", script, what, self.form("trl", "folder"), str(TRL_STEPS[what])))]
        elif what in ("ppo", "ppo-shared"):
            jobs = [("trl", lambda: self.run("trl-ppo", "trl_ppo.py", self.form("trl-ppo", "folder")))]
        else:
            jobs = self.time_llama(what)
        results = []
        for name, job in jobs:
            try:
                results += job()
            except RuntimeError as error:
                results.append({"what": what, "peer": name, "error": str(error)})
                break  # another format would fail the same way
        return results

    def compare_losses(self, what):
        data = os.path.join(HERE, "..", "examples", "helpdesk", QUALITY[what] + ".jsonl")
        try:
            with tempfile.TemporaryDirectory() as scratch:
                return self.run("trl", "trl_quality.py", what, self.form("trl", "folder"), self.hone, self.model, data, scratch)[0]
        except RuntimeError as error:
            return {"what": what, "peer": "trl", "error": str(error)}


def ours_of(turns):
    """The median of the turns, held against the best peak of any of them."""
    speed = statistics.median(turn["tokens_per_s"] for turn in turns)
    limit = max(turn["limit_tokens_per_s"] for turn in turns)
    row = {"tokens_per_s": speed, "peak_rss_mib": max(turn["peak_rss_mib"] for turn in turns), "limit_tokens_per_s": limit,
           "share_of_limit": speed / limit, "fma_peak_gflops": max(turn["fma_peak_gflops"] for turn in turns)}
    if "read_gb_s" in turns[0]:  # the limit is the memory's
        row["read_gb_s"] = max(turn["read_gb_s"] for turn in turns)
    return row | {"turns": turns}


def measure(what, options, peers, result):
    """One row into result["rows"]; PPO's two rows share the peer's figure."""
    def ours():
        lines = lines_of([options.hone, "bench", "--what", what, "--model", options.model, "--json", "--quiet", *options.more])
        return {line["what"]: line for line in lines}

    turns = [ours()]
    theirs = []
    if peers:
        theirs = peers.time(what)
        turns.append(ours())
    for name in turns[0]:
        result["rows"][name] = {"what": name, "ours": ours_of([turn[name] for turn in turns]), "peers": theirs}


# ---- showing ----

UNQUIET = 0.1  # turns of ours that are further apart than this are shown
FORM = "{:<12} {:<36} {:>9} {:>8} {:>9} {:>8}\n"


def show_row(row):
    ours, limit = row["ours"], row["ours"]["limit_tokens_per_s"]
    same_limit = "read_gb_s" not in ours and row["what"] != "ppo-shared"  # the peer has its own bytes, its own critic
    text = FORM.format(row["what"], "hone", f"{ours['tokens_per_s']:.1f}", "", f"{ours['peak_rss_mib']:.0f}",
                       f"{100 * ours['share_of_limit']:.0f}%")
    speeds = [turn["tokens_per_s"] for turn in ours["turns"]]
    if max(speeds) > (1 + UNQUIET) * min(speeds):
        text += f"{'':<12} (the machine was not quiet: {' and '.join(f'{speed:.1f}' for speed in speeds)} tokens/s)\n"
    good = [peer for peer in row["peers"] if "error" not in peer]
    best = max(good, key=lambda peer: peer["tokens_per_s"], default=None)
    for peer in good:
        if peer is not best and peer.get("format") != "same file":
            continue
        name = ", ".join([peer["peer"], *([peer["format"]] if "format" in peer else []),
                          *(["its best"] if len(good) > 1 and peer is best else [])])
        text += FORM.format("", name, f"{peer['tokens_per_s']:.1f}", f"{ours['tokens_per_s'] / peer['tokens_per_s']:.2f}",
                            f"{peer['peak_rss_mib']:.0f}", f"{100 * peer['tokens_per_s'] / limit:.0f}%" if same_limit else "")
    for peer in row["peers"]:
        if "error" in peer:
            text += f"{'':<12} {peer['peer']} was not measured: {peer['error']}\n"
    return text


def show_quality(loss):
    if "error" in loss:
        return f"{loss['what']:<12} not compared: {loss['error']}\n"
    return (f"{loss['what']:<12} hone {loss['our_last']:.5f}, {loss['peer']} {loss['their_last']:.5f}: "
            f"{loss['apart_percent']:+.4f}% ({'within' if abs(loss['apart_percent']) <= 1 else 'NOT within'} 1%; "
            f"at any step at most {loss['largest_step_apart_percent']:.4f}%); tokens {loss['our_tokens']} and "
            f"{loss['their_tokens']}\n")


def show(result):
    facts = result["machine"]
    rows = [result["rows"][what] for what in ROWS if what in result["rows"]]
    peaks = [row["ours"]["fma_peak_gflops"] for row in rows]
    text = (f"hone {result['commit']} on {facts['cpu']}, {facts['cores']} cores ({facts['flags']})\n"
            f"F32 multiply-add peak {min(peaks):.0f} to {max(peaks):.0f} GFLOPS, one a row; "
            "share: of what it allows, for ours and theirs alike\n"
            "(generate-1: of what the memory allows for our file; ppo-shared: the peer has a critic of its own)\n\n")
    text += FORM.format("what", "", "tokens/s", "ratio", "peak MiB", "share")
    text += "".join(show_row(row) for row in rows)
    if result["quality"]:
        text += ("\nThe same loss after the same steps: mean of the last 3 of 8 steps of 4 rows of examples/helpdesk, LoRA r 16, "
                 "alpha 32, both from one adapter, F32\n")
        text += "".join(show_quality(result["quality"][what]) for what in QUALITY if what in result["quality"])
    return text


def keep(path, text):
    with open(path + ".tmp-turns", "w") as f:
        f.write(text)
    os.replace(path + ".tmp-turns", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hone", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--commit", required=True)
    parser.add_argument("--results", required=True, help="folder of COMMIT.json and COMMIT.txt")
    parser.add_argument("--peers", help="folder of the peers; without it ours alone is measured")
    parser.add_argument("--forms", help="folder of the model in the peers' forms")
    parser.add_argument("--what", help="rows, with commas; also 'losses'; otherwise all")
    options, options.more = parser.parse_known_args()
    peers = Peers(options.peers, options.forms, options.model, options.hone) if options.peers else None
    asked = options.what.split(",") if options.what else ROWS + ["losses"]
    unknown = [what for what in asked if what not in ROWS + ["losses"]]
    if unknown:
        sys.exit(f"bench: --what {unknown[0]}: there is no such row: choose from {', '.join(ROWS + ['losses'])}")
    if "ppo" in asked and "ppo-shared" in asked:
        asked.remove("ppo-shared")  # 'ppo' brings both

    path = os.path.join(options.results, options.commit)
    result = {"commit": options.commit, "machine": machine(), "rows": {}, "quality": {}}
    try:  # rows that were measured before stay
        with open(path + ".json") as f:
            before = json.load(f)
        if before["machine"] == result["machine"]:
            result["rows"], result["quality"] = before["rows"], before["quality"]
    except FileNotFoundError:
        pass

    os.makedirs(options.results, exist_ok=True)
    for what in asked:
        if what != "losses":
            print(f"bench: {what}", file=sys.stderr)
            measure(what, options, peers, result)
        elif peers:
            for method in QUALITY:
                print(f"bench: the losses of {method}", file=sys.stderr)
                result["quality"][method] = peers.compare_losses(method)
        keep(path + ".json", json.dumps(result, indent=1) + "\n")
    text = show(result)
    keep(path + ".txt", text)
    sys.stdout.write(text + f"\nkept as {path}.json and .txt\n")


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as failure:
        sys.exit(str(failure))
