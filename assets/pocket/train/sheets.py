"""Contact sheets: pictures in rows with their captions below."""

from PIL import Image, ImageDraw

PREVIEW_PROMPTS = [
    "a red apple on a white background", "a green apple on a white background", "a cat on a white background",
    "a blue fish on a white background", "a house on a white background", "a tree on a white background",
    "a pink flower on a white background", "a red car on a white background", "a sun on a white background",
    "a boat on a white background", "a heart on a white background", "a mushroom on a white background",
    "sky", "clouds", "sunset", "night sky", "sea", "grass",
    "snow", "brick wall", "lava", "forest", "an apple on grass", "a blue car on snow",
]  # fmt: skip


def images_from(pictures):
    """`[n, 3, h, w]` in -1..1 as a list of images."""
    array = ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu().permute(0, 2, 3, 1).numpy()
    return [Image.fromarray(a) for a in array]


def save_sheet(pictures, path, captions=None, columns=6):
    images = images_from(pictures) if not isinstance(pictures, list) else pictures
    width, height = images[0].size
    strip = 13 if captions else 0
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (width + 2), rows * (height + strip + 2)), "white")
    pen = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = i % columns * (width + 2), i // columns * (height + strip + 2)
        sheet.paste(image, (x, y))
        if captions:
            pen.text((x + 1, y + height), captions[i][: width // 6], fill=(0, 0, 0))
    sheet.save(path)
