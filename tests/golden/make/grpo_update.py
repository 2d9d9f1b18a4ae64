"""Whole iterations of groups in torch (float32), each loss by TRL's own _compute_loss (see grpo.py): completions and scores in, the
mean loss, norm and KL of the steps and the parameters' change out.  Usage: grpo_update.py MODELS OUT.json SEED"""
import json
import sys

import torch
from grpo import trainer
from transformers import LlamaForCausalLM
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

models, seed = sys.argv[1], int(sys.argv[3])
torch.manual_seed(seed)
torch.set_num_threads(1)
GROUPS, K, LR, CLIP = 4, 3, 1e-3, 1.0
TRUNCATED = [4, 7]
prompts = [torch.randint(3, 512, (n,)) for n in (5, 3, 6, 4)]
completions = [torch.randint(3, 512, (n,)) for n in (7, 2, 9, 4, 8, 5, 3, 10, 6, 1, 5, 7)]
scores = [1.0, -0.5, 0.25, 0.7, 0.1, 2.0, -1.0, 0.4, 0.3, 0.5, 0.5, 0.5]  # the last group is flat


def load(name):
    return LlamaForCausalLM.from_pretrained(f"{models}/{name}", attn_implementation="eager", dtype=torch.float32)


def logps_of(model, numbers):
    rows = []
    for i in numbers:
        prompt, completion = prompts[i // K], completions[i]
        logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1:-1]
        rows.append(torch.log_softmax(logits, -1).gather(-1, completion[:, None])[:, 0])
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1.0)


def advantages_of(case, old, reference, mask):
    rewards = torch.tensor(scores)
    if case["method"] == "rloo":
        rewards = rewards - case["kl_in_reward"] * ((old - reference) * mask).sum(1)
        grouped = rewards.view(GROUPS, K)
        return (rewards - ((grouped.sum(1, keepdim=True) - grouped) / (K - 1)).flatten())
    grouped = rewards.view(GROUPS, K)
    return ((grouped - grouped.mean(1, keepdim=True)) / (grouped.std(1, keepdim=True) + 1e-4)).flatten()


def iteration(**changed):
    case = dict(method="grpo", loss_type="dapo", importance_sampling_level="token", epsilon=0.2, epsilon_high=0.2, beta=0.0,
                use_bias_correction_kl=True, max_completion_length=10, mask=False, num_iterations=2, steps=2, kl_in_reward=0.0)
    case.update(changed)
    policy, reference = load("llama"), load("llama-untied")
    everything = list(range(GROUPS * K))
    whole = torch.nn.utils.rnn.pad_sequence([torch.ones(len(c)) for c in completions], batch_first=True)
    with torch.no_grad():
        old, ref = logps_of(policy, everything), logps_of(reference, everything)
    advantages = advantages_of(case, old, ref, whole)
    if case["mask"]:
        whole[TRUNCATED] = 0
    parameters = list(policy.parameters())
    before = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)
    losses, norms, kls = [], [], []
    for _ in range(case["num_iterations"]):
        for part in range(case["steps"]):
            numbers = [i for i in everything if GROUPS * part // case["steps"] <= i // K < GROUPS * (part + 1) // case["steps"]]
            logps = logps_of(policy, numbers)
            width = logps.shape[1]
            mask, own_old = whole[numbers, :width], old[numbers, :width]
            inputs = dict(prompt_ids=mask, prompt_mask=mask, completion_ids=mask, completion_mask=mask, advantages=advantages[numbers],
                          old_per_token_logps=own_old, old_logps=(own_old * mask).sum(1), ref_per_token_logps=ref[numbers, :width],
                          num_items_in_batch=whole.sum())
            me = trainer(logps, steps_per_generation=case["steps"], **case)
            loss = (RLOOTrainer if case["method"] == "rloo" else GRPOTrainer)._compute_loss(me, None, inputs)
            optimiser.zero_grad()
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(parameters, CLIP).item())
            optimiser.step()
            losses.append(loss.item())
            kls += [(me._metrics["train"]["kl"][-1], mask.sum().item())] if case["beta"] else []
    changes = {name: float("%.7g" % (p.detach() - q).norm()) for (name, p), q in zip(policy.named_parameters(), before)}
    return {**case, "losses": losses, "loss": sum(losses) / len(losses), "grad_norm": sum(norms) / len(norms),
            "kl": sum(k * n for k, n in kls) / sum(n for _, n in kls) if kls else None, "changes": changes}


cases = [
    iteration(beta=0.04),
    iteration(loss_type="bnpo", mask=True, beta=0.04),
    iteration(loss_type="grpo", importance_sampling_level="sequence", epsilon=0.05, epsilon_high=0.05, beta=0.1),
    iteration(loss_type="cispo", epsilon_high=1.5, beta=0.04, mask=True, steps=1),
    iteration(method="rloo", loss_type="grpo", kl_in_reward=0.05),
]
json.dump({"lr": LR, "clip": CLIP, "truncated": TRUNCATED, "scores": scores, "k": K, "prompts": [p.tolist() for p in prompts],
           "completions": [c.tolist() for c in completions], "cases": cases}, open(sys.argv[2], "w"))
