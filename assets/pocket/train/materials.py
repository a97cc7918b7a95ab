"""Procedural pictures of materials and sceneries, batched: every function paints `n` pictures at once.

A painter takes a `Canvas` (the random source and the noise functions) and a count, and returns
`[n, 3, size, size]` in 0..1. The constants are colours and frequencies found by eye; frequencies are in
cycles per canvas, so a picture looks alike at every size. `MATERIALS` at the end gives each its words.
"""

from dataclasses import dataclass
from typing import Callable

import torch

from canvas import rgb_from_hsv


def sky(canvas, n, top=((0.12, 0.35, 0.75), (0.35, 0.6, 0.95)), bot=((0.6, 0.8, 0.97), (0.85, 0.93, 1.0))):
    x = canvas.gradient(
        canvas.colour(n, *top),
        canvas.colour(n, *bot),
        (canvas.yy[None] * canvas.uniform(n, 0.7, 1.1)) ** canvas.uniform(n, 0.7, 1.4),
    )
    return canvas.blend(
        x,
        canvas.colour(n, (1, 1, 1), (1, 1, 1)),
        canvas.smoothstep(0.9, 3.0, canvas.noise(n, 2.6, ax=0.6)) * canvas.uniform(n, 0, 0.5),
    )


def clouds(
    canvas,
    n,
    cl=((0.97, 0.97, 1.0), (1, 1, 1)),
    sh=((0.68, 0.74, 0.84), (0.8, 0.85, 0.92)),
    top=((0.15, 0.38, 0.78), (0.35, 0.6, 0.95)),
    bot=((0.6, 0.8, 0.97), (0.8, 0.9, 1.0)),
    cover=(-0.4, 0.5),
):
    b = canvas.gradient(canvas.colour(n, *top), canvas.colour(n, *bot))
    f = canvas.noise(n, 2.9, ax=canvas.uniform(n, 0.5, 0.9))
    m = canvas.smoothstep(-0.15, 0.75, f + canvas.uniform(n, *cover))
    l = canvas.relief(f, -0.4, 1.2, 0.9) * 0.6 + 0.4 * canvas.smoothstep(-0.5, 1.5, f)
    return canvas.blend(b, canvas.ramp(l, canvas.colour(n, *sh), canvas.colour(n, *cl)), m)


def sunset(canvas, n):
    x = canvas.ramp(
        canvas.yy[None] * canvas.uniform(n, 0.85, 1.1),
        canvas.colour(n, (0.18, 0.15, 0.42), (0.4, 0.25, 0.55)),
        canvas.colour(n, (0.75, 0.3, 0.45), (0.95, 0.5, 0.5)),
        canvas.colour(n, (0.98, 0.5, 0.2), (1.0, 0.62, 0.3)),
        canvas.colour(n, (1.0, 0.78, 0.35), (1.0, 0.88, 0.6)),
    )
    f = canvas.noise(n, 2.8, ax=0.35, ay=1.3)
    x = canvas.blend(
        x,
        canvas.colour(n, (0.45, 0.16, 0.3), (1.0, 0.62, 0.45)),
        canvas.smoothstep(0.2, 1.4, f) * canvas.uniform(n, 0.3, 0.9),
    )
    cx, cy, r = canvas.uniform(n, 0.2, 0.8), canvas.uniform(n, 0.55, 0.85), canvas.uniform(n, 0.04, 0.1)
    d = torch.sqrt((canvas.xx - cx) ** 2 + (canvas.yy - cy) ** 2)
    on = (canvas.uniform(n) < 0.6).float()
    x = canvas.blend(x, canvas.colour(n, (1, 0.85, 0.5), (1, 0.9, 0.6)), torch.exp(-d / 0.15) * 0.6 * on)
    return canvas.blend(
        x, canvas.colour(n, (1, 0.93, 0.65), (1, 0.97, 0.8)), canvas.smoothstep(r, r * 0.9, d) * on
    )


def night_sky(
    canvas, n, top=((0.01, 0.01, 0.06), (0.05, 0.05, 0.18)), bot=((0.04, 0.06, 0.2), (0.15, 0.15, 0.4))
):
    x = canvas.gradient(canvas.colour(n, *top), canvas.colour(n, *bot))
    f1, _, c = canvas.cells(n, 14, 1.0)
    st = canvas.smoothstep(0.13, 0.02, f1 / (c + 0.35)) * (c > 0.35)
    f1, _, c = canvas.cells(n, 32, 1.0)
    st = torch.maximum(st, canvas.smoothstep(0.2, 0.04, f1) * (c > 0.6) * 0.8)
    x = canvas.blend(
        x,
        canvas.colour(n, (0.25, 0.2, 0.5), (0.4, 0.4, 0.7)),
        canvas.smoothstep(0.3, 2.2, canvas.noise(n, 2.6)) * 0.6,
    )
    return canvas.blend(x, canvas.colour(n, (0.95, 0.95, 0.85), (1, 1, 1)), st)


def galaxy(canvas, n):
    f = canvas.noise(n, 2.6)
    g = canvas.noise(n, 2.6)
    x = canvas.ramp(
        canvas.smoothstep(-1.2, 2.0, f),
        canvas.colour(n, (0.02, 0.01, 0.06), (0.04, 0.03, 0.12)),
        canvas.colour(n, (0.2, 0.06, 0.35), (0.1, 0.12, 0.5)),
        canvas.colour(n, (0.7, 0.2, 0.6), (0.3, 0.5, 0.9)),
        canvas.colour(n, (1, 0.8, 0.9), (0.85, 0.95, 1)),
    )
    x = canvas.blend(
        x, canvas.colour(n, (0.1, 0.5, 0.7), (0.9, 0.4, 0.2)), canvas.smoothstep(0.5, 2.0, g) * 0.6
    )
    f1, _, c = canvas.cells(n, 24, 1.0)
    return canvas.blend(
        x, canvas.colour(n, (1, 1, 1), (1, 1, 1)), canvas.smoothstep(0.18, 0.03, f1) * (c > 0.5)
    )


