"""The loss of a process reward model as TRL's PRMTrainer has it (token classification with two labels, -100 but at the steps' ends), in
transformers, on models/llama: loss and gradients over all steps, and with train_on_last_step_only.
Usage: process.py OUT.json MODELS SEED"""
import json
import sys

import torch
from transformers import LlamaConfig, LlamaForTokenClassification

out, models, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.manual_seed(seed)
config = LlamaConfig.from_pretrained(models + "/llama", num_labels=2)
net = LlamaForTokenClassification.from_pretrained(models + "/llama", config=config, attn_implementation="eager").float().eval()
weight = torch.randn(config.hidden_size) * 0.2
with torch.no_grad():
    net.score.weight[0] = 0
    net.score.weight[1] = weight
    net.score.bias.zero_()
rows = []
for prompt, ends, labels in ((5, [3, 4, 9], [1, 1, 0]), (3, [6], [0]), (7, [2, 8, 11, 12], [1, 0, 1, 1])):
    rows.append({"prompt": torch.randint(3, 512, (prompt,)).tolist(), "completion": torch.randint(3, 512, (ends[-1] + 1,)).tolist(),
                 "ends": ends, "labels": labels})


def run(last_only):
    longest = max(len(r["prompt"] + r["completion"]) for r in rows)
    ids = torch.full((len(rows), longest), config.pad_token_id)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, r in enumerate(rows):
        tokens = r["prompt"] + r["completion"]
        ids[i, :len(tokens)], mask[i, :len(tokens)] = torch.tensor(tokens), 1
        for end, label in list(zip(r["ends"], r["labels"]))[-1 if last_only else 0:]:
            labels[i, len(r["prompt"]) + end] = label
    net.zero_grad()
    result = net(input_ids=ids, attention_mask=mask, labels=labels)
    result.loss.backward()
    norms = {name.replace("model.model.", "model."): float(p.grad.norm()) for name, p in net.named_parameters()
             if p.grad is not None and not name.startswith("score")}
    return {"loss": float(result.loss), "head_gradient": [float("%.8g" % x) for x in net.score.weight.grad[1]], "gradient_norms": norms}


json.dump({"rows": rows, "head": [float("%.9g" % x) for x in weight], "all": run(False), "last": run(True)}, open(out, "w"), indent=1)
