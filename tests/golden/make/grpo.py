"""Losses of GRPO's kin and of RLOO on the numbers of objectives.json ("grpo"), computed by TRL's own trainers in float64: their
_compute_loss is called with log-probs that are given instead of a model's.  Usage: grpo.py objectives.json OUT.json"""
import json
import sys
import types
from collections import defaultdict

import torch
import trl
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer

D = torch.float64


class Accelerator:
    num_processes, sync_gradients = 1, True

    def gather(self, x):
        return x

    gather_for_metrics = gather

    def reduce(self, x, reduction):
        return x


def trainer(logps, steps_per_generation=1, **settings):
    """What _compute_loss reads of a trainer."""
    me = types.SimpleNamespace(
        accelerator=Accelerator(), model=types.SimpleNamespace(training=True), _metrics={"train": defaultdict(list)},
        args=types.SimpleNamespace(delta=settings.get("delta"), use_bias_correction_kl=settings["use_bias_correction_kl"],
                                   steps_per_generation=steps_per_generation, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05,
                                   vespo_k_pos=2.0, vespo_lambda_pos=3.0, vespo_k_neg=3.0, vespo_lambda_neg=2.0),
        aux_loss_enabled=False, top_entropy_quantile=1.0, beta=settings["beta"],
        off_policy_mask_threshold=settings.get("off_policy_mask_threshold"), get_off_policy_mask=GRPOTrainer.get_off_policy_mask,
        get_gamma_weights=GRPOTrainer.get_gamma_weights,
        importance_sampling_level=settings["importance_sampling_level"], loss_type=settings["loss_type"],
        epsilon_low=settings["epsilon"], epsilon_high=settings["epsilon_high"], use_vllm=False,
        current_gradient_accumulation_steps=1, max_completion_length=settings["max_completion_length"],
        _entropy_bonus_enabled=False)
    me._get_per_token_logps_and_entropies = lambda *args, **kwargs: (logps, torch.zeros_like(logps), None)
    return me


if __name__ == "__main__":
    given = json.load(open(sys.argv[1]))["grpo"]
    lengths, n, longest = given["lengths"], len(given["lengths"]), max(given["lengths"])
    TRUNCATED = [2, 5]  # what mask_truncated_completions leaves out

    def padded(key):
        rows = torch.full((n, longest), -0.5, dtype=D)
        values = iter(given[key])
        for i, length in enumerate(lengths):
            rows[i, :length] = torch.tensor([next(values) for _ in range(length)], dtype=D)
        return rows

    def flat(rows):
        return [float("%.12g" % x) for i, length in enumerate(lengths) for x in rows[i, :length].tolist()]

    def case(method, **changed):
        settings = dict(loss_type="grpo", importance_sampling_level="token", epsilon=0.2, epsilon_high=0.2, beta=0.0,
                        use_bias_correction_kl=False, max_completion_length=8, mask=False)
        settings.update(changed)
        logps = padded("new_logprobs").requires_grad_()
        mask = torch.zeros(n, longest, dtype=D)
        for i, length in enumerate(lengths):
            mask[i, :length] = 0 if settings["mask"] and i in TRUNCATED else 1
        old = padded("old_logprobs")
        inputs = dict(prompt_ids=torch.zeros(n, 1), prompt_mask=torch.zeros(n, 1), completion_ids=torch.zeros(n, longest),
                      completion_mask=mask, advantages=torch.tensor(given["advantages_grpo"], dtype=D), old_per_token_logps=old,
                      old_logps=(old * mask).sum(1), ref_per_token_logps=padded("ref_logprobs"), num_items_in_batch=mask.sum())
        me = trainer(logps, **settings)
        loss = method._compute_loss(me, None, inputs)
        loss.backward()
        metrics = {key: value[-1] for key, value in me._metrics["train"].items()}
        return {**settings, "loss": loss.item(), "grad_logprobs": flat(logps.grad), "metrics": metrics}


    cases = [
        case(GRPOTrainer),
        case(GRPOTrainer, beta=0.04),
        case(GRPOTrainer, beta=0.04, use_bias_correction_kl=True),
        case(GRPOTrainer, delta=1.45),
        case(GRPOTrainer, mask=True, beta=0.04),
        case(GRPOTrainer, importance_sampling_level="sequence", epsilon=0.03, epsilon_high=0.04),
        case(GRPOTrainer, importance_sampling_level="sequence", beta=0.04, use_bias_correction_kl=True),
        case(GRPOTrainer, loss_type="bnpo", epsilon_high=0.28),
        case(GRPOTrainer, loss_type="bnpo", mask=True, importance_sampling_level="sequence"),
        case(GRPOTrainer, loss_type="dr_grpo", beta=0.04),
        case(GRPOTrainer, loss_type="dr_grpo", mask=True),
        case(GRPOTrainer, loss_type="dapo", epsilon_high=0.28, mask=True),
        case(GRPOTrainer, loss_type="cispo", epsilon_high=1.3),
        case(GRPOTrainer, loss_type="cispo", epsilon_high=1.1, beta=0.04, use_bias_correction_kl=True, mask=True),
        case(GRPOTrainer, loss_type="cispo", epsilon_high=1.05, importance_sampling_level="sequence"),
        case(GRPOTrainer, loss_type="sapo"),
        case(GRPOTrainer, loss_type="sapo", importance_sampling_level="sequence", beta=0.04, mask=True),
        case(GRPOTrainer, loss_type="luspo", importance_sampling_level="sequence", epsilon=0.03, epsilon_high=0.04),
        case(GRPOTrainer, loss_type="luspo", importance_sampling_level="sequence", beta=0.04, use_bias_correction_kl=True),
        case(GRPOTrainer, loss_type="vespo"),
        case(GRPOTrainer, loss_type="vespo", beta=0.04, use_bias_correction_kl=True, mask=True),
        case(GRPOTrainer, loss_type="dapo", off_policy_mask_threshold=0.02, beta=0.04),
        case(GRPOTrainer, loss_type="sapo", off_policy_mask_threshold=0.05, importance_sampling_level="sequence"),
    ]
    rloo = case(RLOOTrainer, loss_type="rloo")

    def normalize_then_sum(rewards):
        """TRL's lines for it, with the rewards and their fourth powers less a third of them as two parts, weighted 1 and 0.5."""
        parts = torch.stack([rewards, rewards**4 - rewards / 3], dim=2)
        scaled = (parts - parts.mean(1, keepdim=True)) / (parts.std(1, keepdim=True) + 1e-4)
        summed = (scaled.view(-1, 2) * torch.tensor([1.0, 0.5], dtype=D)).sum(1)
        return ((summed - summed.mean()) / (summed.std() + 1e-4)).tolist()

    rewards = torch.tensor(given["rewards"], dtype=D)
    centred = rewards - rewards.mean(1, keepdim=True)
    # advantages as TRL has them, whose nanstd divides in float32
    leave_one_out = torch.tensor(given["advantages_rloo"], dtype=D)
    advantages = {
        "scale_rewards_batch": (centred / (rewards.std() + 1e-4)).flatten().tolist(),
        "rloo_normalize_advantages": ((leave_one_out - leave_one_out.mean()) / (leave_one_out.std() + 1e-4)).tolist(),
        "gdpo": normalize_then_sum(rewards),
        "reinforce": ((rewards - rewards.mean()) / (rewards.std() + 1e-4)).flatten().tolist(),
    }
    json.dump({"trl": trl.__version__, "truncated": TRUNCATED, "cases": cases, "rloo": rloo, "advantages": advantages},
              open(sys.argv[2], "w"), indent=1)