def aurora(canvas, n):
    x = night_sky(canvas, n)
    w = canvas.noise(n, 3.2, ax=1.0, ay=0.2) * 0.08
    y = canvas.yy + w
    c0 = canvas.uniform(n, 0.45, 0.75)
    b = canvas.noise(n, 2.0, ax=1.0, ay=0.05)
    a = (
        torch.exp(-((c0 - y).clamp(min=0) / canvas.uniform(n, 0.18, 0.4)))
        * canvas.smoothstep(0.02, -0.02, y - c0)
        * (0.55 + 0.3 * b).clamp(0, 1)
    )
    return canvas.blend(
        x,
        canvas.ramp(
            ((c0 - y) * 2).clamp(0, 1),
            canvas.colour(n, (0.3, 0.95, 0.55), (0.5, 1, 0.7)),
            canvas.colour(n, (0.3, 0.5, 0.9), (0.7, 0.3, 0.85)),
        ),
        a,
    )


def storm_clouds(canvas, n):
    return clouds(
        canvas,
        n,
        ((0.55, 0.57, 0.62), (0.7, 0.72, 0.76)),
        ((0.16, 0.17, 0.22), (0.28, 0.3, 0.36)),
        ((0.22, 0.24, 0.3), (0.3, 0.33, 0.4)),
        ((0.4, 0.43, 0.48), (0.5, 0.53, 0.58)),
        (0.4, 1.2),
    )


def fog(canvas, n):
    return canvas.blend(
        canvas.gradient(
            canvas.colour(n, (0.7, 0.74, 0.78), (0.88, 0.9, 0.92)),
            canvas.colour(n, (0.82, 0.84, 0.86), (0.95, 0.95, 0.96)),
        ),
        canvas.colour(n, (0.55, 0.6, 0.64), (0.7, 0.73, 0.76)),
        canvas.smoothstep(-0.5, 2.5, canvas.noise(n, 3.0, ax=0.4)) * 0.8,
    )


def smoke(canvas, n):
    f = canvas.noise(n, 2.7, ay=0.6)
    return canvas.ramp(
        canvas.smoothstep(-1.6, 2.0, f) * 0.6 + 0.4 * canvas.relief(f, 1.0, 1.0, 0.8),
        canvas.colour(n, (0.1, 0.1, 0.11), (0.25, 0.25, 0.26)),
        canvas.colour(n, (0.5, 0.5, 0.51), (0.65, 0.65, 0.66)),
        canvas.colour(n, (0.82, 0.82, 0.83), (0.92, 0.92, 0.92)),
    )


def rain(canvas, n):
    f = canvas.noise(n, 0.3, 12, 70, ax=1.0, ay=0.12)
    return canvas.blend(
        canvas.blend(
            canvas.gradient(
                canvas.colour(n, (0.35, 0.4, 0.47), (0.45, 0.5, 0.56)),
                canvas.colour(n, (0.52, 0.56, 0.62), (0.62, 0.66, 0.7)),
            ),
            canvas.colour(n, (0.3, 0.34, 0.4), (0.4, 0.44, 0.5)),
            canvas.smoothstep(-1, 2, canvas.noise(n, 2.8)),
        ),
        canvas.colour(n, (0.8, 0.85, 0.9), (0.9, 0.93, 0.96)),
        canvas.smoothstep(1.1, 2.4, f) * 0.9,
    )


def _wave(canvas, n):
    p = 1 / (canvas.yy[None] * canvas.uniform(n, 0.7, 1.0) + canvas.uniform(n, 0.06, 0.15))
    f = canvas.noise(n, 2.2, 2, ax=0.35, ay=1.4)
    return f, torch.sin(p * canvas.uniform(n, 14, 26) + f * 1.6 + canvas.noise(n, 2.8) * 1.2)


def sea(canvas, n, a=((0.02, 0.2, 0.42), (0.05, 0.32, 0.52)), b=((0.1, 0.45, 0.65), (0.2, 0.62, 0.75))):
    f, w = _wave(canvas, n)
    t = 0.5 + 0.22 * w + 0.17 * f
    x = canvas.ramp(
        t + (canvas.yy - 0.5) * 0.25,
        canvas.colour(n, *a),
        canvas.colour(n, *b),
        canvas.colour(n, (0.5, 0.78, 0.88), (0.65, 0.9, 0.95)),
    )
    return canvas.blend(
        x,
        canvas.colour(n, (0.9, 0.96, 1), (1, 1, 1)),
        canvas.smoothstep(1.35, 2.1, f + w * 0.6) * canvas.uniform(n, 0.3, 1.0),
    )


def lake(canvas, n):
    f = canvas.noise(n, 2.0, ax=0.18, ay=1.6)
    g = canvas.noise(n, 3.0)
    return canvas.blend(
        canvas.ramp(
            0.5 + 0.16 * f + 0.12 * g + (0.5 - canvas.yy) * 0.5,
            canvas.colour(n, (0.05, 0.22, 0.34), (0.12, 0.34, 0.42)),
            canvas.colour(n, (0.2, 0.5, 0.62), (0.32, 0.6, 0.7)),
            canvas.colour(n, (0.6, 0.82, 0.9), (0.78, 0.9, 0.95)),
        ),
        canvas.colour(n, (0.9, 0.96, 1), (1, 1, 1)),
        canvas.smoothstep(1.6, 2.4, f) * 0.7,
    )


def water(canvas, n, a=((0.03, 0.4, 0.6), (0.1, 0.55, 0.75)), b=((0.3, 0.75, 0.85), (0.5, 0.88, 0.93))):
    _, e, _ = canvas.cells(n, 6, 1.0, warp=0.03)
    return canvas.ramp(
        canvas.smoothstep(0.4, 0.0, e) ** 2 * 0.8 + 0.2 * canvas.smoothstep(-2, 2, canvas.noise(n, 2.8)),
        canvas.colour(n, *a),
        canvas.colour(n, *b),
        canvas.colour(n, (0.9, 1, 1), (1, 1, 1)),
    )


