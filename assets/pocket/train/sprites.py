"""The object drawings: loading the pack, recolouring, placing on a canvas.

`build_sprites.py` makes the pack: `sprites.bin` (WebP pictures end to end) and `sprites.json` (the index).
"""

import io
import json

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from canvas import hsv_from_rgb, rgb_from_hsv
from vocabulary import COLOURS, DATA, NOUNS

# Share of a sprite's opaque pixels that must have one hue before it may be recoloured, or called by a colour.
RECOLOUR_SHARE = 0.45
NATURAL_SHARE = 0.5


class Sprites:
    """Drawings on one device, with their dominant hues.

    `nouns` limits the words, `styles` the drawing styles, `drawings` the drawings a noun (all if None).
    """

    def __init__(self, device, nouns=None, styles=None, drawings=None):
        index = json.loads((DATA / "sprites.json").read_text())
        pack = (DATA / "sprites.bin").read_bytes()
        self.device, self.of_noun, self.styles, tiles = device, {}, [], []
        for entry in index["sprites"]:
            noun, code = entry["noun"], entry["hex"]
            if (nouns and noun not in nouns) or (styles and entry["style"] not in styles):
                continue
            if drawings and code not in NOUNS[noun].codes[:drawings]:
                continue
            picture = Image.open(io.BytesIO(pack[entry["off"] : entry["off"] + entry["len"]]))
            self.of_noun.setdefault(noun, []).append(len(tiles))
            self.styles.append(entry["style"])
            tiles.append(torch.from_numpy(np.array(picture.convert("RGBA"))).permute(2, 0, 1))
        self.tiles = torch.stack(tiles).to(device)  # uint8 [s, 4, 160, 160]
        measured = [_dominant_hue(tile.float() / 255) for tile in tiles]
        self.hue = torch.tensor([hue for hue, _, _ in measured], device=device)
        self.can_recolour = [share > RECOLOUR_SHARE for _, share, _ in measured]
        self.natural_colour = [name if share > NATURAL_SHARE else None for _, share, name in measured]

    def place(self, indices, colours, size, scale, cx, cy, turn, flip, generator):
        """Layers `[n, 4, size, size]` (premultiplied RGBA) with the sprites recoloured and placed.

        `colours` are names or None; `scale`, `cx`, `cy` (in canvas widths) and `turn` (radians) are `[n]`.
        """
        n = len(indices)
        rgba = self.tiles[torch.tensor(indices, device=self.device)].float() / 255
        rgb = self._recoloured(rgba[:, :3], self.hue[indices], colours, generator)
        layer = torch.cat([rgb * rgba[:, 3:], rgba[:, 3:]], 1)
        side = torch.where(flip, -1.0, 1.0)
        cos, sin = torch.cos(turn), torch.sin(turn)
        matrix = torch.zeros(n, 2, 3, device=self.device)
        matrix[:, 0, 0], matrix[:, 0, 1] = side * cos / scale, side * sin / scale
        matrix[:, 1, 0], matrix[:, 1, 1] = -sin / scale, cos / scale
        mx, my = cx * 2 - 1, cy * 2 - 1
        matrix[:, 0, 2] = -(matrix[:, 0, 0] * mx + matrix[:, 0, 1] * my)
        matrix[:, 1, 2] = -(matrix[:, 1, 0] * mx + matrix[:, 1, 1] * my)
        shrink = size * 0.5 / layer.shape[-1]
        if shrink < 0.6:  # shrink first, or sampling would alias
            layer = F.interpolate(layer, size=max(32, int(layer.shape[-1] * shrink * 1.6)), mode="area")
        grid = F.affine_grid(matrix, (n, 4, size, size), align_corners=False)
        return F.grid_sample(layer, grid, padding_mode="zeros", align_corners=False)

    def _recoloured(self, rgb, own_hue, colours, generator):
        """Turns the dominant hue into the named colour and leaves other hues (leaves, faces) alone."""

        def column(values):
            return torch.tensor(values, device=self.device, dtype=torch.float).view(-1, 1, 1)

        recipes = [COLOURS[name] if name else None for name in colours]
        asked = column([r is not None for r in recipes])
        hue, saturation, value = hsv_from_rgb(rgb)
        own = own_hue.view(-1, 1, 1)
        target = torch.where(column([bool(r and r.hue is not None) for r in recipes]) > 0,
                             column([r.hue or 0.0 if r else 0.0 for r in recipes]), own)  # fmt: skip
        distance = ((hue - own + 0.5) % 1 - 0.5).abs()
        near = (1 - (distance - 0.09).clamp(min=0) / 0.06).clamp(0, 1) * (saturation > 0.12)
        near = near * asked
        jitter = (torch.rand(len(colours), 1, 1, device=self.device, generator=generator) - 0.5) * 0.03
        hue = (hue + ((target - own + 0.5) % 1 - 0.5) * near + jitter) % 1
        saturation = saturation * (1 + (column([r.saturation if r else 1.0 for r in recipes]) - 1) * near)
        value = value * (1 + (column([r.value if r else 1.0 for r in recipes]) - 1) * near)
        value = value + column([r.lift if r else 0.0 for r in recipes]) * near
        return rgb_from_hsv(hue, saturation.clamp(0, 1), value.clamp(0, 1))


def _dominant_hue(rgba):
    """The hue most of a sprite has, the share of its pixels that have it, and that colour's name."""
    hue, saturation, value = (field[0] for field in hsv_from_rgb(rgba[None, :3]))
    opaque = rgba[3] > 0.5
    coloured = opaque & (saturation > 0.3) & (value > 0.25)
    if not coloured.any():
        return 0.0, 0.0, None
    counts = torch.histc(hue[coloured], 36, 0, 1)
    counts = counts + counts.roll(1) + counts.roll(-1)
    peak = int(counts.argmax())
    centre = (peak + 0.5) / 36
    hues = {name: c.hue for name, c in COLOURS.items() if c.hue is not None and name != "brown"}
    name = min(hues, key=lambda c: min(abs(hues[c] - centre), 1 - abs(hues[c] - centre)))
    if name in ("orange", "red") and float(value[coloured].mean()) < 0.62:
        name = "brown"
    return centre, float(counts[peak]) / max(1, int(opaque.sum())), name
