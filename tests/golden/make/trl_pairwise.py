"""What TRL computes with settings of DPO, KTO and CPO beside those in the shared values: three steps on the tiny model and
the pairs there.  usage: trl_pairwise.py SHARED/golden/trl tests/golden/trl_pairwise.json"""
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import torch.utils.data
from datasets import Dataset
from transformers import AutoTokenizer, LlamaForCausalLM, Trainer, TrainerCallback

import trl
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
import trl.experimental.cpo.cpo_trainer as cpo
from trl.experimental.cpo import CPOConfig, CPOTrainer

torch.set_num_threads(2)
folder, out = sys.argv[1], sys.argv[2]
model = folder + "/model"
tokenizer = AutoTokenizer.from_pretrained(model)
pairs = json.load(open(folder + "/pairs.json"))
cpo.add_eos_token_if_needed = lambda eos, chosen, rejected: (chosen, rejected)  # the template has written it
Trainer._get_train_sampler = lambda self, *a, **k: torch.utils.data.SequentialSampler(self.train_dataset)
common = dict(output_dir="/tmp/trl_pairwise", max_steps=3, report_to=[], logging_steps=1, save_strategy="no", use_cpu=True,
              learning_rate=1e-3, lr_scheduler_type="linear", warmup_steps=0, max_grad_norm=1.0, weight_decay=0.0,
              disable_tqdm=True, bf16=False, per_device_train_batch_size=4, gradient_checkpointing=False, seed=1, max_length=256,
              beta=0.1)


class Log(TrainerCallback):
    def __init__(self):
        self.steps = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.steps.append({k: float(v) for k, v in logs.items() if k != "epoch"})


def run(trainer, config, rows, fresh, **settings):
    log = Log()
    t = trainer(model=LlamaForCausalLM.from_pretrained(model) if fresh else model, args=config(**common, **settings),
                train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[log])
    before = {n: p.detach().clone() for n, p in t.model.named_parameters()}
    t.train()
    change = {n: float("%.7g" % (p.detach() - before[n]).norm()) for n, p in t.model.named_parameters()}
    return dict(steps=log.steps, parameter_change_norms=change)


def dpo(**settings):
    return run(DPOTrainer, DPOConfig, pairs, False, **settings)


def kto(**settings):
    rows = [dict(prompt=p["prompt"], completion=p["rejected" if i % 2 else "chosen"], label=i % 2 == 0)
            for i, p in enumerate(pairs)]
    return run(KTOTrainer, KTOConfig, rows, False, **settings)


results = dict(
    dpo_forward_kl=dpo(loss_type=["sigmoid"], f_divergence_type="forward_kl"),
    dpo_js_divergence=dpo(loss_type=["ipo"], f_divergence_type="js_divergence"),
    dpo_alpha_divergence=dpo(loss_type=["hinge"], f_divergence_type="alpha_divergence", f_alpha_divergence_coef=0.5),
    dpo_ld_alpha=dpo(loss_type=["sigmoid", "sft"], ld_alpha=0.3),
    dpo_sync_ref_model=dpo(loss_type=["sigmoid"], sync_ref_model=True, ref_model_mixup_alpha=0.6, ref_model_sync_steps=1),
    kto_weights=kto(desirable_weight=1.3, undesirable_weight=0.7),
    kto_apo_zero_unpaired=kto(loss_type="apo_zero_unpaired"),
    cpo_alphapo=run(CPOTrainer, CPOConfig, pairs, True, loss_type="alphapo", alpha=0.25, simpo_gamma=0.5),
    cpo_smoothed=run(CPOTrainer, CPOConfig, pairs, True, loss_type="simpo", cpo_alpha=0.5, label_smoothing=0.1),
)
json.dump(dict(made_with="trl %s, torch %s" % (trl.__version__, torch.__version__), results=results), open(out, "w"), indent=1)