def waterfall(canvas, n):
    f = canvas.noise(n, 1.6, 1, ax=1.3, ay=0.12)
    x = canvas.ramp(
        0.5 + 0.28 * f,
        canvas.colour(n, (0.2, 0.42, 0.55), (0.3, 0.5, 0.62)),
        canvas.colour(n, (0.6, 0.78, 0.86), (0.7, 0.85, 0.9)),
        canvas.colour(n, (0.95, 0.98, 1), (1, 1, 1)),
    )
    m = canvas.smoothstep(
        0.06,
        0.16,
        (canvas.xx - 0.5).abs() - canvas.uniform(n, 0.18, 0.5) + 0.03 * canvas.noise(n, 2.4, ax=1.2, ay=0.5),
    )
    r = rock(canvas, n) * 0.7
    x = x * (1 - m[:, None]) + r * m[:, None]
    return canvas.blend(
        x,
        canvas.colour(n, (0.95, 0.98, 1), (1, 1, 1)),
        canvas.smoothstep(0.75, 1.1, canvas.yy + 0.06 * canvas.noise(n, 2.2)) * 0.8,
    )


def grass(
    canvas,
    n,
    a=((0.08, 0.28, 0.06), (0.14, 0.38, 0.1)),
    b=((0.3, 0.6, 0.14), (0.5, 0.75, 0.22)),
    m=((0.18, 0.45, 0.1), (0.3, 0.58, 0.16)),
):
    f = canvas.noise(n, 1.2, 6, ax=1.2, ay=0.3)
    g = canvas.noise(n, 2.8)
    return canvas.ramp(
        0.5 + 0.2 * f + 0.12 * g, canvas.colour(n, *a), canvas.colour(n, *m), canvas.colour(n, *b)
    )


def _dots(canvas, n, x, cells, cols, r0=0.2, r1=0.4, p=0.5):
    f1, _, c = canvas.cells(n, cells, 0.9)
    m = canvas.smoothstep(1.0, 0.75, f1 / (r0 + (r1 - r0) * c)) * (c > 1 - p)
    i = (c * 97) % 1
    col = canvas.ramp(i, *[canvas.colour(n, a, a) for a in cols])
    return x * (1 - m[:, None]) + col * m[:, None]


FLOWER_COLOURS = [
    (0.95, 0.25, 0.3),
    (0.98, 0.85, 0.2),
    (1, 0.97, 0.95),
    (0.9, 0.45, 0.85),
    (0.45, 0.45, 0.95),
]


def meadow(canvas, n):
    return _dots(canvas, n, grass(canvas, n), 14, FLOWER_COLOURS, 0.15, 0.3, 0.4)


def flowers(canvas, n):
    x = _dots(canvas, n, grass(canvas, n), 9, FLOWER_COLOURS, 0.3, 0.5, 0.85)
    return _dots(canvas, n, x, 15, FLOWER_COLOURS[::-1], 0.2, 0.4, 0.6)


def leaves(
    canvas,
    n,
    a=((0.03, 0.14, 0.04), (0.07, 0.22, 0.06)),
    m=((0.12, 0.36, 0.1), (0.2, 0.46, 0.14)),
    b=((0.35, 0.6, 0.18), (0.55, 0.75, 0.28)),
):
    f1, _, c = canvas.cells(n, 9, 1.0, warp=0.02)
    f2, _, d = canvas.cells(n, 20, 1.0, warp=0.01)
    return canvas.ramp(
        0.2 + 0.45 * (1 - f2) + 0.25 * (d - 0.5) + 0.3 * (0.6 - f1) + 0.08 * canvas.noise(n, 2.0),
        canvas.colour(n, *a),
        canvas.colour(n, *m),
        canvas.colour(n, *b),
    )


def autumn_leaves(canvas, n):
    return leaves(
        canvas,
        n,
        ((0.3, 0.08, 0.03), (0.4, 0.14, 0.04)),
        ((0.75, 0.3, 0.06), (0.85, 0.42, 0.1)),
        ((0.95, 0.7, 0.15), (1, 0.82, 0.3)),
    )


def forest(canvas, n):
    mist, dark = canvas.colour(n, (0.5, 0.66, 0.5), (0.68, 0.8, 0.62)), canvas.colour(
        n, (0.1, 0.07, 0.04), (0.2, 0.13, 0.08)
    )
    x = canvas.gradient(mist * 0.75, mist)
    floor = canvas.colour(n, (0.1, 0.22, 0.06), (0.2, 0.32, 0.1))
    for depth, (count, width) in enumerate(((13, 0.16), (8, 0.17), (4.5, 0.2))):
        nearness = (depth + 1) / 3
        base = 0.62 + 0.14 * depth + 0.015 * canvas.noise(n, 2.4)
        ground = canvas.smoothstep(-0.01, 0.01, canvas.yy - base)
        grain = canvas.noise(n, 1.6, ax=1.4, ay=0.2)[:, None] * 0.06
        x = canvas.blend(x, mist + (floor - mist) * nearness + grain, ground)
        lane = canvas.xx * canvas.uniform(n, count * 0.8, count * 1.2) + canvas.uniform(n, 0, 9)
        chance = (torch.sin(lane.floor() * 71.3 + canvas.uniform(n, 0, 9)) * 4375.8) % 1
        centre = 0.35 + 0.3 * chance + 0.02 * torch.sin(canvas.yy * 9 + chance * 20)
        thick = width * (0.5 + 0.5 * chance) * (0.75 + 0.35 * canvas.yy)
        trunk = canvas.smoothstep(0.04, -0.04, (lane - lane.floor() - centre).abs() - thick)
        trunk = trunk * canvas.smoothstep(0.02, -0.02, canvas.yy - base - 0.03 * chance) * (chance > 0.2)
        x = canvas.blend(x, mist + (dark - mist) * nearness + grain, trunk)
    edge = 0.3 + 0.09 * canvas.noise(n, 2.0, 2)
    crowns = canvas.smoothstep(0.06, -0.06, canvas.yy - edge)[:, None]
    return x * (1 - crowns) + leaves(canvas, n) * crowns


def jungle(canvas, n):
    x = leaves(canvas, n, m=((0.08, 0.42, 0.16), (0.14, 0.5, 0.2)))
    f = canvas.noise(n, 1.4, 2, ax=0.7, ay=0.7)
    return canvas.blend(
        x, canvas.colour(n, (0.1, 0.5, 0.2), (0.3, 0.7, 0.3)), canvas.smoothstep(1.0, 1.3, f) * 0.8
    )


