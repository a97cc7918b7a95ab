"""Writes `words.json` and `thumbnails.png`: what the shipped model knows, pictured by itself.

    python make_words.py train/configs/pocket_cpu.json
    python make_words.py train/configs/pocket_cpu.json --report results/report.json

The first form lists every word of the world that the model was trained on. The second, after `evaluate.py`, keeps
only those that the judge named among the first five in at least `--least` of the pictures, so that the list tells
the truth. Thumbnails are 64 pixels square, eight a row.
"""

import argparse
import json
import sys
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "train"))

from materials import MATERIALS  # noqa: E402
from painter import Painter  # noqa: E402
from settings import Settings  # noqa: E402
from sheets import images_from  # noqa: E402
from sprites import Sprites  # noqa: E402
from vocabulary import COLOUR_SYNONYMS, COLOURS, NOUNS, PICTURE_STYLES, TIMES, with_article  # noqa: E402

THUMBNAIL, COLUMNS, CANVAS = 64, 8, 256


def entries(world):
    """The words of a world in the order of the list, without thumbnails."""
    materials = [m for m in MATERIALS if not world.materials or m in world.materials]
    for word in materials:
        material = MATERIALS[word]
        prompts = [word] + ([f"blue {word}"] if material.tintable else [])
        yield entry(word, material.category, material.synonyms, prompts)
    sprites = Sprites("cpu", world.nouns, world.styles, world.drawings)
    for word, drawings in sprites.of_noun.items():
        prompts = [f"{with_article(word)} on a white background"]
        if all(sprites.can_recolour[i] for i in drawings):
            prompts.append(f"{with_article(f'blue {word}')} on a white background")
        yield entry(word, "object", NOUNS[word].synonyms, prompts)
    shown = next(n for n in ("balloon", "car", *sprites.of_noun) if n in sprites.of_noun)
    for word in COLOURS:
        backdrop = "a black" if word == "white" else "a white"
        prompt = f"{with_article(f'{word} {shown}')} on {backdrop} background"
        synonyms = [s for colour, s in COLOUR_SYNONYMS.items() if colour == word]
        yield entry(word, "colour", synonyms, [prompt])
    if world.times:
        scenery = next(m for m in ("mountains", "sea", *materials) if m in materials)
        for word in TIMES:
            yield entry(word, "time", (), [f"{scenery} {word}"])
    if world.picture_styles:
        for word in PICTURE_STYLES:
            yield entry(word, "style", (), [f"{with_article(shown)} on a white background, {word}"])


def entry(word, category, synonyms, prompts):
    return {"word": word, "category": category, "synonyms": list(synonyms), "sample_prompts": prompts}


def make(settings, report, least):
    words = list(entries(settings.world))
    if report:
        measured = json.loads(report.read_text())["words"]
        words = [w for w in words if measured.get(w["word"], {"first_five": 1.0})["first_five"] >= least]
    pictures = images_from(Painter().whole([word["sample_prompts"][0] for word in words], CANVAS, seed=3))
    rows = -(-len(words) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * THUMBNAIL, rows * THUMBNAIL), "white")
    for i, (word, picture) in enumerate(zip(words, pictures)):
        word["thumbnail"] = [i % COLUMNS * THUMBNAIL, i // COLUMNS * THUMBNAIL]
        sheet.paste(picture.resize((THUMBNAIL, THUMBNAIL), Image.LANCZOS), tuple(word["thumbnail"]))
    sheet.save(HERE / "thumbnails.png", optimize=True)
    lines = ",\n".join(json.dumps(word) for word in words)
    head = f'"version":1,"thumbnail_size":{THUMBNAIL},"thumbnail_sheet":"thumbnails.png"'
    (HERE / "words.json").write_text(f'{{{head},"words":[\n{lines}\n]}}\n')
    print(len(words), "words")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="the config that the model was trained with")
    parser.add_argument("--report", type=Path, help="keep only words that passed in this report")
    parser.add_argument("--least", type=float, default=0.6)
    args = parser.parse_args()
    make(Settings.load(args.config), args.report, args.least)
