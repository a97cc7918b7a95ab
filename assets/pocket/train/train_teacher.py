"""Stage 3: the teacher, a latent diffusion model (v-prediction) with its text encoder trained along.

python train_teacher.py configs/pocket.json
"""

import time

import torch

from diffusion import alphas_cumprod, sample_ddim, velocity_towards
from muon import optimizers_for
from regions import weighted_mean
from settings import Settings, load_tokenizer, new_text_encoder, new_unet, pick_device, token_ids
from sheets import PREVIEW_PROMPTS, save_sheet
from train_autoencoder import trained_autoencoder
from train_latents import LatentPool
from training import (
    Budget, Log, MovingAverage, arguments, autocast, count_parameters, load_checkpoint, save_checkpoint,
)  # fmt: skip

REFRESH_SECONDS = 60.0


def start_models(settings, vocabulary, device):
    """Fresh models, or those of the finished model that the config starts from."""
    unet, text = new_unet(settings, device), new_text_encoder(settings, vocabulary)
    if settings.start:
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        unet.load_state_dict(
            UNet2DConditionModel.from_pretrained(settings.start / "unet").float().state_dict()
        )
        text.load_state_dict(
            CLIPTextModel.from_pretrained(settings.start / "text_encoder").float().state_dict()
        )
    return unet, text.to(device)


def pick_size(sizes):
    names = list(sizes)
    return names[int(torch.multinomial(torch.tensor([float(sizes[n]) for n in names]), 1))]


def train(settings, device, chunk_seconds):
    stage, path = settings.teacher, settings.folder / "teacher.pt"
    saved = load_checkpoint(path, device)
    torch.manual_seed(settings.seed + (saved["step"] if saved else 0))
    tokenizer, pool = load_tokenizer(settings), LatentPool(settings, device)
    unet, text = start_models(settings, len(tokenizer), device)
    average = MovingAverage([unet, text], stage.ema)
    optimizers = optimizers_for([unet, text], stage)
    if saved:
        for model, state in zip((unet, text, *average.models), saved["models"]):
            model.load_state_dict(state)
        for optimizer, state in zip(optimizers, saved["optimizers"]):
            optimizer.load_state_dict(state)
        average.step = saved["step"]
    print("unet", count_parameters(unet), "text encoder", count_parameters(text), flush=True)
    parameters = [p for model in (unet, text) for p in model.parameters()]
    denoise = torch.compile(unet) if stage.compile and device == "cuda" else unet
    alphas, empty = alphas_cumprod(settings.scheduler, device), token_ids(tokenizer, [""]).to(device)
    budget, log = Budget(stage, saved or {}, chunk_seconds), Log(settings.folder / "teacher.log")
    refreshed, samples, losses, cpu = time.monotonic(), 0, {}, time.process_time()
    while not budget.is_spent:
        sizes = stage.late_sizes if stage.late_sizes and budget.progress > stage.late_from else stage.sizes
        size = pick_size({s: w for s, w in sizes.items() if s in pool.shards})
        # A larger picture costs more: keep the cost of a step about the same.
        count = max(8, round(stage.batch * (min(map(int, stage.sizes)) / int(size)) ** 2))
        batch = pool.batch(size, count)
        dropped = torch.rand(count, 1, device=device) < stage.caption_drop
        ids = torch.where(dropped, empty, batch.ids)
        t = (1000 * torch.rand(count, device=device) ** stage.noise_bias).long().clamp(max=999)
        alpha = alphas[t].view(-1, 1, 1, 1)
        x, wanted, counts = batch.noised(t, torch.randn_like(batch.latents), alpha)
        budget.set_rate(optimizers)
        with autocast(device):
            context = text(ids).last_hidden_state
            predicted = denoise(x, t, context).sample
        loss = weighted_mean((predicted.float() - velocity_towards(wanted, x, alpha)).pow(2), counts)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        average.update([unet, text])
        budget.step += 1
        samples += count
        losses.setdefault(size, []).append(loss.detach())
        if budget.step % stage.log_every == 0:
            means = {f"v_loss_{s}": torch.stack(values).mean().item() for s, values in sorted(losses.items())}
            rate = samples / max(1e-9, time.process_time() - cpu)
            log(
                step=budget.step,
                seconds=round(budget.seconds),
                samples=samples,
                samples_per_cpu_second=rate,
                **means,
            )
            losses = {}
        if time.monotonic() - refreshed > REFRESH_SECONDS:
            pool.refresh()
            refreshed = time.monotonic()
        if budget.save_is_due():
            models = [m.state_dict() for m in (unet, text, *average.models)]
            states = [o.state_dict() for o in optimizers]
            save_checkpoint(path, models=models, optimizers=states, **budget.state())
    return budget.progress >= 1


def trained_teacher(settings, vocabulary, device):
    """The averaged denoiser and text encoder, frozen."""
    saved = load_checkpoint(settings.folder / "teacher.pt", device)
    unet, text = new_unet(settings, device), new_text_encoder(settings, vocabulary).to(device)
    for model, state in zip((unet, text), saved["models"][2:]):
        model.load_state_dict(state)
        model.eval().requires_grad_(False)
    return unet, text


@torch.no_grad()
def preview(settings, device, size=None):
    """A sheet of the teacher's pictures, to look at: `teacher-STEP.png`."""
    tokenizer, vae = load_tokenizer(settings), trained_autoencoder(settings, device)
    unet, text = trained_teacher(settings, len(tokenizer), device)
    context = text(token_ids(tokenizer, [*PREVIEW_PROMPTS, ""]).to(device)).last_hidden_state
    side = (size or int(min(settings.teacher.sizes, key=int))) // 8
    alphas = alphas_cumprod(settings.scheduler, device)
    with autocast(device):
        latents = sample_ddim(unet, context[:-1], context[-1:], alphas, side)
    step = load_checkpoint(settings.folder / "teacher.pt", "cpu")["step"]
    save_sheet(vae.decode(latents).sample, settings.folder / f"teacher-{step:06}.png", PREVIEW_PROMPTS)


if __name__ == "__main__":
    args = arguments(__doc__)
    loaded, on = Settings.load(args.config, args.out), pick_device()
    train(loaded, on, args.seconds)
    preview(loaded, on)