def hedge(canvas, n):
    f1, _, d = canvas.cells(n, 26, 1.0)
    return canvas.ramp(
        0.25 + 0.5 * (1 - f1) * d + 0.1 * canvas.noise(n, 2.0),
        canvas.colour(n, (0.03, 0.16, 0.05), (0.06, 0.22, 0.08)),
        canvas.colour(n, (0.15, 0.42, 0.14), (0.22, 0.5, 0.18)),
        canvas.colour(n, (0.4, 0.66, 0.3), (0.5, 0.74, 0.36)),
    )


def moss(canvas, n):
    f = canvas.noise(n, 1.8, 2)
    return canvas.ramp(
        0.5 + 0.2 * f + 0.25 * (canvas.relief(f, 1, 1, 0.8) - 0.5),
        canvas.colour(n, (0.1, 0.18, 0.03), (0.16, 0.25, 0.05)),
        canvas.colour(n, (0.32, 0.42, 0.08), (0.42, 0.52, 0.12)),
        canvas.colour(n, (0.6, 0.68, 0.2), (0.7, 0.76, 0.3)),
    )


def _ridge(canvas, n, k, sky, near, far, rough, snow=0.0, base=(0.35, 0.9), amp=0.13):
    x = sky
    for i in range(k):
        t = i / max(1, k - 1)
        h = base[0] + (base[1] - base[0]) * t
        line = canvas.noise(n, rough, 1)[:, :1, :]
        line = h + amp * (1.1 - 0.5 * t) * line
        below = canvas.smoothstep(-0.004, 0.004, canvas.yy - line)
        col = far + (near - far) * t
        tex = canvas.noise(n, 2.2)
        d = canvas.yy - line
        sh = canvas.relief(tex + 8 * (line - line.mean(2, True)), -1.2, 0.3, 0.5)
        body = col * (0.65 + 0.7 * sh[:, None])
        if snow:
            body = canvas.blend(
                body,
                0.72
                + 0.3
                * sh[:, None].expand(-1, 3, -1, -1)
                * torch.tensor([0.95, 1, 1.08], device=canvas.device).view(1, 3, 1, 1),
                canvas.smoothstep(0.17, 0.05, d + 0.03 * tex) * snow * (1 if i == 0 or k == 1 else 0.6),
            )
        x = x * (1 - below[:, None]) + body.clamp(0, 1) * below[:, None]
    return x


def mountains(canvas, n):
    return _ridge(
        canvas,
        n,
        3,
        sky(canvas, n),
        canvas.colour(n, (0.16, 0.22, 0.2), (0.28, 0.3, 0.26)),
        canvas.colour(n, (0.45, 0.5, 0.6), (0.55, 0.6, 0.7)),
        2.6,
        1.0,
        (0.33, 0.8),
        0.14,
    )


def hills(canvas, n):
    return _ridge(
        canvas,
        n,
        4,
        sky(canvas, n),
        canvas.colour(n, (0.2, 0.45, 0.12), (0.32, 0.58, 0.18)),
        canvas.colour(n, (0.45, 0.62, 0.5), (0.55, 0.72, 0.6)),
        4.5,
        0,
        (0.35, 0.8),
        0.07,
    )


def snow(canvas, n):
    f = canvas.noise(n, 3.2, 1)
    return canvas.ramp(
        0.55 + 0.16 * f + 0.5 * (canvas.relief(f, -0.6, 1.0, 0.6) - 0.5) + 0.03 * canvas.noise(n, 0.2, 20),
        canvas.colour(n, (0.66, 0.76, 0.9), (0.75, 0.83, 0.94)),
        canvas.colour(n, (0.9, 0.94, 0.99), (0.95, 0.97, 1)),
        canvas.colour(n, (1, 1, 1), (1, 1, 1)),
    )


def ice(canvas, n):
    _, e, c = canvas.cells(n, 4, 1.0, warp=0.02)
    f = canvas.noise(n, 2.6)
    x = canvas.ramp(
        0.5 + 0.18 * f + 0.3 * (c - 0.5),
        canvas.colour(n, (0.45, 0.72, 0.86), (0.55, 0.8, 0.92)),
        canvas.colour(n, (0.72, 0.9, 0.97), (0.8, 0.93, 0.98)),
        canvas.colour(n, (0.95, 1, 1), (1, 1, 1)),
    )
    return canvas.blend(x, canvas.colour(n, (1, 1, 1), (1, 1, 1)), canvas.smoothstep(0.05, 0.0, e) * 0.9)


def sand(canvas, n):
    f = canvas.noise(n, 2.6, ax=0.5, ay=1.2)
    w = torch.sin(canvas.yy * canvas.uniform(n, 40, 90) + 2.2 * canvas.noise(n, 3.0))
    return canvas.ramp(
        0.5 + 0.1 * f + 0.12 * w * canvas.uniform(n, 0, 1) + 0.06 * canvas.noise(n, 0.3, 20),
        canvas.colour(n, (0.7, 0.54, 0.34), (0.78, 0.62, 0.42)),
        canvas.colour(n, (0.86, 0.74, 0.52), (0.92, 0.8, 0.6)),
        canvas.colour(n, (0.97, 0.9, 0.74), (1, 0.95, 0.82)),
    )


def desert(canvas, n):
    return _ridge(
        canvas,
        n,
        4,
        sky(canvas, n, bot=((0.9, 0.85, 0.7), (0.97, 0.92, 0.8))),
        canvas.colour(n, (0.8, 0.5, 0.22), (0.9, 0.6, 0.32)),
        canvas.colour(n, (0.92, 0.74, 0.5), (0.96, 0.82, 0.6)),
        4.2,
        0,
        (0.38, 0.85),
        0.08,
    )


def rock(canvas, n):
    f = canvas.noise(n, 2.2)
    _, e, c = canvas.cells(n, 4, 1.0, warp=0.05)
    return canvas.ramp(
        0.45
        + 0.1 * f
        + 0.7 * (canvas.relief(f + 1.5 * c, 1, 1, 0.35) - 0.5)
        - 0.35 * canvas.smoothstep(0.08, 0.0, e),
        canvas.colour(n, (0.15, 0.14, 0.13), (0.24, 0.22, 0.2)),
        canvas.colour(n, (0.42, 0.4, 0.37), (0.52, 0.5, 0.47)),
        canvas.colour(n, (0.72, 0.7, 0.66), (0.82, 0.8, 0.76)),
    )


