"""When the steps of a transformers Trainer ended, and what came by the embedding in them."""
import time

from transformers import TrainerCallback


class Clock(TrainerCallback):
    """When each step ended, and what came by the embedding in it."""

    def __init__(self):
        self.ends, self.shapes, self.step = [], [], []

    def watch(self, model):
        def note(module, args):
            self.step.append(f"{args[0].shape[0]}x{args[0].shape[1]}")

        model.get_input_embeddings().register_forward_pre_hook(note)

    def on_step_end(self, args, state, control, **kwargs):
        self.ends.append(time.monotonic())
        self.shapes.append(self.step)
        self.step = []
