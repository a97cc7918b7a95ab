"""The judge: a small classifier of words, trained only on real pictures of the data, never on the model's.

Its pictures come from seeds that no training stage uses. A second, still smaller one names colours.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "train"))

from canvas import hsv_from_rgb  # noqa: E402
from vocabulary import COLOURS  # noqa: E402
from world import MATERIAL, ON_MATERIAL, ON_PLAIN, ON_WHITE, World  # noqa: E402

SIZE = 64  # pixels; what is judged is made this small first
HELD_OUT_SEED = 900_000
COLOUR_NAMES = [name for name in COLOURS if name != "white"]  # white on white cannot be seen


def _block(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class WordJudge(nn.Module):
    """Scores `[n, words]` for pictures `[n, 3, H, W]` in -1..1."""

    def __init__(self, words):
        super().__init__()
        self.words = words
        self.features = nn.Sequential(*(_block(i, o) for i, o in ((3, 32), (32, 64), (64, 128), (128, 192))))
        self.head = nn.Linear(2 * 192, len(words))

    def forward(self, pictures):
        small = F.interpolate(pictures, size=(SIZE, SIZE), mode="area")
        features = self.features(small)
        return self.head(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))


def real_pictures(config, words, per_word, seed):
    """`per_word` pictures of each word as bytes `[n, 3, SIZE, SIZE]`, and their labels."""
    plain = replace(config, times=0.0, picture_styles=0.0, recolour=0.3, scale=[0.5, 0.95], turn=0.15)
    world = World(plain, seed=HELD_OUT_SEED + seed)
    plans, labels = [], []
    for label, word in enumerate(words):
        for i in range(per_word):
            if word in world.materials:
                plans.append(world.plan(MATERIAL, material=word))
            else:
                kind = (ON_WHITE, ON_WHITE, ON_MATERIAL, ON_PLAIN)[i % 4]
                plans.append(world.plan(kind, noun=word))
            plans[-1].material_colour = None
            labels.append(label)
    pictures = [world.paint(plans[i : i + 256], SIZE)[0] for i in range(0, len(plans), 256)]
    return ((torch.cat(pictures) + 1) * 127.5).round().byte(), torch.tensor(labels)


def _softened(pictures):
    """Random blur: the autoencoder is soft, and softness should not decide."""
    scale = float(torch.empty(()).uniform_(0.35, 1.0))
    small = F.interpolate(pictures, scale_factor=scale, mode="area")
    return F.interpolate(small, size=(SIZE, SIZE), mode="bilinear", align_corners=False)


def train_word_judge(config, words, per_word=120, epochs=14):
    """Returns the judge and its accuracy on real pictures that it has not seen."""
    torch.manual_seed(0)
    pictures, labels = real_pictures(config, words, per_word, 0)
    judge = WordJudge(words)
    optimizer = torch.optim.AdamW(judge.parameters(), 3e-3, weight_decay=0.02)
    steps = epochs * (len(labels) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(labels))
        for batch in order[: len(order) // 128 * 128].view(-1, 128):
            x = _softened(pictures[batch].float() / 127.5 - 1)
            loss = F.cross_entropy(judge(x), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    judge.eval()
    test, truth = real_pictures(config, words, 20, 1)
    with torch.no_grad():
        scores = torch.cat([judge(_softened(x.float() / 127.5 - 1)) for x in test.split(256)])
    return judge, float((scores.argmax(1) == truth).float().mean())


def kept_word_judge(config, words, path):
    """As `train_word_judge`; the judge is kept in `path`, for the next model of the same data."""
    made_from = {"words": words, "world": asdict(config)}
    if path.exists():
        kept = torch.load(path, weights_only=True)
        if kept["made_from"] == made_from:
            judge = WordJudge(words)
            judge.load_state_dict(kept["judge"])
            return judge.eval(), kept["accuracy"]
    judge, accuracy = train_word_judge(config, words)
    torch.save({"made_from": made_from, "judge": judge.state_dict(), "accuracy": accuracy}, path)
    return judge, accuracy


def colour_features(pictures):
    """Histograms `[n, 30]` of what is not background: hues by saturation, and how light the greys are."""
    small = F.interpolate(pictures, size=(SIZE, SIZE), mode="area").clamp(-1, 1) / 2 + 0.5
    hue, saturation, value = hsv_from_rgb(small)
    shown = ((1 - small).amax(1) > 0.12).float()
    grey = (saturation < 0.2).float()
    bands = [shown * grey * ((value * 6).floor().clamp(max=5) == b).float() for b in range(6)]
    for dark in (0, 1):
        light = ((value < 0.62) == bool(dark)).float()
        bands += [shown * (1 - grey) * light * ((hue * 12).round() % 12 == b).float() for b in range(12)]
    histogram = torch.stack([band.sum((1, 2)) for band in bands], 1)
    return histogram / histogram.sum(1, keepdim=True).clamp(min=1)


def train_colour_judge(config, nouns, per_colour=200):
    """A linear classifier of colour names over `colour_features`, and its accuracy on unseen real pictures."""
    torch.manual_seed(0)

    def real(seed, count):
        world = World(replace(config, times=0.0, filler=0.0), seed=HELD_OUT_SEED + 10 + seed)
        plans = [
            world.plan(ON_WHITE, noun=nouns[i % len(nouns)], colour=colour)
            for colour in COLOUR_NAMES
            for i in range(count)
        ]
        features = [
            colour_features(world.paint(plans[i : i + 256], SIZE)[0]) for i in range(0, len(plans), 256)
        ]
        return torch.cat(features), torch.arange(len(COLOUR_NAMES)).repeat_interleave(count)

    x, y = real(0, per_colour)
    judge = nn.Linear(x.shape[1], len(COLOUR_NAMES))
    optimizer = torch.optim.AdamW(judge.parameters(), 0.1, weight_decay=1e-4)
    for _ in range(400):
        loss = F.cross_entropy(judge(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    test, truth = real(1, 40)
    return judge, float((judge(test).argmax(1) == truth).float().mean())
