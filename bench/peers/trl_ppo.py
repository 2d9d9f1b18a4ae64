"""Times one iteration of TRL's PPOTrainer on the shape of `hone bench --what ppo`: 32 prompts of 64 tokens, completions of 64,
4 epochs of one optimiser step each.  Usage: trl_ppo.py MODEL

As near to ours as the trainer allows: the policy has a LoRA adapter (r 16, all linear layers), without which it is the
reference; the critic is another copy of the model with an adapter and a head, all of which learn; the reward model is a third
copy with a head.  Passes take 8 sequences at a time (32 at once want more memory than many machines have)."""
import os
import sys
import tempfile
import time

import common
import torch
from datasets import Dataset
from peft import LoraConfig, inject_adapter_in_model
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast, TrainerCallback)

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
from trl import PPOConfig, PPOTrainer  # noqa: E402

PROMPTS, PROMPT, COMPLETION, AT_ONCE, EPOCHS = 32, 64, 64, 8, 4
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
folder = sys.argv[1]
torch.set_num_threads(common.THREADS)


class Clock(TrainerCallback):
    def on_train_begin(self, args, state, control, **kwargs):
        self.begin = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds = time.monotonic() - self.begin


def scorer():
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)


def run():
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json", eos_token="<|im_end|>",
                                        pad_token="<|im_end|>", padding_side="left")
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="CAUSAL_LM")
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    critic = inject_adapter_in_model(LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR), scorer())
    critic.score.requires_grad_(True)
    data = Dataset.from_dict({"input_ids": common.random_rows(PROMPTS, PROMPT, tokenizer.vocab_size, 1)})
    config = PPOConfig(
        output_dir=scratch, total_episodes=PROMPTS, per_device_train_batch_size=AT_ONCE,
        gradient_accumulation_steps=PROMPTS // AT_ONCE, num_mini_batches=1, num_ppo_epochs=EPOCHS,
        response_length=COMPLETION, local_rollout_forward_batch_size=PROMPTS, temperature=1.0, stop_token=None,
        missing_eos_penalty=None, kl_coef=0.05, cliprange=0.2, cliprange_value=0.2, vf_coef=0.1, gamma=1.0, lam=0.95,
        learning_rate=1e-5, num_sample_generations=0, use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to=[], save_strategy="no", disable_tqdm=True)
    clock = Clock()
    shapes = []
    trainer = PPOTrainer(args=config, processing_class=tokenizer, model=policy, ref_model=None, reward_model=scorer(),
                         value_model=critic, train_dataset=data, eval_dataset=data, peft_config=lora, callbacks=[clock])
    critic.get_input_embeddings().register_forward_pre_hook(
        lambda module, args: shapes.append(f"{args[0].shape[0]}x{args[0].shape[1]}"))
    trainer.train()
    expected = [f"{PROMPTS}x{PROMPT + COMPLETION}"] + [f"{AT_ONCE}x{PROMPT + COMPLETION}"] * (EPOCHS * PROMPTS // AT_ONCE)
    if shapes != expected:
        common.stop(f"trl_ppo: expected {expected}, and the critic got {shapes}")
    common.report("ppo", "trl", ["trl", "torch", "transformers", "peft"], PROMPTS * COMPLETION, [clock.seconds],
                  shapes=shapes)


with tempfile.TemporaryDirectory() as scratch:
    run()
