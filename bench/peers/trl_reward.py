"""A reward model by TRL's RewardTrainer, on the rows, the order and the start that bench/reward-trl.sh gives to hone, too.
Usage: trl_reward.py rows MODEL FILE OUT TOKENS HELD_OUT   rows of hh-rlhf that fit, as chats: OUT/learn.jsonl, OUT/held-out.jsonl,
                                                           and OUT/start: the adapter and the head that both start from
       trl_reward.py train MODEL OUT STEPS RATE            prints one JSON line: seconds, accuracy on OUT/held-out.jsonl"""
import gzip
import hashlib
import json
import os
import resource
import sys
import time

import common
import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig, RewardTrainer

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ROWS = 8
what, folder, *rest = sys.argv[1:]
torch.set_num_threads(common.THREADS)
tokenizer = AutoTokenizer.from_pretrained(folder)


def messages(text):
    """A transcript's turns."""
    turns = []
    for part in text.split("\n\nHuman:")[1:]:
        human, *answers = part.split("\n\nAssistant:")
        turns.append({"role": "user", "content": human.strip()})
        turns += [{"role": "assistant", "content": a.strip()} for a in answers]
    return turns


def base():
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)


def make_rows(file, out, tokens, held_out):
    parts = {"learn": [], "held-out": []}
    with gzip.open(file, "rt", encoding="utf-8") as f:
        for line in f:
            row = json.loads(line)
            chosen, rejected = messages(row["chosen"]), messages(row["rejected"])
            sound = all(t and all(m["content"] for m in t) and t[-1]["role"] == "assistant" for t in (chosen, rejected))
            if not sound or chosen == rejected or chosen[:-1] != rejected[:-1]:
                continue
            if max(len(tokenizer.apply_chat_template(t, tokenize=True, return_dict=False)) for t in (chosen, rejected)) > tokens:
                continue
            share = int(hashlib.sha256(chosen[0]["content"].encode()).hexdigest()[:8], 16) / 2**32
            parts["learn" if share < 0.6 else "held-out"].append(
                {"prompt": chosen[:-1], "chosen": chosen[-1:], "rejected": rejected[-1:]})
    parts["held-out"] = parts["held-out"][:held_out]
    for name, rows in parts.items():
        with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    torch.manual_seed(1)
    model = get_peft_model(base(), LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="SEQ_CLS"))
    model.save_pretrained(os.path.join(out, "start"))
    print({name: len(rows) for name, rows in parts.items()}, file=sys.stderr)


def train(out, steps, rate):
    data = load_dataset("json", data_files={"learn": f"{out}/learn.jsonl", "held": f"{out}/held-out.jsonl"}, cache_dir=f"{out}/cache")
    model = PeftModel.from_pretrained(base(), os.path.join(out, "start"), is_trainable=True)
    config = RewardConfig(
        output_dir=os.path.join(out, "trl"), max_steps=steps, per_device_train_batch_size=ROWS, per_device_eval_batch_size=ROWS,
        learning_rate=rate, lr_scheduler_type="linear", warmup_steps=steps // 20, weight_decay=0.0, max_grad_norm=1.0,
        train_sampling_strategy="sequential", max_length=1024, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[],
        logging_steps=1, save_strategy="no", disable_tqdm=True)
    trainer = RewardTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=data["learn"], eval_dataset=data["held"])
    start, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    trainer.train()
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF)
    quality = trainer.evaluate()
    common.write_result({
        "peer": f"trl {common.version('trl')}", "steps": steps, "seconds": seconds,
        "cpu_seconds": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, "peak_rss_mib": after.ru_maxrss / 1024,
        "held_out": len(data["held"]), "accuracy": quality["eval_accuracy"], "loss": quality["eval_loss"],
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line]})


if what == "rows":
    make_rows(rest[0], rest[1], int(rest[2]), int(rest[3]))
else:
    train(rest[0], int(rest[1]), float(rest[2]))
