"""tests/golden/families.json: what transformers computes for texts longer than a tile of attention (64 positions), where windows begin and end
inside tiles, and for each way to stretch rotary frequencies.  The weights are those of tests/golden/models; `config` is laid over a model's
config.json.
Usage: families.py >tests/golden/families.json        (torch 2.13, transformers 5.24)"""
import json
import os
import sys
import tempfile

import torch
import transformers

HERE = os.path.join(os.path.dirname(__file__), "..", "models")
N = 150
ROPE = {"rope_theta": 10000.0}


def long(pairs):
    """Longrope, whose short list counts here: the texts are shorter than its original positions."""
    return {"short_factor": [1 + 0.05 * i for i in range(pairs)], "long_factor": [1 + 2.0 * i for i in range(pairs)]}


CASES = [
    ("llama", {}), ("mistral", {}), ("mistral", {"sliding_window": 70}), ("mistral", {"sliding_window": 64}), ("gemma2", {}),
    ("gemma2", {"sliding_window": 65}), ("gemma3", {}), ("gemma3", {"sliding_window": 100}), ("qwen3", {}), ("phi3", {}), ("smollm3", {}),
    ("olmo2", {}), ("gpt2", {}), ("qwen2", {"use_sliding_window": True, "sliding_window": 33, "max_window_layers": 1, "layer_types": None}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 4.0}}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1500}}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "beta_fast": 20.0, "beta_slow": 2.0,
                                   "truncate": False}}),
    ("llama", {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "mscale": 0.7,
                                   "mscale_all_dim": 1.3}}),
    ("phi3", {"rope_parameters": {**ROPE, "rope_type": "longrope", **long(8), "original_max_position_embeddings": 160}, "max_position_embeddings": 4096,
              "original_max_position_embeddings": 160}),
    ("phi3", {"rope_parameters": {**ROPE, "partial_rotary_factor": 0.5, "rope_type": "default"}}),
    # as older folders have it
    ("phi3", {"rope_parameters": None, "rope_theta": 10000.0, "rope_scaling": {"type": "longrope", **long(6)}, "partial_rotary_factor": 0.75,
              "max_position_embeddings": 4096, "original_max_position_embeddings": 160}),
]


def main():
    torch.manual_seed(0)
    out = []
    ids = [(i * i * 37 + 11 * i) % 500 + 3 for i in range(N)]
    for name, over in CASES:
        config = json.load(open(os.path.join(HERE, name, "config.json")))
        config = {key: value for key, value in {**config, **over}.items() if value is not None}
        with tempfile.TemporaryDirectory() as folder:
            json.dump(config, open(os.path.join(folder, "config.json"), "w"))
            os.symlink(os.path.abspath(os.path.join(HERE, name, "model.safetensors")), os.path.join(folder, "model.safetensors"))
            model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        model.eval()
        x = torch.tensor([ids])
        logp = torch.log_softmax(model(x).logits[0, :-1].double(), -1).gather(1, x[0, 1:, None])[:, 0]
        (-logp.mean()).backward()
        gradients = {}
        for key, p in model.named_parameters():
            gradients[key] = {"norm": p.grad.double().norm().item(), "first4": p.grad.flatten()[:4].tolist()}
        out.append({"model": name, "config": over, "token_logprobs": [float("%.7g" % v) for v in logp.tolist()], "gradients": gradients})
    json.dump({"input_ids": ids, "cases": out}, sys.stdout)


if __name__ == "__main__":
    main()