def cobblestone(canvas, n):
    f1, e, c = canvas.cells(n, 7, 0.75)
    return canvas.blend(
        canvas.ramp(
            0.3 + 0.5 * c + 0.35 * (0.5 - f1) + 0.05 * canvas.noise(n, 1.5),
            canvas.colour(n, (0.3, 0.3, 0.31), (0.38, 0.37, 0.36)),
            canvas.colour(n, (0.66, 0.65, 0.63), (0.76, 0.74, 0.7)),
        ),
        canvas.colour(n, (0.13, 0.12, 0.11), (0.22, 0.2, 0.18)),
        canvas.smoothstep(0.14, 0.05, e),
    )


def pebbles(canvas, n):
    f1, e, c = canvas.cells(n, 13, 0.8, warp=0.01)
    return canvas.blend(
        canvas.ramp(
            0.15 + 0.75 * c + 0.3 * (0.5 - f1),
            canvas.colour(n, (0.35, 0.3, 0.26), (0.4, 0.36, 0.33)),
            canvas.colour(n, (0.6, 0.56, 0.5), (0.66, 0.62, 0.58)),
            canvas.colour(n, (0.88, 0.85, 0.8), (0.95, 0.93, 0.9)),
        ),
        canvas.colour(n, (0.1, 0.09, 0.08), (0.2, 0.18, 0.16)),
        canvas.smoothstep(0.2, 0.05, e),
    )


def _rows(canvas, n, rows, aspect=2.0, off=0.5):
    r = canvas.uniform(n, *rows)
    y = canvas.yy * r
    iy = y.floor()
    x = canvas.xx * r / aspect + off * (iy % 2)
    return (
        x - x.floor(),
        y - iy,
        ((torch.sin(iy * 12.9898 + x.floor() * 78.233 + canvas.uniform(n, 0, 9)) * 43758.5453) % 1),
        r,
    )


def brick_wall(
    canvas, n, a=((0.5, 0.17, 0.1), (0.62, 0.24, 0.15)), b=((0.72, 0.33, 0.22), (0.82, 0.42, 0.3))
):
    fx, fy, h, _ = _rows(canvas, n, (8, 14))
    m = torch.minimum(torch.minimum(fx, 1 - fx) * 2, torch.minimum(fy, 1 - fy))
    x = canvas.ramp(h * 0.8 + 0.12 * canvas.noise(n, 1.2), canvas.colour(n, *a), canvas.colour(n, *b))
    x = x * (0.85 + 0.3 * canvas.smoothstep(0.3, 0.0, fy)[:, None])
    return canvas.blend(
        canvas.colour(n, (0.6, 0.57, 0.53), (0.8, 0.78, 0.74)), x, canvas.smoothstep(0.05, 0.12, m)
    )


def tiles(canvas, n):
    fx, fy, h, _ = _rows(canvas, n, (4, 8), 1.0, 0.0)
    m = torch.minimum(torch.minimum(fx, 1 - fx), torch.minimum(fy, 1 - fy))
    x = canvas.ramp(
        h * 0.6 + 0.3 * (1 - fy),
        canvas.colour(n, (0.12, 0.38, 0.62), (0.2, 0.5, 0.7)),
        canvas.colour(n, (0.5, 0.75, 0.88), (0.75, 0.9, 0.95)),
    )
    return canvas.blend(
        canvas.colour(n, (0.88, 0.88, 0.86), (0.96, 0.96, 0.95)), x, canvas.smoothstep(0.03, 0.06, m)
    )


def roof_tiles(canvas, n):
    fx, fy, h, _ = _rows(canvas, n, (8, 14), 1.2)
    m = fy - 0.25 * (2 * fx - 1) ** 2
    return canvas.ramp(
        0.75 * canvas.smoothstep(-0.2, 1.0, m) + 0.3 * h,
        canvas.colour(n, (0.25, 0.08, 0.06), (0.35, 0.12, 0.08)),
        canvas.colour(n, (0.65, 0.27, 0.18), (0.75, 0.35, 0.22)),
        canvas.colour(n, (0.85, 0.5, 0.35), (0.92, 0.58, 0.42)),
    )


def wood(canvas, n, a=((0.28, 0.15, 0.07), (0.38, 0.22, 0.11)), b=((0.62, 0.4, 0.22), (0.75, 0.52, 0.3))):
    r = canvas.uniform(n, 3, 6.5)
    k = (canvas.xx * r).floor()
    e = (canvas.xx * r) % 1
    h = (torch.sin(k * 91.7 + canvas.uniform(n, 0, 9)) * 4375.85) % 1
    f = canvas.noise(n, 1.7, 1, ax=1.6, ay=0.1)
    g = torch.sin(14 * canvas.noise(n, 3.2, ax=1.2, ay=0.3) + 20 * h)
    x = canvas.ramp(0.45 + 0.16 * f + 0.14 * g + 0.4 * (h - 0.5), canvas.colour(n, *a), canvas.colour(n, *b))
    return x * (0.35 + 0.65 * canvas.smoothstep(0.0, 0.04, torch.minimum(e, 1 - e)))[:, None]


def marble(canvas, n):
    stone = canvas.ramp(
        0.6 + 0.2 * canvas.noise(n, 2.6),
        canvas.colour(n, (0.8, 0.8, 0.82), (0.88, 0.88, 0.9)),
        canvas.colour(n, (0.96, 0.96, 0.97), (1, 1, 1)),
    )
    vein = canvas.colour(n, (0.4, 0.4, 0.45), (0.6, 0.58, 0.6))
    for width, strength in ((0.3, 0.55), (0.1, 0.6)):
        # Zero crossings of a slanted wave bent by smooth noise: long veins that wander and never cross.
        slope = canvas.uniform(n, 0.5, 1.2)
        wave = torch.sin(
            (canvas.xx + slope * canvas.yy) * canvas.uniform(n, 7, 12) + 1.6 * canvas.noise(n, 2.8)
        )
        stone = canvas.blend(stone, vein, canvas.smoothstep(width, 0.0, wave.abs()) * strength)
    return stone


