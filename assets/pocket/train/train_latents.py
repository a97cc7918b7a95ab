"""Stage 2: encodes captioned pictures once, as shards `latents-SIZE-ENTRY-NUMBER.pt` that the later stages draw from.

    python train_latents.py configs/pocket.json

A shard holds f16 latents `[n, 4, s, s]` and token ids `[n, 32]`; one of regions also what `regions.Batch` needs.
Shards that exist are kept; delete them after training the autoencoder again or changing the world.
"""

import time
from dataclasses import replace

import torch

from regions import Batch, centred
from settings import Settings, load_tokenizer, pick_device, token_ids
from tokenizer import build_tokenizer
from train_autoencoder import trained_autoencoder
from training import arguments, autocast, save_checkpoint
from world import World

SHARD_CPU, SHARD_CUDA = 2048, 16384


@torch.no_grad()
def make_shard(world, vae, tokenizer, size, count, of_regions, device):
    """The tensors of one shard, by name."""

    def encode(pictures):
        with autocast(device):
            return vae.encode(pictures).latents.half()

    step, parts = min(count, 512 if device == "cuda" else 64), []
    for _ in range(0, count, step):
        if of_regions:
            made = world.regions(step, size)
            planes = (encode(made.pictures), encode(made.on_white), made.halos)
            masks, latents, on_white, halos = centred(made.masks, *planes)
            more = {
                "on_white": on_white,
                "masks": masks.bool(),
                "halos": halos.bool(),
                "is_object": made.is_object,
            }
            captions = made.captions
        else:
            pictures, captions = world.batch(step, size)
            latents, more = encode(pictures), {}
        parts.append({"latents": latents, "ids": token_ids(tokenizer, captions).short(), **more})
    shard = {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}
    if of_regions:
        shard["white"] = encode(torch.ones(1, 3, size, size, device=device)).cpu()
    return shard


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
            made = make_shard(world, vae, tokenizer, size, shard, entry.get("regions", False), device)
            save_checkpoint(path, **made)
            deviation = [round(float(d), 3) for d in made["latents"].float().std((0, 2, 3))]
            print(path.name, shard, "deviation", deviation, flush=True)
    return True


class LatentPool:
    """The shards of each size in memory; `refresh` takes in what was added since."""

    def __init__(self, settings, device):
        self.settings, self.device = settings, device
        self.seen, self.shards, self.white = set(), {}, {}
        self.refresh()

    def refresh(self):
        for path in sorted(self.settings.folder.glob("latents-*.pt")):
            if path.name in self.seen:
                continue
            self.seen.add(path.name)
            shard = torch.load(path, map_location=self.device, weights_only=True)
            size, white = path.name.split("-")[1], shard.pop("white", None)
            shard["is_region"] = torch.full((len(shard["ids"]),), white is not None, device=self.device)
            if white is None:  # stands for itself
                nowhere = torch.zeros_like(shard["latents"][:, :1], dtype=torch.bool)
                shard |= {"on_white": shard["latents"], "masks": ~nowhere, "halos": nowhere,
                          "is_object": torch.zeros_like(shard["is_region"])}  # fmt: skip
            else:
                self.white[size] = white.float()
            self.shards.setdefault(size, []).append(shard)

    def batch(self, size, count):
        """`count` pictures of the size, as often of a shard as it has pictures."""
        shards = self.shards[size]
        sizes = torch.tensor([float(len(shard["ids"])) for shard in shards])
        counts = torch.multinomial(sizes, count, replacement=True).bincount(minlength=len(shards))
        drawn = [
            (s, torch.randint(len(s["ids"]), (int(k),), device=self.device))
            for s, k in zip(shards, counts)
            if k
        ]

        def gather(name):
            return torch.cat([shard[name][chosen] for shard, chosen in drawn])

        planes = {name: gather(name).float() for name in ("latents", "on_white", "masks", "halos")}
        flags = {name: gather(name) for name in ("is_region", "is_object")}
        white = self.white.get(size, torch.zeros((), device=self.device))
        return Batch(ids=gather("ids").long(), white=white, **planes, **flags)


if __name__ == "__main__":
    args = arguments(__doc__)
    make_latents(Settings.load(args.config, args.out), pick_device(), args.seconds)
