"""Paints with the finished model in PyTorch: whole pictures, and regions in the manner of StreamMultiDiffusion.

The engine is what users paint with; this is its plain counterpart, for evaluation and fixtures.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "train"))

from diffusion import FIVE_STEPS, alphas_cumprod, consistent_x0, noised, sample_lcm  # noqa: E402

BOOTSTRAP_STEPS = 2


class Painter:
    """The model of a diffusers folder, in f32 on the CPU."""

    def __init__(self, folder=HERE / "model"):
        from diffusers import AutoencoderTiny, LCMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel, CLIPTokenizer

        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").float().eval()
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder").float().eval()
        self.vae = AutoencoderTiny.from_pretrained(folder / "vae").float().eval()
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.scheduler = LCMScheduler.from_pretrained(folder / "scheduler")
        self.alphas = alphas_cumprod(self.scheduler.config, "cpu")

    @torch.no_grad()
    def context(self, prompts):
        """`[n, 32, d]`."""
        length = self.text.config.max_position_embeddings
        ids = self.tokenizer(
            prompts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        return self.text(ids).last_hidden_state

    @torch.no_grad()
    def whole(self, prompts, size=256, seed=0, steps=FIVE_STEPS, batch=32):
        """One picture a prompt, `[n, 3, size, size]` in -1..1."""
        pictures = []
        for start in range(0, len(prompts), batch):
            context = self.context(prompts[start : start + batch])
            latents = sample_lcm(self.unet, context, self.alphas, size // 8, seed + start, steps)
            pictures.append(self.vae.decode(latents).sample)
        return torch.cat(pictures)

    @torch.no_grad()
    def regions(self, prompts, masks, is_object, seed=0, steps=FIVE_STEPS):
        """One picture of several regions; `masks` `[p, H, W]` are 0 or 1, later regions lie on top.

        Objects form against white and in the centre during the first steps, and are rolled to their
        places; predictions are averaged under the masks before noise is added again.
        """
        generator = torch.Generator().manual_seed(seed)
        height, width = (side // 8 for side in masks.shape[1:])
        context = self.context(prompts)
        masks = F.interpolate(masks[:, None].float(), size=(height, width), mode="area").round()
        for i in range(len(masks)):
            masks[:i] = masks[:i] * (1 - masks[i])
        white = self.vae.encode(torch.ones(1, 3, 8 * height, 8 * width)).latents
        shifts = [_shift_to_centre(mask[0]) if o else (0, 0) for mask, o in zip(masks, is_object)]

        def noise():
            return torch.randn(1, 4, height, width, generator=generator)

        def rolled(rows, sign):
            return torch.stack([r.roll((sign * dy, sign * dx), (1, 2)) for r, (dy, dx) in zip(rows, shifts)])

        x = noise()
        for i, t in enumerate(steps):
            timestep, rows = torch.full((len(prompts),), t), x.expand(len(prompts), -1, -1, -1)
            bootstraps = i < BOOTSTRAP_STEPS
            if bootstraps:
                on_white = masks * rows + (1 - masks) * noised(white, noise(), self.alphas[t])
                alone = torch.tensor(is_object).view(-1, 1, 1, 1)
                rows = rolled(torch.where(alone, on_white, rows), 1)
            v = self.unet(rows, timestep, context).sample
            x0 = consistent_x0(rows, v, timestep, self.alphas[t])
            x0 = rolled(x0, -1) if bootstraps else x0
            covered = masks.sum(0)
            mean = (x0 * masks).sum(0) / covered.clamp(min=1)
            x = torch.where(covered > 0, mean, white[0])[None]
            if i + 1 < len(steps):
                x = noised(x, noise(), self.alphas[steps[i + 1]])
        return self.vae.decode(x).sample


def _shift_to_centre(mask):
    """How far (down, right) the mask's bounding box is from the canvas's centre."""
    ys, xs = mask.nonzero(as_tuple=True)
    if len(ys) == 0:
        return 0, 0
    middles = (int(ys.min() + ys.max() + 1) // 2, int(xs.min() + xs.max() + 1) // 2)
    return tuple(side // 2 - middle for side, middle in zip(mask.shape, middles))