def lava(canvas, n):
    f1, e, c = canvas.cells(n, 5, 1.0, warp=0.05)
    f = canvas.noise(n, 2.2)
    x = canvas.ramp(
        0.35 + 0.2 * f + 0.3 * (canvas.relief(f, 1, 1, 0.4) - 0.5),
        canvas.colour(n, (0.06, 0.03, 0.03), (0.1, 0.06, 0.05)),
        canvas.colour(n, (0.25, 0.14, 0.12), (0.32, 0.2, 0.17)),
    )
    g = canvas.smoothstep(0.32, 0.0, e + 0.05 * f)
    return canvas.blend(
        x,
        canvas.ramp(
            g,
            canvas.colour(n, (0.6, 0.06, 0.02), (0.7, 0.1, 0.02)),
            canvas.colour(n, (1, 0.4, 0.05), (1, 0.5, 0.08)),
            canvas.colour(n, (1, 0.9, 0.4), (1, 0.95, 0.6)),
        ),
        g * 1.5,
    )


def fire(canvas, n):
    f = canvas.noise(n, 2.4, 1, ax=1.2, ay=0.45)
    t = canvas.yy * 1.2 - 0.25 + 0.2 * f + 0.08 * canvas.noise(n, 1.8, 3, ax=1.2, ay=0.5)
    return canvas.ramp(
        t,
        canvas.colour(n, (0.05, 0.01, 0.01), (0.1, 0.02, 0.02)),
        canvas.colour(n, (0.65, 0.08, 0.02), (0.75, 0.12, 0.03)),
        canvas.colour(n, (1, 0.45, 0.05), (1, 0.55, 0.1)),
        canvas.colour(n, (1, 0.88, 0.3), (1, 0.93, 0.5)),
        canvas.colour(n, (1, 1, 0.85), (1, 1, 0.9)),
    )


def city(canvas, n, night=None):
    night = (canvas.uniform(n) < 0.5).float() if night is None else canvas.uniform(n) * 0 + night
    day = sky(canvas, n)
    ngt = canvas.gradient(
        canvas.colour(n, (0.03, 0.03, 0.12), (0.1, 0.08, 0.25)),
        canvas.colour(n, (0.25, 0.15, 0.4), (0.5, 0.3, 0.45)),
    )
    x = day * (1 - night[:, None]) + ngt * night[:, None]
    for i, (k, h0, v) in enumerate(((13, 0.5, 0.8), (9, 0.64, 0.6), (5.5, 0.84, 0.42))):
        r = canvas.uniform(n, k * 0.7, k * 1.2)
        px = canvas.xx * r + canvas.uniform(n, 0, 9)
        ix = px.floor()
        ex = px - ix
        h = (torch.sin(ix * 53.3 + canvas.uniform(n, 0, 9)) * 4375.8) % 1
        h2 = (torch.sin(ix * 17.7) * 2375.8) % 1
        top = h0 - 0.32 * h
        m = canvas.smoothstep(-0.003, 0.003, canvas.yy - top) * canvas.smoothstep(
            0.02, 0.05, torch.minimum(ex, 1 - ex) + (h2 > 0.4)
        )
        col = (
            canvas.colour(n, (v * 0.7, v * 0.75, v * 0.85), (v * 1.1, v * 1.05, v))
            * (0.75 + 0.5 * h2[:, None])
            * (1 - 0.75 * night[:, None])
        )
        wx = (ex * 4) % 1
        wy = (canvas.yy * r * 3.2) % 1
        lit = (
            torch.sin((ex * 4).floor() * 12.3 + (canvas.yy * r * 3.2).floor() * 7.7 + ix * 31.1) * 438.5
        ) % 1
        win = canvas.smoothstep(0.2, 0.3, torch.minimum(wx, 1 - wx)) * canvas.smoothstep(
            0.2, 0.3, torch.minimum(wy, 1 - wy)
        )
        wc = canvas.colour(n, (1, 0.8, 0.35), (1, 0.9, 0.6)) * night[:, None] + canvas.colour(
            n, (0.45, 0.6, 0.75), (0.7, 0.82, 0.92)
        ) * (1 - night[:, None])
        body = canvas.blend(
            col.expand(-1, 3, canvas.size, canvas.size),
            wc,
            win * ((lit > 0.45).float() * night + (1 - night) * 0.8),
        )
        x = x * (1 - m[:, None]) + body * m[:, None]
    return x


def metal(canvas, n, a=((0.4, 0.42, 0.45), (0.5, 0.52, 0.55)), b=((0.8, 0.82, 0.85), (0.92, 0.93, 0.95))):
    return canvas.ramp(
        0.5
        + 0.16 * canvas.noise(n, 0.6, 2, ax=0.03, ay=1.0)
        + 0.25
        * torch.sin(
            canvas.yy * canvas.uniform(n, 2, 6)
            + canvas.xx * canvas.uniform(n, -2, 2)
            + canvas.uniform(n, 0, 6)
        ),
        canvas.colour(n, *a),
        canvas.colour(n, *b),
    )


def gold(canvas, n):
    f = canvas.noise(n, 3.0)
    return canvas.ramp(
        0.5
        + 0.5 * (canvas.relief(f, 1, 1, 0.8) - 0.5)
        + 0.1 * canvas.noise(n, 0.6, 2, ax=0.05)
        + 0.2 * torch.sin(canvas.yy * 4 + f),
        canvas.colour(n, (0.5, 0.3, 0.03), (0.6, 0.38, 0.06)),
        canvas.colour(n, (0.88, 0.66, 0.15), (0.95, 0.72, 0.2)),
        canvas.colour(n, (1, 0.93, 0.6), (1, 0.97, 0.75)),
    )


def paper(canvas, n):
    return canvas.ramp(
        0.6 + 0.12 * canvas.noise(n, 2.4) + 0.08 * canvas.noise(n, 0.5, 10),
        canvas.colour(n, (0.75, 0.66, 0.48), (0.85, 0.78, 0.62)),
        canvas.colour(n, (0.94, 0.88, 0.74), (0.98, 0.95, 0.86)),
    )


