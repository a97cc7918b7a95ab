"""Random fields on a square canvas: the vocabulary in which `materials` paints.

Everything is batched torch on one device, so that the same code feeds a CPU and a GPU. Fields are
`[n, size, size]`, colours `[n, 3, 1, 1]` and pictures `[n, 3, size, size]`, all in 0..1 unless said otherwise.
"""

import torch


def hsv_from_rgb(rgb):
    """`[n, 3, h, w]` to hue, saturation and value, each `[n, h, w]` in 0..1."""
    high, low = rgb.amax(1), rgb.amin(1)
    spread = high - low + 1e-8
    r, g, b = rgb.unbind(1)
    hue = torch.where(
        high == r,
        ((g - b) / spread) % 6,
        torch.where(high == g, (b - r) / spread + 2, (r - g) / spread + 4),
    )
    return hue / 6, spread / (high + 1e-8), high


def rgb_from_hsv(hue, saturation, value):
    """The inverse of `hsv_from_rgb`."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + hue * 6) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


class Canvas:
    """Random fields and colours of one size on one device, drawn from one seeded generator."""

    def __init__(self, device, size, generator):
        self.device, self.size, self.generator = device, size, generator
        line = torch.linspace(0, 1, size, device=device)
        self.yy, self.xx = torch.meshgrid(line, line, indexing="ij")
        # Frequencies in cycles per canvas, for noise shaped in Fourier space.
        self.fy = torch.fft.fftfreq(size, device=device)[:, None] * size
        self.fx = torch.fft.rfftfreq(size, device=device)[None] * size

    def rand(self, *shape):
        return torch.rand(*shape, device=self.device, generator=self.generator)

    def uniform(self, n, low=0.0, high=1.0):
        """One number per picture, `[n, 1, 1]`."""
        return self.rand(n, 1, 1) * (high - low) + low

    def colour(self, n, low, high):
        """One colour per picture between two RGB triples: a shared mix and a little jitter per channel."""
        low, high = (
            torch.tensor(c, device=self.device, dtype=torch.float).view(1, 3, 1, 1) for c in (low, high)
        )
        jitter = self.rand(n, 3, 1, 1) * 0.06 - 0.03
        return (low + (high - low) * self.rand(n, 1, 1, 1) + jitter).clamp(0, 1)

    def noise(self, n, beta=2.2, kmin=1.0, kmax=1e9, ax=1.0, ay=1.0):
        """Noise with a 1/f^beta spectrum, mean 0 and deviation 1; `ax` < 1 draws it out along x."""
        white = torch.randn(n, self.size, self.size, device=self.device, generator=self.generator)
        spectrum = torch.fft.rfft2(white)
        k = torch.sqrt((self.fx / ax) ** 2 + (self.fy / ay) ** 2).clamp(min=1e-3)
        gain = k ** (-beta / 2 - 0.5) * (k >= kmin * 0.999) * (k <= kmax)
        gain[..., 0, 0] = 0
        field = torch.fft.irfft2(spectrum * gain, s=(self.size, self.size))
        return field / (field.std((1, 2), keepdim=True) + 1e-6)

    def gradient(self, top, bottom, y=None):
        """A vertical run from one colour to another."""
        y = self.yy[None] if y is None else y
        return top + (bottom - top) * y[:, None]

    def blend(self, a, b, t):
        """Colour or picture `a` where the field `t` is 0, `b` where it is 1."""
        return a + (b - a) * t.clamp(0, 1)[:, None]

    def ramp(self, t, *colours):
        """Looks `t` up in a palette of evenly spaced colours."""
        t = t.clamp(0, 1) * (len(colours) - 1)
        return sum(c * (1 - (t - i).abs()).clamp(min=0)[:, None] for i, c in enumerate(colours))

    def smoothstep(self, a, b, x):
        """0 at `a`, 1 at `b` (which may lie below `a`), smooth between them."""
        t = ((x - a) / (b - a)).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def relief(self, height, dx=1.0, dy=1.0, strength=1.0):
        """Shading of a height field lit from the direction (dx, dy); 0.5 where it is level."""
        gx = torch.roll(height, -1, 2) - torch.roll(height, 1, 2)
        gy = torch.roll(height, -1, 1) - torch.roll(height, 1, 1)
        return (0.5 + strength * self.size / 256 * (gx * dx + gy * dy)).clamp(0, 1)

    def cells(self, n, count, jitter=0.9, sx=1.0, sy=1.0, warp=0.0):
        """Voronoi cells of a jittered grid, `count` across.

        Returns the distance to the nearest seed, how much farther the second nearest is (0 on an
        edge), and a random number per cell.
        """
        x, y = self.xx[None].expand(n, -1, -1), self.yy[None].expand(n, -1, -1)
        if warp:
            x, y = x + warp * self.noise(n, 2.5), y + warp * self.noise(n, 2.5)
        gx, gy = x * int(count) * sx, y * int(count) * sy
        ix, iy = gx.floor(), gy.floor()
        period = 64
        seeds = self.rand(n, period * period, 3) - 0.5
        seeds[..., :2] = seeds[..., :2] * jitter + 0.5
        seeds[..., 2] += 0.5
        nearest = torch.full_like(gx, 9.0)
        second, cell = nearest.clone(), torch.zeros_like(gx)
        for oy in (-1, 0, 1):
            for ox in (-1, 0, 1):
                cx, cy = ix + ox, iy + oy
                index = ((cy.long() % period) * period + cx.long() % period).view(n, -1)
                seed = torch.gather(seeds, 1, index[..., None].expand(-1, -1, 3)).view(*gx.shape, 3)
                distance = torch.sqrt((cx + seed[..., 0] - gx) ** 2 + (cy + seed[..., 1] - gy) ** 2)
                closer = distance < nearest
                second = torch.where(closer, nearest, torch.minimum(second, distance))
                cell = torch.where(closer, seed[..., 2], cell)
                nearest = torch.where(closer, distance, nearest)
        return nearest, second - nearest, cell
