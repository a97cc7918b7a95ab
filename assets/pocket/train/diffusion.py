"""The noise schedule and the samplers: v-prediction, DDIM for the teacher, LCM for the student."""

import torch

# The 50-step grid of a 1000-step schedule, noisiest first, and the indexes in it that are sampled.
LCM_GRID = [1000 // 50 * i - 1 for i in range(50, 0, -1)]
FIVE_STEPS = [LCM_GRID[i] for i in (0, 4, 12, 25, 37)]
TWO_STEPS = [LCM_GRID[i] for i in (0, 25)]


def alphas_cumprod(scheduler, device):
    """`[1000]`: how much of the picture is left at each timestep, squared."""
    start, end = scheduler["beta_start"] ** 0.5, scheduler["beta_end"] ** 0.5
    betas = torch.linspace(start, end, scheduler["num_train_timesteps"], dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, 0).float().to(device)


def noised(x0, noise, alpha):
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise


def velocity_towards(x0, x, alpha):
    """The v that leads from the noisy `x` to `x0`."""
    return (alpha.sqrt() * x - x0) / (1 - alpha).sqrt()


def x0_from_v(x, v, alpha):
    return alpha.sqrt() * x - (1 - alpha).sqrt() * v


def noise_from_v(x, v, alpha):
    return (1 - alpha).sqrt() * x + alpha.sqrt() * v


def boundary(timestep):
    """The consistency function's c_skip and c_out `[n, 1, 1, 1]` (sigma_data 0.5, timestep scaling 10)."""
    scaled = timestep.float() * 10.0
    skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
    return skip.view(-1, 1, 1, 1), out.view(-1, 1, 1, 1)


def consistent_x0(x, v, timestep, alpha):
    skip, out = boundary(timestep)
    return skip * x + out * x0_from_v(x, v, alpha)


@torch.no_grad()
def sample_lcm(unet, context, alphas, latent_size, seed=0, steps=FIVE_STEPS):
    """Latents `[n, 4, latent_size, latent_size]` for `context` `[n, 32, d]`; no guidance needed."""
    generator = torch.Generator().manual_seed(seed)
    n, device = len(context), context.device

    def noise():
        return torch.randn(n, 4, latent_size, latent_size, generator=generator).to(device)

    x = noise()
    for i, t in enumerate(steps):
        timestep = torch.full((n,), t, device=device)
        x = consistent_x0(x, unet(x, timestep, context).sample.float(), timestep, alphas[t])
        if i + 1 < len(steps):
            x = noised(x, noise(), alphas[steps[i + 1]])
    return x


@torch.no_grad()
def sample_ddim(unet, context, empty, alphas, latent_size, seed=0, steps=20, guidance=3.0):
    """The teacher's way: many steps with classifier-free guidance against `empty` `[1, 32, d]`."""
    generator = torch.Generator().manual_seed(seed)
    n, device = len(context), context.device
    x = torch.randn(n, 4, latent_size, latent_size, generator=generator).to(device)
    times = torch.linspace(999, 0, steps + 1).round().long().tolist()
    both = torch.cat([empty.expand_as(context), context])
    for t, following in zip(times, times[1:]):
        v = unet(torch.cat([x, x]), torch.full((2 * n,), t, device=device), both).sample.float()
        without, with_ = v.chunk(2)
        v = without + guidance * (with_ - without)
        x0 = x0_from_v(x, v, alphas[t]).clamp(-3.2, 3.2)
        x = noised(x0, noise_from_v(x, v, alphas[t]), alphas[following]) if following else x0
    return x