def fabric(canvas, n, a=((0.5, 0.08, 0.12), (0.15, 0.2, 0.5)), b=((0.75, 0.2, 0.25), (0.3, 0.4, 0.75))):
    r = canvas.uniform(n, 90, 150)
    w = torch.sin(canvas.xx * r) * torch.sin(canvas.yy * r)
    f = canvas.noise(n, 3.2)
    return canvas.ramp(
        0.5 + 0.13 * w + 0.55 * (canvas.relief(f, 1, 0.6, 1.0) - 0.5),
        canvas.colour(n, *a),
        canvas.colour(n, *b),
    )


def dirt(canvas, n):
    f = canvas.noise(n, 1.7)
    return canvas.ramp(
        0.5 + 0.2 * f + 0.3 * (canvas.relief(f, 1, 1, 0.25) - 0.5),
        canvas.colour(n, (0.2, 0.12, 0.06), (0.28, 0.18, 0.1)),
        canvas.colour(n, (0.42, 0.28, 0.16), (0.5, 0.34, 0.2)),
        canvas.colour(n, (0.6, 0.45, 0.28), (0.68, 0.52, 0.34)),
    )


def asphalt(canvas, n):
    return canvas.ramp(
        0.5 + 0.14 * canvas.noise(n, 0.4, 10) + 0.12 * canvas.noise(n, 2.6),
        canvas.colour(n, (0.16, 0.16, 0.17), (0.22, 0.22, 0.23)),
        canvas.colour(n, (0.42, 0.42, 0.43), (0.5, 0.5, 0.5)),
    )


def road(canvas, n):
    x = grass(canvas, n)
    h = canvas.uniform(n, 0.3, 0.5)
    t = ((canvas.yy - h) / (1 - h)).clamp(0, 1)
    w = 0.03 + 0.42 * t
    dx = canvas.xx - 0.5 - 0.12 * torch.sin(canvas.uniform(n, 0, 6) + 3 * (1 - t)) * (1 - t)
    m = canvas.smoothstep(0.01, -0.01, dx.abs() - w)
    x = x * (1 - m[:, None]) + asphalt(canvas, n) * m[:, None]
    dash = canvas.smoothstep(0.2, 0.3, torch.sin(14 / (t + 0.25))) * canvas.smoothstep(
        0.0, -0.006, dx.abs() - 0.035 * t - 0.004
    )
    x = canvas.blend(x, canvas.colour(n, (0.95, 0.9, 0.6), (1, 1, 1)), dash)
    sk = sky(canvas, n)
    a = canvas.smoothstep(-0.003, 0.003, canvas.yy - h)[:, None]
    return sk * (1 - a) + x * a


def wheat_field(canvas, n):
    p = (
        (canvas.xx - 0.5 + canvas.uniform(n, -0.2, 0.2))
        / (canvas.yy + canvas.uniform(n, 0.15, 0.4))
        * canvas.uniform(n, 18, 32)
    )
    w = torch.sin(p)
    return canvas.ramp(
        0.5 + 0.25 * w + 0.12 * canvas.noise(n, 1.4, 4),
        canvas.colour(n, (0.5, 0.34, 0.08), (0.6, 0.42, 0.14)),
        canvas.colour(n, (0.8, 0.62, 0.2), (0.88, 0.7, 0.28)),
        canvas.colour(n, (0.96, 0.85, 0.45), (1, 0.9, 0.55)),
    )


def crystal(canvas, n, a=((0.25, 0.1, 0.45), (0.15, 0.25, 0.55)), m=((0.55, 0.3, 0.8), (0.4, 0.55, 0.9))):
    _, e, c = canvas.cells(n, 6, 1.0)
    _, e2, c2 = canvas.cells(n, 4, 1.0)
    x = canvas.ramp(
        0.6 * c + 0.4 * c2,
        canvas.colour(n, *a),
        canvas.colour(n, *m),
        canvas.colour(n, (0.85, 0.8, 1), (0.9, 0.97, 1)),
    )
    return canvas.blend(
        x, canvas.colour(n, (1, 1, 1), (1, 1, 1)), canvas.smoothstep(0.04, 0.0, torch.minimum(e, e2)) * 0.7
    )


def bubbles(canvas, n):
    x = water(canvas, n, b=((0.2, 0.6, 0.8), (0.4, 0.75, 0.9)))
    f1, _, c = canvas.cells(n, 7, 0.6)
    r = 0.2 + 0.2 * c
    ring = torch.exp(-(((f1 - r) / 0.04) ** 2))
    x = canvas.blend(x, canvas.colour(n, (0.85, 0.95, 1), (1, 1, 1)), ring * 0.8)
    return canvas.blend(
        x, canvas.colour(n, (0.7, 0.9, 1), (0.85, 0.97, 1)), canvas.smoothstep(r, r * 0.9, f1) * 0.25
    )


def fur(canvas, n, a=((0.25, 0.14, 0.07), (0.4, 0.26, 0.15)), b=((0.7, 0.5, 0.32), (0.85, 0.7, 0.5))):
    return canvas.ramp(
        0.5 + 0.2 * canvas.noise(n, 1.0, 6, ax=1.1, ay=0.22) + 0.12 * canvas.noise(n, 2.8),
        canvas.colour(n, *a),
        canvas.colour(n, *b),
    )


def rainbow_stripes(canvas, n):
    a = canvas.uniform(n, -0.6, 0.6)
    t = (canvas.yy + a * (canvas.xx - 0.5)) * canvas.uniform(n, 0.8, 1.2) + 0.02 * canvas.noise(n, 3.0)
    return rgb_from_hsv((t * 0.83).clamp(0, 0.85), torch.full_like(t, 0.75), torch.full_like(t, 0.97))


def checkerboard(canvas, n):
    r = canvas.uniform(n, 4, 10)
    m = ((canvas.xx * r).floor() + (canvas.yy * r).floor()) % 2
    return canvas.blend(
        canvas.colour(n, (0.05, 0.05, 0.06), (0.15, 0.15, 0.16)),
        canvas.colour(n, (0.9, 0.9, 0.9), (1, 1, 1)),
        m,
    )


