"""The words of the pocket model: objects (with their drawings), colours, times of day, picture styles.

Materials and sceneries carry their words in `materials.MATERIALS`, beside the code that paints them.
"""

from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Noun:
    """An object: emoji code points of its drawings, the most typical first, and other words for it."""

    word: str
    codes: tuple[str, ...]
    synonyms: tuple[str, ...]


def _read_nouns():
    nouns = {}
    for line in (DATA / "objects.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        word, codes, synonyms = (tuple(filter(None, field.split(","))) for field in line.split("|"))
        nouns[word[0]] = Noun(word[0], tuple(code.replace("-fe0f", "") for code in codes), synonyms)
    return nouns


NOUNS = _read_nouns()


@dataclass(frozen=True)
class Recolour:
    """How pixels turn into a named colour; a hue of `None` keeps theirs."""

    hue: float | None
    saturation: float = 1.0
    value: float = 1.0
    lift: float = 0.0


COLOURS = {
    "red": Recolour(0.0),
    "orange": Recolour(0.075, 1.05, 1.05),
    "yellow": Recolour(0.145, 1.0, 1.1, 0.05),
    "green": Recolour(0.34, 0.9, 0.9),
    "teal": Recolour(0.48, 1.0, 0.9),
    "blue": Recolour(0.60),
    "purple": Recolour(0.76, 0.85, 0.9),
    "pink": Recolour(0.92, 0.6, 1.1, 0.08),
    "brown": Recolour(0.065, 0.8, 0.58),
    "white": Recolour(None, 0.08, 0.75, 0.32),
    "black": Recolour(None, 0.25, 0.28),
    "gray": Recolour(None, 0.04, 0.85),
}

COLOUR_SYNONYMS = {"gray": "grey"}

PLAIN_BACKGROUNDS = {
    "white": (1, 1, 1),
    "black": (0.06, 0.06, 0.07),
    "gray": (0.55, 0.55, 0.57),
    "red": (0.85, 0.15, 0.14),
    "orange": (0.96, 0.56, 0.13),
    "yellow": (0.98, 0.86, 0.24),
    "green": (0.25, 0.68, 0.28),
    "teal": (0.12, 0.62, 0.62),
    "blue": (0.2, 0.45, 0.88),
    "purple": (0.53, 0.28, 0.75),
    "pink": (0.97, 0.6, 0.76),
    "brown": (0.5, 0.32, 0.18),
    "light blue": (0.68, 0.85, 0.97),
    "dark blue": (0.07, 0.12, 0.33),
    "light green": (0.72, 0.92, 0.66),
    "dark green": (0.06, 0.27, 0.13),
    "beige": (0.93, 0.87, 0.74),
}

# Gradings of a whole picture, in the order that `grading.grade` knows them.
TIMES = ("at sunset", "at night", "in the fog", "in winter", "at dawn", "on a sunny day")

PICTURE_STYLES = ("pencil sketch", "watercolor", "pixel art", "black and white", "oil painting")

# Drawing style of a sprite: words before the caption, words after it.
SPRITE_STYLES = {
    "3d": (("3d render of", "3d"), "3d render"),
    "flat": (("flat",), "flat style"),
    "noto": (("cartoon",), "cartoon style"),
    "glossy": (("glossy",), "glossy style"),
}

# Words that people add to prompts; the model learns that they mean nothing.
FILLER = (
    "beautiful", "detailed", "a photo of", "a painting of", "an image of", "masterpiece", "best quality",
    "high quality", "illustration of", "nice", "artwork of", "digital art of",
)  # fmt: skip

_SINGULAR_IN_S = {"glass", "lotus", "compass", "bus", "octopus", "cactus", "circus"}


def with_article(words):
    """'apple' to 'an apple'; plurals stay as they are."""
    last = words.split()[-1]
    if last.endswith("s") and last not in _SINGULAR_IN_S:
        return words
    return ("an " if words[0] in "aeiou" else "a ") + words


def all_phrases():
    """Every phrase that a caption can hold, for the tokenizer."""
    from materials import MATERIALS

    phrases = [
        *NOUNS,
        *COLOURS,
        *COLOUR_SYNONYMS.values(),
        *PLAIN_BACKGROUNDS,
        *TIMES,
        *PICTURE_STYLES,
        *FILLER,
    ]
    phrases += [word for noun in NOUNS.values() for word in noun.synonyms]
    phrases += [*MATERIALS, *(word for material in MATERIALS.values() for word in material.synonyms)]
    phrases += [word for heads, tail in SPRITE_STYLES.values() for word in (*heads, tail)]
    phrases += ["the a an of on in under over with background texture and, small big tiny large empty plain"]
    phrases += ["0 1 2 3 4 5 6 7 8 9 . ! ? - ' ( ) : ; /"]
    return phrases + (DATA / "extra_words.txt").read_text().split()
