"""Opens our OpenRaster files in a second program (pyora) and compares layers, sizes and alpha; then the way back.

    pip install pyora
    cargo build && python tests/compare_with_pyora.py target/debug/wordbrush
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from pyora import Project

PROGRAM = Path(sys.argv[1]).resolve()
SIZE = (300, 180)


def wordbrush(*arguments: str) -> str:
    return subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, text=True).stdout


def paint_scene(folder: Path) -> list[str]:
    """A scene with soft masks; answers with the layer names, the top one first."""
    regions = []
    for index, name in enumerate(["meadow", "a <tree> & \"more\"", "Größe 木"]):
        mask = Image.new("L", SIZE)
        draw = ImageDraw.Draw(mask)
        for ring in range(40):
            centre = 60 + index * 80
            draw.ellipse((centre - 60 + ring, 30 + ring, centre + 60 - ring, 150 - ring), fill=ring * 6 + 15)
        mask.save(folder / f"{index}.png")
        regions.append({"name": name, "prompt": name, "mask": f"{index}.png"})
    scene = {"size": SIZE, "seed": 7, "model": "toy", "background": {"prompt": "sky"}, "regions": regions}
    (folder / "scene.json").write_text(json.dumps(scene))
    return [region["name"] for region in reversed(regions)]


def compare_ours(folder: Path, names: list[str]) -> None:
    wordbrush("export", str(folder / "scene.json"), "-o", str(folder / "ours.ora"))
    project = Project.load(str(folder / "ours.ora"))
    assert project.dimensions == SIZE, project.dimensions
    layers = list(project.children)[::-1] if list(project.children)[0].name == "Background" else list(project.children)
    found = [layer.name for layer in layers]
    assert found == [*names, "Background"], found
    for index, layer in enumerate(reversed(layers[:-1])):
        picture = layer.get_image_data(raw=False)
        assert picture.size == SIZE and picture.mode == "RGBA", (picture.size, picture.mode)
        mask = Image.open(folder / f"{index}.png")
        assert picture.getchannel("A").tobytes() == mask.tobytes(), f"alpha of {layer.name}"
        colours = {colour[:3] for _, colour in picture.getcolors(SIZE[0] * SIZE[1]) if colour[3] > 0}
        assert len(colours) == 1, colours
        assert abs(layer.opacity - 0.5) < 1e-3 and layer.visible
    print(f"pyora reads ours: {len(layers)} layers, sizes, names, opacity and alpha as written")


def compare_theirs(folder: Path) -> None:
    project = Project.new(*SIZE)
    project.add_layer(Image.new("RGBA", SIZE, (9, 9, 9, 255)), "paper")
    spot = Image.new("RGBA", (40, 30), (200, 0, 0, 255))
    project.add_layer(spot, "spot", offsets=(100, 50))
    project.save(str(folder / "theirs.ora"))
    report = json.loads(wordbrush("info", str(folder / "theirs.ora"), "--json"))
    assert report["size"] == list(SIZE), report["size"]
    regions = {region["name"]: region for region in report["regions"]}
    assert regions["spot"]["bounds"] == [100, 50, 140, 80], regions
    assert report["has_background_image"], report
    print("we read pyora's: size, layer, its place, and the lowest layer as the background")


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    compare_ours(folder, paint_scene(folder))
    compare_theirs(folder)
