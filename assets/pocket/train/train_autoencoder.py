"""Stage 1: the autoencoder (AutoencoderTiny), 8 times smaller, 4 channels, latents near a unit normal.

    python train_autoencoder.py configs/pocket.json
    python train_autoencoder.py configs/pocket.json --decoder-only

The second form sharpens the decoder while the encoder, and so every cached latent, stays as it is: it learns to deceive
a small critic of patches as well (Isola et al. 2017; the balance of the losses as in Esser et al. 2021), since absolute
errors alone are least where a texture is averaged away.
"""

import copy
import math
import sys

import torch
import torch.nn.functional as F
from torch import nn

from settings import Settings, new_autoencoder, pick_device
from training import Budget, Log, MovingAverage, arguments, autocast, load_checkpoint, save_checkpoint
from world import World

GUIDE_STEPS = 400  # how long the latents' first channels are led towards luma and chroma


def reconstruction_loss(made, real):
    """Absolute error of pixels, of gradients (sharpness), and of the 2x and 4x means (colour)."""
    loss = (made - real).abs().mean()
    for axis in (2, 3):
        loss = loss + 0.5 * (torch.diff(made, dim=axis) - torch.diff(real, dim=axis)).abs().mean()
    for size in (2, 4):
        loss = loss + 0.5 * (F.avg_pool2d(made, size) - F.avg_pool2d(real, size)).abs().mean()
    return loss


def latent_loss(latents):
    """Pulls channels to mean 0 and deviation 1, apart from each other, and inside the decoder's clamp."""
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    outside = F.relu(latents.abs() - 2.6).pow(2).mean()
    correlation = torch.corrcoef(latents.transpose(0, 1).flatten(1))
    shared = (correlation - torch.diag(torch.diag(correlation))).pow(2).mean()
    return mean.pow(2).mean() + (deviation - 1).pow(2).mean() + outside + 0.2 * shared


def luma_and_chroma(pictures):
    """The 8x8 means of `[n, 3, H, W]` as three channels of about unit deviation."""
    r, g, b = F.avg_pool2d(pictures, 8).unbind(1)
    luma = 0.3 * r + 0.59 * g + 0.11 * b
    return torch.stack([1.6 * (luma - 0.15), 1.8 * (b - luma), 1.8 * (r - luma)], 1)


@torch.no_grad()
def initialise(vae, pictures):
    """A start that keeps the signal: the default one shrinks it through the norm-free blocks, to grey."""
    convolutions = {"encoder": [], "decoder": []}
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            convolutions[name.split(".")[0]].append(module)
    for module in vae.modules():
        if type(module).__name__ == "AutoencoderTinyBlock":
            module.conv[-1].weight.mul_(0.3)
    last_encoder, last_decoder = convolutions["encoder"][-1], convolutions["decoder"][-1]
    last_encoder.weight.div_(vae.encode(pictures).latents.std((0, 2, 3)).view(-1, 1, 1, 1))
    last_encoder.bias.sub_(vae.encode(pictures).latents.mean((0, 2, 3)))
    decoded = vae.decode(vae.encode(pictures).latents).sample
    last_decoder.weight.mul_(0.2 / (decoded.std() / 2))
    last_decoder.bias.fill_(0.6)


def picture_pool(settings, stage, device, seed):
    """`pool` pictures as bytes, made once a run; random crops of them are the training data."""
    path = settings.folder / f"autoencoder_pool_{stage.size}.pt"
    if path.exists():
        return torch.load(path, map_location=device, weights_only=True)
    world, made, step = World(settings.world, device, seed), [], 512 if device == "cuda" else 64
    while len(made) * step < stage.pool:
        made.append(((world.batch(step, stage.size)[0] + 1) * 127.5).round().byte())
    pool = torch.cat(made)
    if device == "cpu":
        torch.save(pool, path)
    return pool


def random_crops(pool, count, crop):
    top, left = (int(torch.randint(0, pool.shape[-1] - crop + 1, ())) for _ in range(2))
    chosen = pool[torch.randint(len(pool), (count,), device=pool.device)]
    crops = chosen[:, :, top : top + crop, left : left + crop].float() / 127.5 - 1
    return crops.contiguous(memory_format=torch.channels_last)


class Critic(nn.Module):
    """Scores `[n, 1, H/4 - 1, W/4 - 1]` of how real each patch of 16 pixels looks, and the features on the way."""

    def __init__(self, width=32):
        super().__init__()
        layers = (
            (3, width, 4, 2),
            (width, 2 * width, 4, 2),
            (2 * width, 2 * width, 3, 1),
            (2 * width, 1, 2, 1),
        )
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.spectral_norm(
                nn.Conv2d(i, o, kernel, stride, padding=(kernel - 1) // 2)
            )
            for i, o, kernel, stride in layers
        )

    def forward(self, pictures):
        features, x = [], pictures
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.layers[-1](x), features


