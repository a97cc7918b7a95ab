"""Measures the shipped model: does it paint what the prompt names?

    python evaluate.py train/configs/pocket_cpu.json results/
    python evaluate.py train/configs/pocket_cpu.json results/ --engine ../../target/release/wordbrush

Writes `results/report.json`, `report.md` (one line a word) and contact sheets. The judge (see judge.py) is
trained only on real pictures of the data from seeds kept for it, and kept in the folder; how well it does on those is
the ceiling of every number here. With `--engine`, pictures of regions are painted by the application instead of PyTorch.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "train"))

from judge import COLOUR_NAMES, colour_features, kept_word_judge, train_colour_judge  # noqa: E402
from materials import MATERIALS  # noqa: E402
from painter import Painter  # noqa: E402
from settings import Settings  # noqa: E402
from sheets import images_from, save_sheet  # noqa: E402
from sprites import Sprites  # noqa: E402
from vocabulary import with_article  # noqa: E402


def whole_prompt(word):
    return word if word in MATERIALS else f"{with_article(word)} on a white background"


def ranks(scores, labels):
    """The place, from 0, of the right word among the judge's answers."""
    right = scores.gather(1, labels[:, None])
    return (scores > right).sum(1)


def judge_whole(painter, judge, words, per_word, size, folder):
    prompts = [whole_prompt(word) for word in words for _ in range(per_word)]
    pictures = painter.whole(prompts, size, seed=1)
    labels = torch.tensor([judge.words.index(word) for word in words]).repeat_interleave(per_word)
    with torch.no_grad():
        places = ranks(torch.cat([judge(x) for x in pictures.split(64)]), labels).view(len(words), per_word)
        answers = torch.cat([judge(x).argmax(1) for x in pictures.split(64)]).view(len(words), per_word)
    shown = [i * per_word + k for i in range(len(words)) for k in range(min(2, per_word))]
    small = torch.nn.functional.interpolate(pictures[shown], size=(128, 128), mode="area")
    save_sheet(
        small, folder / "whole.png", [prompts[i].removesuffix(" on a white background") for i in shown], 12
    )
    return {
        word: {
            "first": float((place == 0).float().mean()),
            "first_five": float((place < 5).float().mean()),
            "taken_for": sorted({judge.words[int(a)] for a in answer} - {word}),
        }
        for word, place, answer in zip(words, places, answers)
    }