def stripes(canvas, n):
    m = canvas.smoothstep(
        -0.2,
        0.2,
        torch.sin(
            (canvas.xx * torch.cos(canvas.uniform(n, 0, 3)) + canvas.yy * canvas.uniform(n, 0, 1))
            * canvas.uniform(n, 25, 60)
        ),
    )
    return canvas.blend(
        canvas.colour(n, (0.8, 0.15, 0.2), (0.95, 0.3, 0.3)),
        canvas.colour(n, (0.93, 0.93, 0.93), (1, 1, 1)),
        m,
    )


def polka_dots(canvas, n):
    r = canvas.uniform(n, 5, 9)
    d = torch.sqrt(((canvas.xx * r) % 1 - 0.5) ** 2 + ((canvas.yy * r) % 1 - 0.5) ** 2)
    return canvas.blend(
        canvas.colour(n, (0.15, 0.35, 0.75), (0.3, 0.5, 0.9)),
        canvas.colour(n, (0.95, 0.95, 0.95), (1, 1, 1)),
        canvas.smoothstep(0.3, 0.26, d),
    )


@dataclass(frozen=True)
class Material:
    """A painter with its words; `place` says which half of a landscape it may fill."""

    paint: Callable
    synonyms: tuple[str, ...]
    place: str  # "sky" and "ground" meet at a horizon, "fill" stands alone
    category: str  # "scenery" or "material", as the word list shows it
    tintable: bool = False


MATERIALS = {
    "sky": Material(sky, ("clear sky", "blue sky"), "sky", "scenery"),
    "clouds": Material(clouds, ("cloudy sky", "cloud sky"), "sky", "scenery"),
    "sunset": Material(sunset, ("sunset sky", "sunrise", "dusk"), "sky", "scenery"),
    "night sky": Material(night_sky, ("stars", "starry night", "starry sky", "night"), "sky", "scenery"),
    "galaxy": Material(galaxy, ("nebula", "space", "milky way"), "sky", "scenery"),
    "aurora": Material(aurora, ("northern lights",), "sky", "scenery"),
    "storm clouds": Material(storm_clouds, ("storm", "dark clouds", "stormy sky"), "sky", "scenery"),
    "fog": Material(fog, ("mist", "haze"), "sky", "scenery"),
    "smoke": Material(smoke, (), "fill", "material", tintable=True),
    "rain": Material(rain, ("rainy sky",), "sky", "scenery"),
    "sea": Material(sea, ("ocean", "waves", "sea waves"), "ground", "scenery"),
    "lake": Material(lake, ("calm water", "pond"), "ground", "scenery"),
    "water": Material(water, ("pool", "underwater"), "ground", "material", tintable=True),
    "waterfall": Material(waterfall, ("cascade",), "fill", "scenery"),
    "grass": Material(grass, ("lawn", "green grass"), "ground", "material"),
    "meadow": Material(meadow, ("flower meadow",), "ground", "scenery"),
    "flowers": Material(flowers, ("flower field", "flower garden"), "ground", "scenery"),
    "leaves": Material(leaves, ("foliage", "bush"), "fill", "material"),
    "autumn leaves": Material(autumn_leaves, ("autumn foliage", "autumn forest"), "fill", "material"),
    "forest": Material(forest, ("woods", "trees"), "fill", "scenery"),
    "jungle": Material(jungle, ("rainforest",), "fill", "scenery"),
    "hedge": Material(hedge, ("shrub",), "fill", "material"),
    "moss": Material(moss, (), "ground", "material"),
    "mountains": Material(mountains, ("mountain", "snowy mountains", "peaks"), "fill", "scenery"),
    "hills": Material(hills, ("green hills", "rolling hills", "hill"), "fill", "scenery"),
    "snow": Material(snow, ("snow field", "white snow"), "ground", "scenery"),
    "ice": Material(ice, ("frozen lake", "frost"), "ground", "material"),
    "sand": Material(sand, ("beach", "sandy beach"), "ground", "material"),
    "desert": Material(desert, ("dunes", "sand dunes"), "fill", "scenery"),
    "rock": Material(rock, ("stone", "cliff", "rocks"), "ground", "material"),
    "cobblestone": Material(cobblestone, ("stone wall", "paving"), "ground", "material"),
    "pebbles": Material(pebbles, ("gravel",), "ground", "material"),
    "brick wall": Material(brick_wall, ("bricks", "brick"), "fill", "material", tintable=True),
    "tiles": Material(tiles, ("tiled wall", "ceramic tiles"), "fill", "material", tintable=True),
    "roof tiles": Material(roof_tiles, ("roof", "shingles"), "fill", "material", tintable=True),
    "wood": Material(wood, ("wooden planks", "planks", "wooden floor"), "ground", "material"),
    "marble": Material(marble, (), "ground", "material"),
    "lava": Material(lava, ("magma",), "ground", "material"),
    "fire": Material(fire, ("flames",), "fill", "material"),
    "city": Material(city, ("skyline", "buildings", "cityscape"), "fill", "scenery"),
    "metal": Material(metal, ("steel", "iron"), "fill", "material"),
    "gold": Material(gold, ("golden metal",), "fill", "material"),
    "paper": Material(paper, ("parchment",), "fill", "material"),
    "fabric": Material(fabric, ("cloth", "carpet", "curtain"), "fill", "material", tintable=True),
    "dirt": Material(dirt, ("soil", "earth ground", "mud"), "ground", "material"),
    "asphalt": Material(asphalt, ("concrete",), "ground", "material"),
    "road": Material(road, ("street", "path"), "fill", "scenery"),
    "wheat field": Material(wheat_field, ("field", "wheat", "farm field"), "ground", "scenery"),
    "crystal": Material(crystal, ("crystals", "glass"), "fill", "material", tintable=True),
    "bubbles": Material(bubbles, (), "fill", "material"),
    "fur": Material(fur, ("hair",), "fill", "material"),
    "rainbow stripes": Material(rainbow_stripes, ("rainbow colors",), "fill", "material"),
    "checkerboard": Material(checkerboard, ("chess board",), "fill", "material"),
    "stripes": Material(stripes, ("striped pattern",), "fill", "material", tintable=True),
    "polka dots": Material(polka_dots, ("dots",), "fill", "material", tintable=True),
}
