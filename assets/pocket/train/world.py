"""The training data: captioned pictures of materials, objects and both, made on the fly from a seed."""

import random
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from canvas import Canvas
from grading import grade, stylise, tint
from materials import MATERIALS
from sprites import Sprites
from vocabulary import (
    COLOUR_SYNONYMS,
    COLOURS,
    FILLER,
    NOUNS,
    PICTURE_STYLES,
    PLAIN_BACKGROUNDS,
    SPRITE_STYLES,
    TIMES,
    with_article,
)


@dataclass
class WorldConfig:
    """What the pictures show; the defaults are the full world."""

    nouns: list[str] | None = None
    materials: list[str] | None = None
    styles: list[str] | None = None  # drawing styles of the sprites
    drawings: int | None = None  # drawings a noun
    # Shares of: material, object on white, object on a plain colour, object on a material, landscape.
    mix: list[float] = field(default_factory=lambda: [0.3, 0.32, 0.1, 0.2, 0.08])
    scale: list[float] = field(default_factory=lambda: [0.3, 0.9])  # of an object, in canvas widths
    scale_power: float = 0.7  # below 1: large objects more often
    spread: float = 0.45  # how far objects stray from the centre, as a share of the room they have
    turn: float = 0.22  # radians either way
    flip: bool = True
    recolour: float = 0.5  # share of recolourable objects that get a colour
    times: float = 0.15  # share of outdoor pictures with a time of day
    picture_styles: float = 0.08
    filler: float = 0.12
    collage: float = 0.4  # share of landscapes that are two materials anyhow, as regions are painted by hand


@dataclass
class Plan:
    """One picture before it is painted."""

    kind: int
    caption: str = ""
    material: tuple[str, ...] = ()  # one, or sky and ground
    material_colour: str | None = None
    plain: tuple[float, float, float] | None = None
    sprite: int | None = None
    colour: str | None = None
    time: str | None = None
    style: str | None = None
    is_collage: bool = False
    region: int | None = None  # what a region names and covers: OBJECT, or the place of a material


@dataclass
class Regions:
    """Pictures in which one region is named, as the stream paints them; masks are at the size of latents.

    A painter names what a region holds, not what lies around it, and the denoiser sees all of the canvas: first white
    around the region, then whatever the other regions have become.
    """

    pictures: torch.Tensor  # [n, 3, size, size] in -1..1
    on_white: torch.Tensor  # the same objects on white
    masks: torch.Tensor  # [n, 1, size / 8, size / 8], 1 inside the region
    halos: torch.Tensor  # the same of the object, whether it is the region or not; 0 without one
    is_object: torch.Tensor  # [n]
    captions: list[str]


MATERIAL, ON_WHITE, ON_PLAIN, ON_MATERIAL, LANDSCAPE = range(5)
OBJECT = -1


