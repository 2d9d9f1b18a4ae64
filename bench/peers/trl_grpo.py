"""Times TRL's GRPOTrainer on the shape of `hone bench --what grpo`: 4 prompts of 64 tokens, 8 completions of 64 to each, LoRA, a KL
to the reference, one optimiser step.  Usage: trl_grpo.py grpo MODEL STEPS

Generation is transformers' generate; the reference is the model without its adapter; passes with gradients take 8 sequences at a
time (32 at once want more memory than many machines have)."""
import sys
import tempfile

import common
from clock import Clock
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

PROMPTS, GENERATIONS, PROMPT, COMPLETION, AT_ONCE = 4, 8, 64, 64, 8
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
folder, steps = sys.argv[2], int(sys.argv[3])
torch.set_num_threads(common.THREADS)


class TokenisedGRPO(GRPOTrainer):
    """Prompts that are token ids already, written as numbers."""

    def _tokenize_prompts(self, prompts):
        return [[int(word) for word in prompt.split()] for prompt in prompts], None, {}


def number(completions, **kwargs):
    """Scores that are made up, as ours are: what differs within a group is all that is needed."""
    return [float(i % 7) for i in range(len(completions))]


def run():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = common.random_rows(PROMPTS * (1 + steps), PROMPT, tokenizer.vocab_size, 1)
    data = Dataset.from_dict({"prompt": [" ".join(map(str, ids)) for ids in prompts]})
    config = GRPOConfig(
        output_dir=scratch, max_steps=1 + steps, per_device_train_batch_size=AT_ONCE,
        gradient_accumulation_steps=PROMPTS * GENERATIONS // AT_ONCE, num_generations=GENERATIONS,
        max_completion_length=COMPLETION, generation_kwargs={"min_new_tokens": COMPLETION}, beta=0.04, learning_rate=1e-5,
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to=[], logging_strategy="no", save_strategy="no",
        disable_tqdm=True)
    clock = Clock()
    trainer = TokenisedGRPO(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), reward_funcs=number, args=config,
        train_dataset=data, processing_class=tokenizer, callbacks=[clock],
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="CAUSAL_LM"))
    clock.watch(trainer.model)
    trainer.train()
    whole = f"{AT_ONCE}x{PROMPT + COMPLETION}"
    passes = PROMPTS * GENERATIONS // AT_ONCE
    expected = ([f"{PROMPTS * GENERATIONS}x{PROMPT}"] + [f"{PROMPTS * GENERATIONS}x1"] * (COMPLETION - 1)  # sampling
                + [whole] * passes  # the reference
                + [whole] * passes)  # the policy
    if any(shape != expected for shape in clock.shapes):
        common.stop(f"trl_grpo: expected {expected} a step, and the model got {clock.shapes}")
    seconds = [after - before for before, after in zip(clock.ends, clock.ends[1:])]
    common.report("grpo", "trl", ["trl", "torch", "transformers", "peft"], PROMPTS * GENERATIONS * COMPLETION, seconds,
                  shapes=expected)


with tempfile.TemporaryDirectory() as scratch:
    run()
