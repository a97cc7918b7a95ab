"""Training on what the denoiser meets inside the stream: one named region of a canvas that holds other things.

In a noisy slot the stream bootstraps: around a region lies white, and inside it nothing yet. Later the region sees the
canvas as it has become: scenery around it, and a rim of white where an object did not fill its mask. Learning to fill
the mask in the first case and to turn the rim into scenery in the second is what makes objects of regions whole.
Only what lies inside the mask counts: the rest is other regions' work, and a model that had to paint it would put
strange patches into a material that is painted alone.
"""

from dataclasses import dataclass

import torch

from diffusion import noised

ALWAYS_ALONE, NEVER_ALONE = 940, 700  # timesteps above and below which regions are (not) bootstrapped
ALONE_BETWEEN = 0.4  # share of regions that are, between these
UNPAINTED_ABOVE = 960  # timesteps at which a mask still holds noise alone
HALO_ABOVE = 150  # below, hardly any noise is left in which to hide a change


@dataclass
class Batch:
    """Latents are f32 `[n, 4, h, w]`, masks `[n, 1, h, w]`."""

    latents: torch.Tensor  # whole pictures
    ids: torch.Tensor  # [n, 32]
    on_white: torch.Tensor  # the object of a region's picture on white
    white: torch.Tensor  # [n, 4, h, w] or one that fits
    masks: torch.Tensor  # 1 everywhere for a picture that is no region
    halos: torch.Tensor
    is_region: torch.Tensor  # [n]
    is_object: torch.Tensor

    def noised(self, t, noise, alpha):
        """What the denoiser sees at the timesteps `t`, what it is to make of it, and where that counts."""

        def column(flags):
            return flags.view(-1, 1, 1, 1)

        share = torch.where(t > ALWAYS_ALONE, 1.0, torch.where(t > NEVER_ALONE, ALONE_BETWEEN, 0.0))
        is_alone = column(self.is_region & (torch.rand_like(share) < share))
        wanted = torch.where(is_alone & column(self.is_object), self.on_white, self.latents)
        inside = torch.where(column(t > UNPAINTED_ABOVE), 0.0, wanted)
        alone = self.masks * inside + (1 - self.masks) * self.white
        rim = self.halos * torch.rand_like(alpha) * column(t >= HALO_ABOVE)
        among = self.latents + rim * (self.on_white - self.latents)
        seen = torch.where(is_alone, alone, torch.where(column(self.is_region), among, self.latents))
        # White around an object on white is its own: all of that picture counts.
        counts = torch.where(is_alone & column(self.is_object), 1.0, self.masks)
        return noised(seen, noise, alpha), wanted, counts


def centred(masks, *planes):
    """Rolls each plane `[n, c, h, w]` as the stream does: the mask to the middle, unless it spans the canvas."""
    n, _, height, width = masks.shape
    rolled = [plane.clone() for plane in (masks, *planes)]
    for i in range(n):
        rows, columns = masks[i, 0].any(1).nonzero(), masks[i, 0].any(0).nonzero()
        if not len(rows):
            continue
        (top, bottom), (left, right) = ((int(p[0]), int(p[-1])) for p in (rows, columns))
        if bottom - top + 1 == height or right - left + 1 == width:
            continue
        shifts = (height // 2 - (top + bottom + 1) // 2, width // 2 - (left + right + 1) // 2)
        for plane in rolled:
            plane[i] = plane[i].roll(shifts, (1, 2))
    return rolled


def weighted_mean(errors, counts):
    """Mean of `errors` `[n, c, h, w]` over the places that count `[n, 1, h, w]`."""
    return (errors * counts).sum() / (counts.sum().clamp(min=1) * errors.shape[1])
