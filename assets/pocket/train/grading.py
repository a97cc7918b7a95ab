"""Changes to whole pictures: colour names for materials, times of day and weather, picture styles."""

import torch
import torch.nn.functional as F

from canvas import hsv_from_rgb, rgb_from_hsv
from vocabulary import COLOURS, TIMES


def tint(pictures, colour):
    """Recolours `[n, 3, h, w]` to one named colour, keeping light and shade."""
    recipe = COLOURS[colour]
    hue, saturation, value = hsv_from_rgb(pictures)
    if recipe.hue is None:
        saturation = saturation * recipe.saturation
    else:
        spread = (hue - hue.mean((1, 2), keepdim=True) + 0.5) % 1 - 0.5
        hue = (recipe.hue + 0.25 * spread) % 1
        saturation = (saturation * 0.4 + 0.5) * recipe.saturation
    return rgb_from_hsv(hue, saturation.clamp(0, 1), (value * recipe.value + recipe.lift).clamp(0, 1))


def grade(canvas, pictures, time):
    """The light of one of `vocabulary.TIMES` over `[n, 3, h, w]`."""

    def rgb(*channels):
        return torch.tensor(channels, device=canvas.device).view(1, 3, 1, 1)

    n, height = len(pictures), 1 - canvas.yy[None, None]
    grey = pictures.mean(1, True)
    match TIMES.index(time):
        case 0:
            out = pictures * rgb(1.08, 0.78, 0.6) + rgb(0.14, 0.04, 0.03) * height
        case 1:
            out = (grey * 0.5 + pictures * 0.5) * rgb(0.26, 0.32, 0.55) + rgb(0, 0.01, 0.04)
        case 2:
            mist = canvas.colour(n, (0.75, 0.78, 0.8), (0.88, 0.9, 0.92))
            out = canvas.blend(pictures, mist, 0.45 + 0.3 * (1 - canvas.yy) + 0.06 * canvas.noise(n, 3.0))
        case 3:
            cold = (grey * 0.55 + pictures * 0.45) * rgb(0.95, 1.0, 1.08) + 0.1
            flakes = canvas.smoothstep(0.16, 0.06, canvas.cells(n, 16, 1.0)[0]) * 0.9
            out = canvas.blend(cold, canvas.colour(n, (1, 1, 1), (1, 1, 1)), flakes)
        case 4:
            out = pictures * rgb(0.95, 0.85, 0.92) + rgb(0.1, 0.06, 0.09) * height * 1.2
        case _:
            out = pictures * rgb(1.1, 1.07, 0.95) + rgb(0.05, 0.04, 0.0) * height
    return out.clamp(0, 1)


def stylise(canvas, pictures, style):
    """Redraws `[n, 3, h, w]` in one of `vocabulary.PICTURE_STYLES`."""
    n, size = len(pictures), canvas.size
    weights = torch.tensor([0.3, 0.59, 0.11], device=canvas.device).view(1, 3, 1, 1)
    luma = (pictures * weights).sum(1, True)
    if style == "black and white":
        out = luma.expand(-1, 3, -1, -1)
    elif style == "pencil sketch":
        blurred = F.avg_pool2d(F.pad(1 - luma, (4,) * 4, mode="reflect"), 9, 1)
        lines = (luma / (1 - blurred + 0.03)).clamp(0, 1)
        grain = canvas.noise(n, 0.4, 12)[:, None] * (1 - luma)
        out = (0.75 * lines + 0.25 * luma + 0.05 * grain).clamp(0, 1).expand(-1, 3, -1, -1)
    elif style == "pixel art":
        out = F.interpolate(F.interpolate(pictures, size=32, mode="area"), size=size, mode="nearest")
        out = (out * 7).round() / 7
    elif style == "watercolor":
        wash = F.avg_pool2d(F.pad(pictures, (3,) * 4, mode="reflect"), 7, 1)
        edges = (pictures - wash).abs().mean(1, True) * 4
        out = 0.25 + 0.8 * wash - 0.35 * edges.clamp(0, 0.6) + 0.05 * canvas.noise(n, 2.2)[:, None]
    else:  # oil painting: a median by luma, lit like thick paint
        patches = F.unfold(F.pad(pictures, (2,) * 4, mode="reflect"), 5).view(n, 3, 25, -1)
        lumas = F.unfold(F.pad(luma, (2,) * 4, mode="reflect"), 5).view(n, 1, 25, -1)
        middle = (lumas + 0.02 * canvas.rand(*lumas.shape)).median(2, keepdim=True)[1]
        out = torch.gather(patches, 2, middle.expand(-1, 3, 1, -1)).view(n, 3, size, size)
        out = out * 1.08 + 0.06 * (canvas.relief(luma[:, 0] * 3, 1, 1, 0.5) - 0.5)[:, None]
    return out.clamp(0, 1)
