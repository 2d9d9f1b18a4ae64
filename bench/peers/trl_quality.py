"""The same steps of TRL and hone on the same rows: how far their losses are apart.
Usage: trl_quality.py sft|reward|dpo MODEL HONE MODEL.gguf DATA SCRATCH

Both start from one adapter (PEFT draws it), take rows of DATA in their order and log the loss of every step, before its
update.  Prints one JSON line with the losses of both, and those of their last steps compared."""
import json
import os
import subprocess
import sys

import common
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

STEPS, ROWS, LAST = 8, 4, 3
RATE = {"sft": 1e-3, "reward": 5e-4, "dpo": 2e-4}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
what, folder, hone, file, data, scratch = sys.argv[1:]
torch.set_num_threads(common.THREADS)


class Losses(TrainerCallback):
    def __init__(self):
        self.list, self.tokens = [], 0

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in logs:
            self.list.append(float(logs["loss"]))
            self.tokens = int(float(logs["num_tokens"]))


def message(role, content):
    return [{"role": role, "content": content}]


def read_rows():
    """As many rows of DATA as the steps take, as messages; judgements without a winner are left out."""
    rows = []
    with open(data) as lines:
        for line in lines:
            row = json.loads(line)
            prompt = message("user", row["prompt"])
            if what == "sft":
                rows.append({"prompt": prompt, "completion": message("assistant", row["completion"])})
            elif row["label"] in ("a", "b"):
                better, worse = (row["a"], row["b"]) if row["label"] == "a" else (row["b"], row["a"])
                rows.append({"prompt": prompt, "chosen": message("assistant", better), "rejected": message("assistant", worse)})
            if len(rows) == STEPS * ROWS:
                return rows
    common.stop(f"trl_quality: '{data}' has only {len(rows)} rows of the {STEPS * ROWS} that are needed")


def start_model(start):
    """The model with the adapter that both start from: drawn here, and written for hone."""
    torch.manual_seed(1)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="SEQ_CLS" if what == "reward" else "CAUSAL_LM")
    if what == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = get_peft_model(model, lora)
    model.save_pretrained(start)
    return model


def run_trl(rows, model):
    losses = Losses()
    settings = {
        "output_dir": os.path.join(scratch, "trl"), "max_steps": STEPS, "per_device_train_batch_size": ROWS,
        "learning_rate": RATE[what], "lr_scheduler_type": "linear", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0,
        "train_sampling_strategy": "sequential", "logging_steps": 1, "max_length": 1024, "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "report_to": [], "save_strategy": "no", "disable_tqdm": True}
    trainer = {"model": model, "processing_class": AutoTokenizer.from_pretrained(folder), "callbacks": [losses],
               "train_dataset": Dataset.from_list(rows)}
    if what == "sft":
        SFTTrainer(args=SFTConfig(**settings), **trainer).train()
    elif what == "reward":
        RewardTrainer(args=RewardConfig(**settings), **trainer).train()
    else:
        DPOTrainer(args=DPOConfig(**settings, beta=0.1), **trainer).train()
    return losses.list, losses.tokens


def run_hone(rows, start):
    file_of_rows, out = os.path.join(scratch, "rows.jsonl"), os.path.join(scratch, "hone")
    with open(file_of_rows, "w") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)
    subprocess.run(
        [hone, what, "--model", file, "--adapter", start, "--train-data", file_of_rows, "--output-dir", out,
         "--max-steps", str(STEPS), "--per-device-train-batch-size", str(ROWS), "--learning-rate", str(RATE[what]),
         "--lr-scheduler-type", "linear", "--weight-decay", "0", "--max-grad-norm", "1", "--no-shuffle", "--max-length", "1024",
         "--quiet"], check=True, stdout=sys.stderr)
    with open(os.path.join(out, "metrics.jsonl")) as f:
        steps = [json.loads(line) for line in f]
    return [step["loss"] for step in steps], steps[-1]["num_tokens"]


def mean_of_last(losses):
    return sum(losses[-LAST:]) / LAST


rows = read_rows()
start = os.path.join(scratch, "start")
theirs, their_tokens = run_trl(rows, start_model(start))
ours, our_tokens = run_hone(rows, start)
if len(ours) != STEPS or len(theirs) != STEPS:
    common.stop(f"trl_quality: {len(ours)} and {len(theirs)} losses, where there were {STEPS} steps")
apart = 100 * (mean_of_last(ours) / mean_of_last(theirs) - 1)
common.write_result({
    "what": what, "peer": f"trl {common.version('trl')}", "steps": STEPS, "rows_a_step": ROWS, "learning_rate": RATE[what],
    "ours": ours, "theirs": theirs, "our_tokens": our_tokens, "their_tokens": their_tokens,
    "our_last": mean_of_last(ours), "their_last": mean_of_last(theirs), "apart_percent": apart,
    "largest_step_apart_percent": max(abs(100 * (a / b - 1)) for a, b in zip(ours, theirs))})