class Sharpening:
    """The critic in training, and what it adds to the decoder's loss."""

    def __init__(self, stage, last_layer, device):
        self.critic = Critic().to(device, memory_format=torch.channels_last)
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), stage.lr, betas=(0.5, 0.9), fused=True)
        self.optimizer.param_groups[0]["peak_lr"] = stage.lr
        self.stage, self.last_layer = stage, last_layer

    def learn(self, made, real):
        """One step of the critic; hinge loss."""
        fooled, right = self.critic(made.detach())[0], self.critic(real)[0]
        loss = (F.relu(1 + fooled) + F.relu(1 - right)).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()

    def loss(self, made, real, error):
        """What the decoder is to lower besides `error`, scaled so that both pull alike at its last layer."""
        score, features = self.critic(made)
        with torch.no_grad():
            wanted = self.critic(real)[1]
        deceived = -score.mean() + 2 * sum((a - b).abs().mean() for a, b in zip(features, wanted))
        pulls = [
            torch.autograd.grad(loss, self.last_layer, retain_graph=True)[0] for loss in (error, deceived)
        ]
        balance = (pulls[0].norm() / (pulls[1].norm() + 1e-6)).clamp(max=100)
        return self.stage.critic_weight * balance * deceived


def start_autoencoder(settings, pool, device):
    vae = new_autoencoder(settings).to(device, memory_format=torch.channels_last)
    if settings.start:
        from diffusers import AutoencoderTiny

        vae.load_state_dict(AutoencoderTiny.from_pretrained(settings.start / "vae").float().state_dict())
    else:
        initialise(vae, random_crops(pool, 8, settings.autoencoder.crop))
    return vae


def train(settings, device, chunk_seconds, decoder_only):
    stage = copy.copy(settings.autoencoder)
    path = settings.folder / ("decoder.pt" if decoder_only else "autoencoder.pt")
    saved = load_checkpoint(path, device)
    torch.manual_seed(settings.seed + (saved["step"] if saved else 0))
    if decoder_only:
        stage.size, stage.pool = stage.decoder_size, stage.pool // 2
    pool = picture_pool(settings, stage, device, settings.seed + 1000)
    vae = start_autoencoder(settings, pool, device)
    if decoder_only:
        stage.seconds, stage.lr = stage.decoder_seconds, stage.lr * 0.5
        vae.load_state_dict(load_checkpoint(settings.folder / "autoencoder.pt", device)["average"])
        vae.encoder.requires_grad_(False)
    parameters = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, stage.lr, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    optimizer.param_groups[0]["peak_lr"] = stage.lr
    optimizers = [optimizer]
    if decoder_only:
        sharpening = Sharpening(stage, vae.decoder.layers[-1].weight, device)
        optimizers.append(sharpening.optimizer)
    average = MovingAverage([vae], stage.ema)
    if saved:
        vae.load_state_dict(saved["model"])
        average.models[0].load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        average.step = saved["step"]
        if decoder_only:
            sharpening.critic.load_state_dict(saved["critic"])
            sharpening.optimizer.load_state_dict(saved["critic_optimizer"])
    budget, log = Budget(stage, saved or {}, chunk_seconds), Log(settings.folder / "autoencoder.log")
    while not budget.is_spent:
        pictures = random_crops(pool, stage.batch, stage.crop)
        budget.set_rate(optimizers)
        with autocast(device):
            latents = vae.encode(pictures).latents.float()
            shaken = latents + torch.randn_like(latents) * stage.noise * torch.rand_like(
                latents[:, :1, :1, :1]
            )
            made = vae.decode(shaken).sample
        loss = error = reconstruction_loss(made.float(), pictures)
        if decoder_only:
            sharpening.learn(made.float(), pictures)
            loss = error + sharpening.loss(made.float(), pictures, error)
        else:
            guide = max(0.02, 1 - budget.step / GUIDE_STEPS) if not settings.start else 0.02
            led = (latents[:, :3] - luma_and_chroma(pictures)).abs().mean()
            loss = error + stage.regular * latent_loss(latents) + guide * led
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.update([vae])
        budget.step += 1
        if budget.step % stage.log_every == 0:
            squared = (made.detach().float() - pictures).pow(2).mean()
            psnr = 10 * math.log10(4 / float(squared))
            log(step=budget.step, seconds=round(budget.seconds), loss=error.detach().item(), psnr=psnr)
        if budget.save_is_due():
            critic = {}
            if decoder_only:
                critic["critic"] = sharpening.critic.state_dict()
                critic["critic_optimizer"] = sharpening.optimizer.state_dict()
            save_checkpoint(
                path, model=vae.state_dict(), average=average.models[0].state_dict(),
                optimizer=optimizer.state_dict(), **critic, **budget.state(),
            )  # fmt: skip
    return budget.progress >= 1


def trained_autoencoder(settings, device):
    """The averaged autoencoder, with the sharpened decoder if there is one; ready to use, frozen."""
    vae = new_autoencoder(settings)
    path = settings.folder / "decoder.pt"
    saved = load_checkpoint(path if path.exists() else settings.folder / "autoencoder.pt", device)
    vae.load_state_dict(saved["average"])
    return vae.to(device).eval().requires_grad_(False)


if __name__ == "__main__":
    decoder_only = "--decoder-only" in sys.argv
    sys.argv = [a for a in sys.argv if a != "--decoder-only"]
    args = arguments(__doc__)
    train(Settings.load(args.config, args.out), pick_device(), args.seconds, decoder_only)
