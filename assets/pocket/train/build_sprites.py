"""Packs the emoji drawings of the vocabulary into `data/sprites.bin` and `data/sprites.json`.

    npm install && python build_sprites.py

Sources, pinned in package.json: Fluent Emoji in 3D, glossy and flat (MIT, Microsoft; 3D packaged by LobeHub)
and Noto Emoji (Apache-2.0, Google). See ../LICENSES.md.
"""

import base64
import io
import json
from pathlib import Path

import resvg_py
from PIL import Image

from vocabulary import DATA, NOUNS

SIZE = 160  # pixels
MODULES = Path(__file__).parent / "node_modules"


class IconSet:
    """One of the SVG sets, by emoji code point."""

    def __init__(self, package, names_from=None):
        folder = MODULES / "@iconify-json"
        self.icons = json.loads((folder / package / "icons.json").read_text())
        # The glossy set lists no code points; its names are those of the flat set.
        names = json.loads((folder / (names_from or package) / "chars.json").read_text())
        self.names = {code.replace("-fe0f", ""): name for code, name in names.items()}

    def draw(self, code):
        name = self.names.get(code)
        while name not in self.icons["icons"] and name in self.icons.get("aliases", {}):
            name = self.icons["aliases"][name]["parent"]
        if name not in self.icons["icons"]:
            return None
        icon = self.icons["icons"][name]
        width, height = (icon.get(side, self.icons.get(side, 16)) for side in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}" width="{width}" height="{height}">{icon["body"]}</svg>'
        )
        png = resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE)
        png = base64.b64decode(png) if isinstance(png, str) else bytes(png)
        return Image.open(io.BytesIO(png)).convert("RGBA")


class Fluent3d:
    """The rendered set, WebP pictures by code point."""

    def __init__(self):
        folder = MODULES / "@lobehub/fluent-emoji-3d/assets"
        self.paths = {path.stem.replace("-fe0f", ""): path for path in folder.glob("*.webp")}

    def draw(self, code):
        return Image.open(self.paths[code]).convert("RGBA") if code in self.paths else None


def fill_square(picture):
    """Crops to what is drawn and pads to a square, so that every sprite fills its tile alike."""
    box = picture.getchannel("A").point(lambda a: 255 if a > 8 else 0).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    side = int(max(picture.size) * 1.04) + 2
    square = Image.new("RGBA", (side, side))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square.resize((SIZE, SIZE), Image.LANCZOS)


def build():
    styles = {
        "3d": Fluent3d(),
        "glossy": IconSet("fluent-emoji", names_from="fluent-emoji-flat"),
        "flat": IconSet("fluent-emoji-flat"),
        "noto": IconSet("noto"),
    }
    pack, index = bytearray(), []
    for noun in NOUNS.values():
        for code in noun.codes:
            for style, source in styles.items():
                drawn = source.draw(code)
                tile = fill_square(drawn) if drawn else None
                if tile is None:
                    continue
                webp = io.BytesIO()
                tile.save(webp, "WEBP", quality=82, method=6)
                place = {"off": len(pack), "len": len(webp.getvalue())}
                index.append({"noun": noun.word, "hex": code, "style": style, **place})
                pack += webp.getvalue()
    (DATA / "sprites.bin").write_bytes(pack)
    (DATA / "sprites.json").write_text(json.dumps({"size": SIZE, "sprites": index}))
    print(f"{len(NOUNS)} nouns, {len(index)} sprites, {len(pack) / 2**20:.1f} MiB")


if __name__ == "__main__":
    build()