def random_scene(rng, skies, grounds, objects, size):
    """Two materials over a horizon and an object before them: words, boxes (x0, y0, x1, y1) and masks."""
    horizon = int(size * rng.uniform(0.45, 0.6))
    radius = size * rng.uniform(0.2, 0.3)
    cx, cy = size * rng.uniform(0.3, 0.7), size * rng.uniform(0.45, 0.65)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    above = yy < horizon
    disc = (xx - cx) ** 2 + (yy - cy) ** 2 < radius**2
    corners = (cx - radius, cy - radius, cx + radius, cy + radius)
    box = tuple(int(min(size, max(0, v))) for v in corners)
    return {
        "words": [rng.choice(skies), rng.choice(grounds), rng.choice(objects)],
        "masks": torch.stack([above, ~above, disc]),
        # Materials are judged where no object lies, as a square from each corner.
        "boxes": [
            (0, 0, horizon * 2 // 3, horizon * 2 // 3),
            (0, horizon + (size - horizon) // 3, None, size),
            box,
        ],
    }


def crop(picture, box):
    x0, y0, x1, y1 = box
    x1 = x0 + y1 - y0 if x1 is None else x1
    square = picture[:, :, y0:y1, x0:x1]
    return torch.nn.functional.interpolate(square, size=(128, 128), mode="bilinear", antialias=True)


def render_by_engine(engine, scene, prompts, seed, folder):
    """The scene as `wordbrush render` paints it, `[1, 3, H, W]` in -1..1."""
    folder.mkdir(exist_ok=True)
    regions = []
    for i, (prompt, mask) in enumerate(zip(prompts, scene["masks"])):
        Image.fromarray((mask * 255).byte().numpy()).save(folder / f"mask-{i}.png")
        regions.append({"prompt": prompt, "mask": f"mask-{i}.png", "mask_std": 0.0})
    size = list(scene["masks"].shape[1:])
    document = {
        "size": size,
        "seed": seed,
        "model": str(HERE / "model"),
        "background": {"prompt": ""},
        "regions": regions,
    }
    (folder / "scene.json").write_text(json.dumps(document))
    subprocess.run([engine, "render", folder / "scene.json", "-o", folder / "out.png"], check=True)
    import numpy as np

    rgb = np.array(Image.open(folder / "out.png").convert("RGB"))
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 127.5 - 1


def judge_regions(painter, judge, skies, grounds, objects, count, size, folder, engine):
    rng, tallies, sheet, captions = random.Random(5), {}, [], []
    for number in range(count):
        scene = random_scene(rng, skies, grounds, objects, size)
        prompts = scene["words"]  # as painters write them
        if engine:
            picture = render_by_engine(engine, scene, prompts, number, folder / "engine")
        else:
            is_object = [word not in MATERIALS for word in scene["words"]]
            picture = painter.regions(prompts, scene["masks"], is_object, seed=number)
        for word, box in zip(scene["words"], scene["boxes"]):
            with torch.no_grad():
                place = ranks(judge(crop(picture, box)), torch.tensor([judge.words.index(word)]))
            tallies.setdefault("object" if word not in MATERIALS else "material", []).append(int(place))
        if len(sheet) < 24:
            sheet += images_from(torch.nn.functional.interpolate(picture, size=(192, 192), mode="area"))
            captions.append(" + ".join(scene["words"]))
    save_sheet(sheet, folder / "regions.png", captions, 6)
    return {
        kind: {
            "first": sum(p == 0 for p in places) / len(places),
            "first_five": sum(p < 5 for p in places) / len(places),
        }
        for kind, places in tallies.items()
    }


def judge_colours(painter, colour_judge, nouns, size, folder):
    chosen = nouns[:: max(1, len(nouns) // 8)][:8]
    prompts = [
        f"{with_article(f'{colour} {noun}')} on a white background"
        for colour in COLOUR_NAMES
        for noun in chosen
    ]
    pictures = painter.whole(prompts, size, seed=77)
    with torch.no_grad():
        answers = colour_judge(colour_features(pictures)).argmax(1).view(len(COLOUR_NAMES), -1)
    small = torch.nn.functional.interpolate(pictures, size=(96, 96), mode="area")
    save_sheet(small, folder / "colours.png", [p.split(" on ")[0] for p in prompts], len(chosen))
    right = answers == torch.arange(len(COLOUR_NAMES))[:, None]
    return {colour: float(r.float().mean()) for colour, r in zip(COLOUR_NAMES, right)}


def mean(values):
    values = list(values)
    return sum(values) / max(1, len(values))


def evaluate(settings, folder, engine, per_word, scenes, size):
    folder.mkdir(parents=True, exist_ok=True)
    known = json.loads((HERE / "words.json").read_text())["words"]
    objects = [entry["word"] for entry in known if entry["category"] == "object"]
    materials = [entry["word"] for entry in known if entry["category"] in ("material", "scenery")]
    judge, judge_accuracy = kept_word_judge(settings.world, materials + objects, folder / "judge.pt")
    sprites = Sprites("cpu", objects, settings.world.styles, settings.world.drawings)
    tintable = [n for n in objects if all(sprites.can_recolour[i] for i in sprites.of_noun[n])]
    colour_judge, colour_accuracy = train_colour_judge(settings.world, tintable)
    painter = Painter()
    whole = judge_whole(painter, judge, materials + objects, per_word, size, folder)
    skies = [m for m in materials if MATERIALS[m].place == "sky"]
    grounds = [m for m in materials if MATERIALS[m].place == "ground"]
    regions = judge_regions(painter, judge, skies, grounds, objects, scenes, size, folder, engine)
    colours = judge_colours(painter, colour_judge, tintable, size, folder)
    summary = {
        "judge_on_real_pictures": judge_accuracy,
        "materials_first": mean(whole[w]["first"] for w in materials),
        "materials_first_five": mean(whole[w]["first_five"] for w in materials),
        "objects_first": mean(whole[w]["first"] for w in objects),
        "objects_first_five": mean(whole[w]["first_five"] for w in objects),
        "regions": regions,
        "regions_by": "engine" if engine else "pytorch",
        "colour_judge_on_real_pictures": colour_accuracy,
        "colours_mean": mean(colours.values()),
        "pictures_a_word": per_word,
        "scenes": scenes,
        "size": size,
    }
    report = {"summary": summary, "words": whole, "colours": colours}
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "report.md").write_text(as_markdown(report, materials, objects))
    print(json.dumps(summary, indent=1))


def as_markdown(report, materials, objects):
    lines = []
    for title, words in (("Materials and sceneries", materials), ("Objects", objects)):
        lines += [f"### {title}", "", "| word | first | first five | taken for |", "|---|---|---|---|"]
        for word in words:
            entry = report["words"][word]
            taken = ", ".join(entry["taken_for"][:4])
            lines.append(f"| {word} | {entry['first']:.0%} | {entry['first_five']:.0%} | {taken} |")
        lines.append("")
    lines += ["### Colours", "", "| colour | right |", "|---|---|"]
    lines += [f"| {colour} | {share:.0%} |" for colour, share in report["colours"].items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "config", help="the config that the model was trained with: it says what real pictures are"
    )
    parser.add_argument("folder", type=Path, help="for the report and the sheets")
    parser.add_argument("--engine", help="path of the wordbrush program, to paint the regions with it")
    parser.add_argument("--pictures", type=int, default=8, help="pictures a word")
    parser.add_argument("--scenes", type=int, default=60, help="pictures of three regions")
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    evaluate(Settings.load(args.config), args.folder, args.engine, args.pictures, args.scenes, args.size)
