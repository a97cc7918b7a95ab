"""Stage 4: distils the teacher into a student that needs 2 to 5 steps and no guidance (LCM, arXiv 2310.04378).

    python train_lcm.py configs/pocket.json

The student's consistency function is diffusers' `LCMScheduler` to the letter, and in the second half of the
stage most of its training goes to the timesteps that will be sampled.
"""

import copy

import torch

from diffusion import (
    FIVE_STEPS, LCM_GRID, alphas_cumprod, consistent_x0, noise_from_v, noised, sample_lcm, x0_from_v,
)  # fmt: skip
from regions import weighted_mean
from settings import Settings, load_tokenizer, pick_device, token_ids
from sheets import PREVIEW_PROMPTS, save_sheet
from train_autoencoder import trained_autoencoder
from train_latents import LatentPool
from train_teacher import pick_size, trained_teacher
from training import Budget, Log, MovingAverage, arguments, autocast, load_checkpoint, save_checkpoint

SAMPLED_SHARE = 0.6  # of the second half's timesteps that are among the sampled ones


def pick_timesteps(count, progress, device):
    """Positions `[count]` in `LCM_GRID`."""
    is_sampled = torch.tensor([t in FIVE_STEPS for t in LCM_GRID], device=device, dtype=torch.float)
    sampled_only = torch.rand(count, 1, device=device) < (SAMPLED_SHARE if progress > 0.5 else 0.0)
    return torch.multinomial(torch.where(sampled_only, is_sampled, torch.ones_like(is_sampled)), 1)[:, 0]


def train(settings, device, chunk_seconds):
    stage, path = settings.distil, settings.folder / "lcm.pt"
    saved = load_checkpoint(path, device)
    torch.manual_seed(settings.seed + (saved["step"] if saved else 0))
    tokenizer, pool = load_tokenizer(settings), LatentPool(settings, device)
    teacher, text = trained_teacher(settings, len(tokenizer), device)
    student = copy.deepcopy(teacher).train().requires_grad_(True)
    average = MovingAverage([student], stage.ema)
    target = average.models[0]
    optimizer = torch.optim.AdamW(
        student.parameters(), stage.lr, betas=(0.9, 0.99), weight_decay=stage.weight_decay, fused=True
    )
    optimizer.param_groups[0]["peak_lr"] = stage.lr
    if saved:
        student.load_state_dict(saved["student"])
        target.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        average.step = saved["step"]
    alphas, grid = alphas_cumprod(settings.scheduler, device), torch.tensor(LCM_GRID, device=device)
    with torch.no_grad():
        empty = text(token_ids(tokenizer, [""]).to(device)).last_hidden_state
    budget, log = Budget(stage, saved or {}, chunk_seconds), Log(settings.folder / "lcm.log")
    low, high = stage.guidance
    losses = []
    while not budget.is_spent:
        size = pick_size({s: w for s, w in stage.sizes.items() if s in pool.shards})
        count = max(8, round(stage.batch * (min(map(int, stage.sizes)) / int(size)) ** 2))
        batch = pool.batch(size, count)
        place = pick_timesteps(count, budget.progress, device)
        t = grid[place]
        earlier = torch.where(place + stage.jump < len(grid), grid[(place + stage.jump).clamp(max=49)], 0)
        alpha, alpha_earlier = alphas[t].view(-1, 1, 1, 1), alphas[earlier].view(-1, 1, 1, 1)
        guidance = low + (high - low) * torch.rand(count, 1, 1, 1, device=device)
        x, _, counts = batch.noised(t, torch.randn_like(batch.latents), alpha)
        budget.set_rate([optimizer])
        with autocast(device):
            with torch.no_grad():
                context = text(batch.ids).last_hidden_state
                both = torch.cat([empty.expand_as(context), context])
                without, with_ = teacher(torch.cat([x, x]), torch.cat([t, t]), both).sample.float().chunk(2)
                v = without + guidance * (with_ - without)
                x_earlier = noised(x0_from_v(x, v, alpha), noise_from_v(x, v, alpha), alpha_earlier)
                v_earlier = target(x_earlier, earlier, context).sample.float()
                wanted = consistent_x0(x_earlier, v_earlier, earlier, alpha_earlier)
            v_student = student(x, t, context).sample.float()
        difference = consistent_x0(x, v_student, t, alpha) - wanted
        loss = weighted_mean(torch.sqrt(difference.pow(2) + 1e-6) - 1e-3, counts)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        average.update([student])
        budget.step += 1
        losses.append(loss.detach())
        if budget.step % stage.log_every == 0:
            log(step=budget.step, seconds=round(budget.seconds), loss=torch.stack(losses).mean().item())
            losses = []
        if budget.save_is_due():
            save_checkpoint(
                path, student=student.state_dict(), average=target.state_dict(),
                optimizer=optimizer.state_dict(), **budget.state(),
            )  # fmt: skip
    return budget.progress >= 1


def trained_student(settings, vocabulary, device):
    """The averaged student and the text encoder, frozen."""
    unet, text = trained_teacher(settings, vocabulary, device)
    unet.load_state_dict(load_checkpoint(settings.folder / "lcm.pt", device)["average"])
    return unet, text


@torch.no_grad()
def preview(settings, device, size=None):
    """A sheet of the student's pictures: `lcm-STEP.png`."""
    tokenizer, vae = load_tokenizer(settings), trained_autoencoder(settings, device)
    unet, text = trained_student(settings, len(tokenizer), device)
    context = text(token_ids(tokenizer, PREVIEW_PROMPTS).to(device)).last_hidden_state
    side = (size or int(max(settings.distil.sizes, key=int))) // 8
    latents = sample_lcm(unet, context, alphas_cumprod(settings.scheduler, device), side)
    step = load_checkpoint(settings.folder / "lcm.pt", "cpu")["step"]
    save_sheet(vae.decode(latents).sample, settings.folder / f"lcm-{step:06}.png", PREVIEW_PROMPTS)


if __name__ == "__main__":
    args = arguments(__doc__)
    loaded, on = Settings.load(args.config, args.out), pick_device()
    train(loaded, on, args.seconds)
    preview(loaded, on)
