"""Writes the fixture by which the engine shows that it paints what PyTorch paints.

    python reference_picture.py            # tests/fixtures/pocket/reference.safetensors

Metadata: prompt, timesteps, versions. Tensors (f32 unless said): `token_ids` i64 `[1, 32]`, `context`
`[1, 32, d]`, `noise` `[5, 4, 32, 32]` (first the start, then what is added after each step but the last),
`first_v` `[1, 4, 32, 32]` (the denoiser's first answer), `latent` `[1, 4, 32, 32]`, `picture` u8 `[256, 256, 3]`.
Weights are f16 on disk and computed in f32 here.
"""

import json
import sys

import diffusers
import torch
import transformers
from safetensors.torch import save_file

from painter import HERE, Painter

from diffusion import FIVE_STEPS  # isort: skip (painter finds the recipe)

PROMPT = "a red apple on a white background"
SIDE = 32


class RecordedNoise:
    """Hands the scheduler our own noise, in order."""

    def __init__(self, noise):
        self.rest = list(noise)

    def __call__(self, *_args, **_kwargs):
        return self.rest.pop(0)


@torch.no_grad()
def reference(painter):
    """The picture by diffusers' own scheduler, checked against ours."""
    noise = torch.randn(len(FIVE_STEPS), 4, SIDE, SIDE, generator=torch.Generator().manual_seed(20))
    ids = painter.tokenizer(PROMPT, padding="max_length", max_length=32, return_tensors="pt").input_ids
    context = painter.text(ids).last_hidden_state
    scheduler_module = sys.modules[type(painter.scheduler).__module__]
    scheduler_module.randn_tensor = RecordedNoise(noise[1:, None])
    painter.scheduler.set_timesteps(timesteps=FIVE_STEPS, original_inference_steps=50)
    x, first_v = noise[:1], None
    for t in painter.scheduler.timesteps:
        v = painter.unet(x, t, context).sample
        first_v = v if first_v is None else first_v
        x = painter.scheduler.step(v, t, x, return_dict=False)[0]
    picture = painter.vae.decode(x).sample
    pixels = ((picture[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return {
        "token_ids": ids, "context": context, "noise": noise, "first_v": first_v, "latent": x, "picture": pixels,
    }  # fmt: skip


if __name__ == "__main__":
    folder = HERE.parent.parent / "tests/fixtures/pocket"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous() for name, tensor in reference(Painter()).items()}
    metadata = {
        "prompt": PROMPT,
        "timesteps": json.dumps(FIVE_STEPS),
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }
    save_file(tensors, folder / "reference.safetensors", metadata=metadata)
    print(folder / "reference.safetensors", {name: list(t.shape) for name, t in tensors.items()})