class World:
    """A source of captioned pictures; the same seed and device give the same pictures."""

    def __init__(self, config, device="cpu", seed=0):
        self.config, self.device = config, torch.device(device)
        self.random = random.Random(seed)
        self.generator = torch.Generator(device=self.device).manual_seed(seed + 1)
        self.sprites = Sprites(self.device, config.nouns, config.styles, config.drawings)
        self.nouns = list(self.sprites.of_noun)
        self.materials = [name for name in MATERIALS if not config.materials or name in config.materials]
        self.canvases = {}

    def batch(self, n, size):
        """`n` pictures `[n, 3, size, size]` in -1..1 and their captions."""
        return self.paint([self.plan() for _ in range(n)], size)

    def regions(self, n, size):
        """`n` pictures of several things, one of which is named."""
        plans = [self.plan(is_region=True) for _ in range(n)]
        canvas = self.canvas(size)
        scenery, shown = self._paint_scenery(canvas, plans)
        pictures, on_white, halos = scenery.clone(), torch.ones_like(scenery), torch.zeros_like(shown)
        chosen, rgb, alpha = self._object_layer(canvas, plans)
        if chosen:
            self._lay(pictures, plans, chosen, rgb, alpha)
            on_white[chosen] = on_white[chosen] * (1 - alpha) + torch.minimum(rgb, alpha)
            halos[chosen] = self._brushed(canvas, alpha)
        self._finish(canvas, plans, pictures)
        named = torch.tensor([plan.region for plan in plans], device=self.device).view(-1, 1, 1, 1)
        masks = torch.where(named == 0, 1 - shown, shown) * (1 - halos)
        masks = torch.where(named == OBJECT, halos, masks)
        halos, masks = ((mask[:, :, ::8, ::8] > 0.5).float() for mask in (halos, masks))
        return Regions(
            pictures.clamp(0, 1) * 2 - 1, on_white.clamp(0, 1) * 2 - 1, masks, halos,
            named.flatten() == OBJECT, [plan.caption for plan in plans],
        )  # fmt: skip

    # Planning: captions and what they stand for.

    def plan(self, kind=None, noun=None, material=None, colour=None, is_region=False):
        """One picture; what is given stays, the rest is drawn at random. A region's caption names one thing in it."""
        r, config = self.random, self.config
        if kind is None:
            kinds = (ON_MATERIAL, LANDSCAPE) if is_region else range(5)
            kind = r.choices(kinds, [config.mix[k] for k in kinds])[0]
        plan = Plan(kind)
        subject = None
        if plan.kind in (ON_WHITE, ON_PLAIN, ON_MATERIAL) or (plan.kind == LANDSCAPE and r.random() < 0.5):
            subject = self._subject(plan, noun or r.choice(self.nouns), colour)
        if plan.kind == MATERIAL:
            words = self._material_words(plan, material or r.choice(self.materials), colour)
            variants = (
                f"texture of {words}",
                f"a background of {words}",
                f"the {words}",
                f"{words} background",
            )
            plan.caption = words if r.random() < 0.75 else r.choice(variants)
        elif plan.kind == ON_WHITE:
            variants = (
                f"{subject} on a white background",
                f"{subject}, white background",
                f"{subject} on white",
            )
            plan.caption = subject if r.random() < 0.45 else r.choice(variants[:1] * 2 + variants)
        elif plan.kind == ON_PLAIN:
            shade = r.choice(list(PLAIN_BACKGROUNDS))
            plan.plain = PLAIN_BACKGROUNDS[shade]
            variants = (
                f"{subject} on a {shade} background",
                f"{subject}, {shade} background",
                f"{subject} on {shade}",
            )
            plan.caption = r.choice(variants)
            if r.random() < 0.06:
                plan.caption, plan.sprite, plan.colour = f"{shade} background", None, None
        elif plan.kind == ON_MATERIAL:
            words = self._material_words(plan, material or r.choice(self.materials), None)
            plan.caption = r.choice(
                (f"{subject} on {words}", f"{subject}, {words}", f"{subject} with {words}",
                 f"{subject}, {words} background", f"{subject} in the {words}")
            )  # fmt: skip
        else:
            plan.is_collage = r.random() < config.collage
            sky, ground = self._collage(plan) if plan.is_collage else self._landscape(plan)
            orders = (f"{ground} under {sky}", f"{ground}, {sky}", f"{sky} over {ground}")
            scene = f"{sky}, {ground}" if plan.is_collage else r.choice(orders)
            plan.caption = r.choice((f"{subject}, {scene}", f"{subject} on {scene}")) if subject else scene
        if is_region:
            parts = (words,) if plan.kind == ON_MATERIAL else (sky, ground)
            is_object = subject and (plan.kind == ON_MATERIAL or r.random() < 0.7)
            plan.region = OBJECT if is_object else r.randrange(len(parts))
            plan.caption = subject if is_object else parts[plan.region]
        self._decorate(plan)
        return plan

    def _subject(self, plan, noun, colour):
        r = self.random
        plan.sprite = r.choice(self.sprites.of_noun[noun])
        synonyms = NOUNS[noun].synonyms
        name = r.choice(synonyms) if synonyms and r.random() < 0.25 else noun
        natural = self.sprites.natural_colour[plan.sprite]
        if colour or (self.sprites.can_recolour[plan.sprite] and r.random() < self.config.recolour):
            # White on white shows nothing.
            names = [c for c in COLOURS if c != "white" or plan.kind in (ON_MATERIAL, LANDSCAPE)]
            plan.colour = colour or r.choice(names)
            name = f"{plan.colour} {name}"
        elif natural and r.random() < 0.4:
            name = f"{natural} {name}"
        return with_article(name) if r.random() < 0.7 else name

    def _material_words(self, plan, material, colour):
        r = self.random
        plan.material = (material,)
        if MATERIALS[material].tintable and (colour or r.random() < 0.5):
            plan.material_colour = colour or r.choice(list(COLOURS))
        words = self._name_of(material)
        return f"{plan.material_colour} {words}" if plan.material_colour else words

    def _name_of(self, material):
        synonyms = MATERIALS[material].synonyms
        return self.random.choice(synonyms) if synonyms and self.random.random() < 0.4 else material

    def _landscape(self, plan):
        def pick(place):
            fitting = [name for name in self.materials if MATERIALS[name].place == place]
            return self.random.choice(fitting or self.materials)

        plan.material = (pick("sky"), pick("ground"))
        return tuple(self._name_of(name) for name in plan.material)

    def _collage(self, plan):
        plan.material = tuple(self.random.sample(self.materials, 2))
        return tuple(self._name_of(name) for name in plan.material)

    def _decorate(self, plan):
        r, config = self.random, self.config
        for colour, synonym in COLOUR_SYNONYMS.items():
            if r.random() < 0.3:
                plan.caption = plan.caption.replace(colour, synonym)
        # A painter tells the sky that it is night, not the tree.
        if (
            plan.kind in (MATERIAL, ON_MATERIAL, LANDSCAPE)
            and plan.region != OBJECT
            and r.random() < config.times
        ):
            plan.time = r.choice(TIMES)
            plan.caption += f"{r.choice(('', ','))} {plan.time}"
        if plan.sprite is not None and r.random() < 0.25:
            heads, tail = SPRITE_STYLES[self.sprites.styles[plan.sprite]]
            before = r.random() < 0.7
            plan.caption = f"{r.choice(heads)} {plan.caption}" if before else f"{plan.caption}, {tail}"
        if r.random() < config.picture_styles:
            plan.style = r.choice(PICTURE_STYLES)
            plan.caption = r.choice((f"{plan.style} of {plan.caption}", f"{plan.caption}, {plan.style}"))
        if r.random() < config.filler:
            filler = r.choice(FILLER)
            before = r.random() < 0.6
            plan.caption = (
                f"{filler} {plan.caption}" if before else f"{plan.caption}, {filler.removesuffix(' of')}"
            )

    # Painting.

    def canvas(self, size):
        if size not in self.canvases:
            self.canvases[size] = Canvas(self.device, size, self.generator)
        return self.canvases[size]

    def paint(self, plans, size):
        """Pictures `[n, 3, size, size]` in -1..1 of the plans, and their captions."""
        canvas = self.canvas(size)
        pictures, _ = self._paint_scenery(canvas, plans)
        chosen, rgb, alpha = self._object_layer(canvas, plans)
        if chosen:
            self._lay(pictures, plans, chosen, rgb, alpha)
        self._finish(canvas, plans, pictures)
        return pictures.clamp(0, 1) * 2 - 1, [plan.caption for plan in plans]

    def _paint_scenery(self, canvas, plans):
        """What lies behind the objects `[n, 3, size, size]`, and where its second material shows `[n, 1, size, size]`."""
        size = canvas.size
        white = torch.ones(len(plans), 3, size, size, device=self.device)
        layers = [[plan.material[k] if len(plan.material) > k else None for plan in plans] for k in (0, 1)]
        pictures, second = (self._paint_materials(canvas, names, white) for names in layers)
        shown = torch.zeros(len(plans), 1, size, size, device=self.device)
        landscapes = [i for i, plan in enumerate(plans) if len(plan.material) == 2]
        if landscapes:
            is_collage = torch.tensor([plans[i].is_collage for i in landscapes], device=self.device)
            horizon, patch = self._horizon(canvas, len(landscapes)), self._patch(canvas, len(landscapes))
            shown[landscapes] = torch.where(is_collage.view(-1, 1, 1, 1), patch, horizon)
            pictures = pictures * (1 - shown) + second * shown
        for i, plan in enumerate(plans):
            if plan.plain:
                shade = torch.tensor(plan.plain, device=self.device, dtype=torch.float).view(3, 1, 1)
                jitter = (torch.rand(3, 1, 1, device=self.device, generator=self.generator) - 0.5) * 0.05
                pictures[i] = (shade + jitter).clamp(0, 1)
            if plan.material_colour:
                pictures[i : i + 1] = tint(pictures[i : i + 1], plan.material_colour)
        return pictures, shown

    def _finish(self, canvas, plans, pictures):
        """Times of day and picture styles, in place."""
        for group, change in (("time", grade), ("style", stylise)):
            for value in sorted({getattr(plan, group) for plan in plans} - {None}):
                chosen = [i for i, plan in enumerate(plans) if getattr(plan, group) == value]
                pictures[chosen] = change(canvas, pictures[chosen], value)

    def _paint_materials(self, canvas, names, pictures):
        """Paints each picture that has a name, one call a material."""
        pictures = pictures.clone()
        for name in sorted(set(names) - {None}):
            chosen = [i for i, other in enumerate(names) if other == name]
            painted = MATERIALS[name].paint(canvas, len(chosen)).clamp(0, 1)
            mirrored = canvas.rand(len(chosen), 1, 1, 1) < 0.5
            pictures[chosen] = torch.where(mirrored, painted.flip(3), painted)
        return pictures

    def _horizon(self, canvas, n):
        """`[n, 1, h, w]`, 1 below a level or slightly wavy line."""
        waves = 0.015 * canvas.noise(n, 3.0)[:, :1] * (canvas.uniform(n) < 0.6)
        line = canvas.uniform(n, 0.35, 0.7) + waves
        return canvas.smoothstep(-0.004, 0.004, canvas.yy - line)[:, None]

    def _patch(self, canvas, n):
        """`[n, 1, h, w]`, 1 inside an uneven ellipse, as one paints a region by hand."""
        cx, cy, rx, ry = (
            canvas.uniform(n, *span) for span in ((0.1, 0.9), (0.1, 0.9), (0.2, 0.6), (0.2, 0.6))
        )
        uneven = 0.25 * canvas.noise(n, 3.0)
        reach = ((canvas.xx - cx) / rx) ** 2 + ((canvas.yy - cy) / ry) ** 2
        return canvas.smoothstep(-0.05, 0.05, 1 + uneven - reach)[:, None]

    def _brushed(self, canvas, alpha):
        """`[n, 1, h, w]`, 1 where a painter would have brushed for an object: all of it and some more, roundly."""
        n, solid = len(alpha), alpha > 0.3
        centre, reach = [], []
        for along, across, places in ((3, 2, canvas.xx), (2, 3, canvas.yy)):
            is_there = solid.any(across, keepdim=True).expand_as(solid)[:, 0]
            low = torch.where(is_there, places, 2.0).amin((1, 2)).view(-1, 1, 1)
            high = torch.where(is_there, places, -1.0).amax((1, 2)).view(-1, 1, 1)
            more = canvas.uniform(n, 1.0, 1.45)
            centre.append((low + high) / 2)
            reach.append(((high - low) / 2 * more).clamp(min=0.04))
        power = canvas.uniform(n, 2.0, 4.0)
        uneven = 0.2 * canvas.noise(n, 3.0)
        away = ((canvas.xx - centre[0]).abs() / reach[0]) ** power + (
            (canvas.yy - centre[1]).abs() / reach[1]
        ) ** power
        return ((away < 1 + uneven)[:, None] | (F.max_pool2d(alpha, 9, 1, 4) > 0.3)).float()

    def _object_layer(self, canvas, plans):
        """Which pictures have an object, and these objects: premultiplied colours and alpha `[k, 3 or 1, h, w]`."""
        chosen = [i for i, plan in enumerate(plans) if plan.sprite is not None]
        if not chosen:
            return chosen, None, None
        n, size, config = len(chosen), canvas.size, self.config
        low, high = config.scale
        scale = low + (high - low) * canvas.rand(n) ** config.scale_power
        room = (1 - scale).clamp(min=0.05) * 0.5
        stray = (torch.randn(n, 2, device=self.device, generator=self.generator) * config.spread).clamp(-1, 1)
        cx, cy = (0.5 + stray[:, axis] * room for axis in (0, 1))
        in_landscape = torch.tensor([plans[i].kind == LANDSCAPE for i in chosen], device=self.device)
        in_collage = torch.tensor([plans[i].is_collage for i in chosen], device=self.device)
        standing = (0.62 + 0.1 * stray[:, 1]).clamp(0.4, 0.75)
        cy = torch.where(in_landscape & ~in_collage, standing, cy)
        scale = torch.where(in_landscape, scale * 0.7, scale)
        layer = self.sprites.place(
            [plans[i].sprite for i in chosen], [plans[i].colour for i in chosen], size, scale, cx, cy,
            (canvas.rand(n) * 2 - 1) * config.turn, (canvas.rand(n) < 0.5) & config.flip, self.generator,
        )  # fmt: skip
        return chosen, layer[:, :3], layer[:, 3:]

    def _lay(self, pictures, plans, chosen, rgb, alpha):
        """Objects and their shadows into pictures, in place."""
        size = pictures.shape[-1]
        shade = torch.tensor(
            [0.38 if plans[i].kind >= ON_MATERIAL else 0.0 for i in chosen], device=self.device
        )
        fallen = torch.roll(alpha, (size // 40, size // 60), (2, 3))
        shadow = F.avg_pool2d(fallen, size // 24 * 2 + 1, 1, size // 24) * shade.view(-1, 1, 1, 1)
        pictures[chosen] = pictures[chosen] * (1 - shadow) * (1 - alpha) + torch.minimum(rgb, alpha)
