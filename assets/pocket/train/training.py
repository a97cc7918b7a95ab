"""What the stages share: time budget, learning rate, moving average, checkpoints, log."""

import copy
import json
import math
import os
import time

import torch


def autocast(device):
    return torch.autocast(device, dtype=torch.bfloat16)


class Budget:
    """Progress of a stage by wall time, summed over resumed runs, so that the rate anneals in a known time."""

    def __init__(self, stage, state, chunk_seconds):
        self.stage, self.chunk = stage, chunk_seconds
        self.step, self.before = state.get("step", 0), state.get("seconds", 0.0)
        self.started = self.saved = time.monotonic()

    @property
    def seconds(self):
        return self.before + time.monotonic() - self.started

    @property
    def progress(self):
        return min(1.0, max(self.step / self.stage.steps, self.seconds / self.stage.seconds))

    @property
    def is_spent(self):
        """The whole stage is done, or this call's share of it."""
        return self.progress >= 1 or time.monotonic() - self.started > self.chunk

    def save_is_due(self):
        if time.monotonic() - self.saved < self.stage.save_seconds and not self.is_spent:
            return False
        self.saved = time.monotonic()
        return True

    def state(self):
        return {"step": self.step, "seconds": self.seconds}

    def set_rate(self, optimizers):
        """Linear warm-up, then half a cosine down to a fiftieth."""
        warm = min(1.0, (self.step + 1) / self.stage.warmup)
        rate = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * rate


class MovingAverage:
    """Averaged copies of models; the average is short at first and grows to `decay`."""

    def __init__(self, models, decay, step=0):
        self.decay, self.step = decay, step
        self.models = [copy.deepcopy(model).eval().requires_grad_(False) for model in models]

    @torch.no_grad()
    def update(self, models):
        self.step += 1
        decay = min(self.decay, (1 + self.step) / (10 + self.step))
        for mine, theirs in zip(self.models, models):
            torch._foreach_lerp_(
                list(mine.parameters()), [p.detach() for p in theirs.parameters()], 1 - decay
            )


def save_checkpoint(path, **state):
    """Writes beside and renames, so that a killed run leaves the last whole checkpoint."""
    beside = path.with_suffix(".tmp")
    torch.save(state, beside)
    os.replace(beside, path)


def load_checkpoint(path, device):
    return torch.load(path, map_location=device, weights_only=True) if path.exists() else None


class Log:
    """One JSON line an entry, to a file and to the terminal."""

    def __init__(self, path):
        self.file = open(path, "a")

    def __call__(self, **values):
        line = json.dumps({k: float(f"{v:.6g}") if isinstance(v, float) else v for k, v in values.items()})
        print(line, file=self.file, flush=True)
        print(line, flush=True)


def count_parameters(model):
    return sum(p.numel() for p in model.parameters())


def arguments(description):
    """The command line of every stage."""
    import argparse

    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop (resumably) after this long")
    parser.add_argument("--out", help="folder for all results")
    return parser.parse_args()
