"""Times TRL's trainers on the shapes of `hone bench`: seconds from the end of one step to the end of the next, after a step
that warms up.  Usage: trl_speed.py sft|sft-lora|reward|dpo MODEL STEPS"""
import sys
import tempfile

import common
from clock import Clock
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

ROWS = 8
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
what, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.set_num_threads(common.THREADS)


class TokenisedDPO(DPOTrainer):
    """Rows that are token ids already."""

    def _prepare_dataset(self, dataset, *args):
        return dataset


def rows(seed, length):
    return common.random_rows(ROWS * (1 + steps), length, vocabulary, seed)


def settings(config, **more):
    return config(
        output_dir=scratch, max_steps=1 + steps, per_device_train_batch_size=ROWS, learning_rate=1e-5, use_cpu=True, bf16=False,
        gradient_checkpointing=False, max_length=None, report_to=[], logging_strategy="no", save_strategy="no",
        disable_tqdm=True, **more)


def run():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = "SEQ_CLS" if what == "reward" else "CAUSAL_LM"
    lora = None if what == "sft" else LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type=kind)
    if what == "reward":
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    clock = Clock()
    common_args = {"model": model, "processing_class": tokenizer, "peft_config": lora, "callbacks": [clock]}
    if what in ("sft", "sft-lora"):
        data = Dataset.from_dict({"input_ids": rows(1, 256)})
        trainer = SFTTrainer(args=settings(SFTConfig), train_dataset=data, **common_args)
        if any(label < 0 for row in trainer.train_dataset["labels"] for label in row):
            common.stop("trl_speed: not every token is a target")
        tokens, expected = ROWS * 256, [f"{ROWS}x256"]
    elif what == "reward":
        data = Dataset.from_dict({"chosen_ids": rows(1, 250), "rejected_ids": rows(2, 250)})
        trainer = RewardTrainer(args=settings(RewardConfig), train_dataset=data, **common_args)
        tokens, expected = ROWS * 2 * 250, [f"{2 * ROWS}x250"]
    else:
        data = Dataset.from_dict({"prompt_ids": rows(1, 128), "chosen_ids": rows(2, 128), "rejected_ids": rows(3, 128)})
        trainer = TokenisedDPO(args=settings(DPOConfig, beta=0.1), train_dataset=data, **common_args)
        tokens, expected = ROWS * 2 * 256, [f"{2 * ROWS}x256"] * 2  # the policy and its reference
    clock.watch(trainer.model)
    trainer.train()
    if any(shape != expected for shape in clock.shapes):
        common.stop(f"trl_speed: {what}: expected {expected} a step, and the model got {clock.shapes}")
    seconds = [after - before for before, after in zip(clock.ends, clock.ends[1:])]
    common.report(what, "trl", ["trl", "torch", "transformers", "peft"], tokens, seconds, shapes=expected)


with tempfile.TemporaryDirectory() as scratch:
    vocabulary = AutoTokenizer.from_pretrained(folder).vocab_size
    run()
