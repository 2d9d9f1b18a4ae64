"""Losses of online DPO, XPO and Nash-MD on made-up log-probs, computed by TRL's own code in float64: _compute_losses of its XPOTrainer
and NashMDTrainer (TRL 0.24, the last stable home of both), taken out of their sources, which need no more of TRL.
Usage: online_dpo.py FOLDER_OF_TRL_0.24 OUT.json"""
import ast
import json
import random
import sys
import types

import torch
import torch.nn.functional as F

D = torch.float64
LENGTHS = [[3, 5], [4, 4], [1, 2], [6, 3]]  # tokens of the policy's completion and the opponent's
CHOSEN = [True, False, True, False]
PROBABILITIES = [0.81, 0.27, 0.5, 0.06]


def compute_losses(path):
    tree = ast.parse(open(path).read())
    [f] = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "_compute_losses"]
    scope = {"torch": torch, "F": F}
    exec(compile(ast.Module([f], []), path, "exec"), scope)
    return scope["_compute_losses"]


def main(trl, out):
    xpo = compute_losses(trl + "/trainer/xpo_trainer.py")
    nash = compute_losses(trl + "/trainer/nash_md_trainer.py")
    rng = random.Random(7)
    n = len(LENGTHS)

    def draw(side):
        return [[round(-rng.uniform(0.05, 4), 6) for _ in range(LENGTHS[i][side])] for i in range(n)]

    logp, ref = [draw(0), draw(1)], [draw(0), draw(1)]

    def padded(rows, grad=False):
        longest = max(map(len, rows))
        return torch.tensor([r + [0.0] * (longest - len(r)) for r in rows], dtype=D, requires_grad=grad)

    def cut(rows, side):
        return [[float("%.12g" % x) for x in rows[i, :LENGTHS[i][side]].tolist()] for i in range(n)]

    cases = []
    for loss_type, beta, alpha in [("sigmoid", 0.1, 0.0), ("sigmoid", 0.7, 0.0), ("ipo", 0.4, 0.0), ("sigmoid", 0.1, 1e-5),
                                   ("ipo", 0.3, 0.05), ("sigmoid", 0.5, 0.3)]:
        me = types.SimpleNamespace(args=types.SimpleNamespace(loss_type=loss_type), beta=beta, alpha=alpha)
        own, other = padded(logp[0], True), padded(logp[1], True)
        loss, dpo, bonus = xpo(me, own, other, padded(ref[1]), padded(ref[0]), torch.tensor(CHOSEN))
        loss.backward()
        cases.append({"method": "xpo", "loss_type": loss_type, "beta": beta, "alpha": alpha, "loss": loss.item(),
                      "dpo": dpo.mean().item(), "xpo": bonus.mean().item(), "grad": [cut(own.grad, 0), cut(other.grad, 1)]})
    for beta in [0.0, 0.1, 1.3]:
        me = types.SimpleNamespace(beta=beta)
        own = padded(logp[0], True)
        loss, score, kl = nash(me, own, padded(ref[0]), torch.tensor(PROBABILITIES, dtype=D))
        loss.backward()
        cases.append({"method": "nash_md", "beta": beta, "loss": loss.item(), "score": score.mean().item(), "kl": kl.mean().item(),
                      "grad": [cut(own.grad, 0)]})
    json.dump({"trl": "0.24.0", "logps": logp, "ref_logps": ref, "chosen": CHOSEN, "probabilities": PROBABILITIES, "cases": cases},
              open(out, "w"), indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
