"""Whole iterations of online DPO, XPO and Nash-MD in torch (float32), each loss by TRL's own _compute_losses (see online_dpo.py):
completions and chances in, the mean loss and norm of the steps and the parameters' change out.
Usage: online_dpo_update.py MODELS FOLDER_OF_TRL_0.24 OUT.json SEED"""
import json
import sys
import types

import torch
from online_dpo import compute_losses
from transformers import LlamaForCausalLM

models, trl, seed = sys.argv[1], sys.argv[2], int(sys.argv[4])
torch.manual_seed(seed)
torch.set_num_threads(1)
LR, CLIP = 1e-3, 1.0
PROBABILITIES = [0.9, 0.2, 0.65, 0.4]
prompts = [torch.randint(3, 512, (n,)) for n in (5, 3, 6, 4)]
completions = [[torch.randint(3, 512, (n,)) for n in pair] for pair in ((7, 2), (9, 4), (1, 5), (6, 6))]
xpo, nash = compute_losses(trl + "/trainer/xpo_trainer.py"), compute_losses(trl + "/trainer/nash_md_trainer.py")


def load(name):
    return LlamaForCausalLM.from_pretrained(f"{models}/{name}", attn_implementation="eager", dtype=torch.float32)


def logps_of(model, pairs, side):
    rows = []
    for i in pairs:
        prompt, completion = prompts[i], completions[i][side]
        logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1:-1]
        rows.append(torch.log_softmax(logits, -1).gather(-1, completion[:, None])[:, 0])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def iteration(method, beta, alpha=0.0, passes=1, steps=1):
    policy, reference = load("llama"), load("llama-untied")
    me = types.SimpleNamespace(args=types.SimpleNamespace(loss_type="sigmoid"), beta=beta, alpha=alpha)
    parameters = list(policy.parameters())
    before = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)
    losses, norms = [], []
    for _ in range(passes):
        for part in range(steps):
            pairs = range(4 * part // steps, 4 * (part + 1) // steps)
            with torch.no_grad():
                ref = [logps_of(reference, pairs, side) for side in (0, 1)]
            chances = torch.tensor([PROBABILITIES[i] for i in pairs])
            own = logps_of(policy, pairs, 0)
            if method == "nash_md":
                loss, *_ = nash(me, own, ref[0], chances)
            else:
                loss, *_ = xpo(me, own, logps_of(policy, pairs, 1), ref[1], ref[0], chances > 0.5)
            optimiser.zero_grad()
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP).item())
            optimiser.step()
            losses.append(loss.item())
    changes = {name: float("%.7g" % (p.detach() - q).norm()) for (name, p), q in zip(policy.named_parameters(), before)}
    kept = [pair[:1] if method == "nash_md" else pair for pair in completions]
    return {"method": method, "beta": beta, "alpha": alpha, "num_iterations": passes, "steps": steps, "k": len(kept[0]),
            "prompts": [p.tolist() for p in prompts], "completions": [c.tolist() for pair in kept for c in pair],
            "scores": [0.0] * sum(map(len, kept)), "truncated": [], "loss": sum(losses) / len(losses),
            "grad_norm": sum(norms) / len(norms), "changes": changes}


cases = [
    iteration("online_dpo", 0.1, passes=2, steps=2),
    iteration("online_dpo", 0.8),
    iteration("xpo", 0.3, alpha=0.02, passes=2, steps=2),
    iteration("nash_md", 0.05),
]
json.dump({"lr": LR, "clip": CLIP, "probabilities": PROBABILITIES, "cases": cases}, open(sys.argv[3], "w"))
