"""Stage 2: encodes captioned pictures once, as shards `latents-SIZE-ENTRY-NUMBER.pt` that the later stages draw from.

    python train_latents.py configs/pocket.json

A shard holds f16 latents `[n, 4, s, s]`, token ids `[n, 32]` and the noisiest timestep they are to be seen at.
Shards that exist are kept; delete them after training the autoencoder again or changing the world.
"""

import time
from dataclasses import replace

import torch

from settings import Settings, load_tokenizer, pick_device, token_ids
from tokenizer import build_tokenizer
from train_autoencoder import trained_autoencoder
from training import arguments, autocast, save_checkpoint
from world import World

SHARD_CPU, SHARD_CUDA = 2048, 16384


@torch.no_grad()
def make_shard(world, vae, tokenizer, size, count, device):
    step = min(count, 512 if device == "cuda" else 64)
    latents, ids = [], []
    for _ in range(0, count, step):
        pictures, captions = world.batch(step, size)
        with autocast(device):
            latents.append(vae.encode(pictures).latents.half().cpu())
        ids.append(token_ids(tokenizer, captions).short())
    return torch.cat(latents), torch.cat(ids)


def make_latents(settings, device, seconds):
    """Makes what is missing, in the order of the config; returns whether all is there."""
    build_tokenizer(settings)
    vae, tokenizer = trained_autoencoder(settings, device), load_tokenizer(settings)
    deadline = time.monotonic() + min(seconds, settings.latents.seconds)
    for place, entry in enumerate(settings.latents.shards):
        size, wanted = entry["size"], entry["count"]
        shard = min(wanted, SHARD_CUDA if device == "cuda" else SHARD_CPU)
        for number in range(-(-wanted // shard)):
            path = settings.folder / f"latents-{size}-{place:02}-{number:04}.pt"
            if path.exists():
                continue
            if time.monotonic() > deadline:
                return False
            config = replace(settings.world, **entry.get("world", {}))
            world = World(config, device, settings.seed + 7 + 1009 * number + 50_021 * place + size)
            latents, ids = make_shard(world, vae, tokenizer, size, shard, device)
            save_checkpoint(path, latents=latents, ids=ids, most=entry.get("most", 999))
            deviation = [round(float(d), 3) for d in latents.float().std((0, 2, 3))]
            print(path.name, len(latents), "deviation", deviation, flush=True)
    return True


class LatentPool:
    """The shards of each size in memory; `refresh` takes in what was added since."""

    def __init__(self, settings, device):
        self.settings, self.device = settings, device
        self.seen, self.latents, self.ids, self.most = set(), {}, {}, {}
        self.refresh()

    def refresh(self):
        for path in sorted(self.settings.folder.glob("latents-*.pt")):
            if path.name in self.seen:
                continue
            self.seen.add(path.name)
            shard = torch.load(path, map_location=self.device, weights_only=True)
            size = path.name.split("-")[1]
            most = torch.full((len(shard["ids"]),), shard["most"], device=self.device)
            for store, value in (
                (self.latents, shard["latents"]),
                (self.ids, shard["ids"]),
                (self.most, most),
            ):
                store[size] = torch.cat([store[size], value]) if size in store else value

    def batch(self, size, count):
        """`count` latents (f32), token ids, and noisiest timesteps `[count]`, of the picture size."""
        chosen = torch.randint(len(self.latents[size]), (count,), device=self.device)
        return self.latents[size][chosen].float(), self.ids[size][chosen].long(), self.most[size][chosen]


if __name__ == "__main__":
    args = arguments(__doc__)
    make_latents(Settings.load(args.config, args.out), pick_device(), args.seconds)
