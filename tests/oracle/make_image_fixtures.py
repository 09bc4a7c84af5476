#!/usr/bin/env python3
"""Writes tests/data/fixtures/images/: tiny pictures of every kind and what Pillow makes of them, as FNV-1a hashes of RGB bytes.
Needs `pip install 'pillow<13'` (Pillow 13 resizes some tall pictures in another order). Usage: tests/oracle/make_image_fixtures.py"""
import json
import pathlib

import PIL
from PIL import Image, ImageOps

assert int(PIL.__version__.split(".")[0]) < 13, "use Pillow 9 to 12"
OUT = pathlib.Path(__file__).parent.parent / "data/fixtures/images"


def fnv(data):
    h = 14695981039346656037
    for b in data:
        h = (h ^ b) * 1099511628211 % 2**64
    return str(h)


def picture(width, height):
    grey = Image.radial_gradient("L").resize((width, height))
    return Image.merge("RGBA", [grey, grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT), Image.linear_gradient("L").resize((width, height)),
                                Image.linear_gradient("L").rotate(90).resize((width, height))])


def crop(image, size):
    width, height = image.size
    new = (int(size * width / height), size) if width >= height else (size, int(size * height / width))
    image = image.resize(new, Image.Resampling.BICUBIC)
    left, top = int(round((new[0] - size) / 2.0)), int(round((new[1] - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


OUT.mkdir(parents=True, exist_ok=True)
rgba = picture(23, 17)
rgb = rgba.convert("RGB")
files = {"rgb.png": (rgb, {}), "rgba.png": (rgba, {}), "grey.png": (rgb.convert("L"), {}), "grey_alpha.png": (rgba.convert("LA"), {}),
         "palette.png": (rgb.quantize(16), {}),
         "bits.png": (rgb.convert("1"), {}), "rgb.jpg": (rgb, {"quality": 80}), "grey.jpg": (rgb.convert("L"), {}),
         "cmyk.jpg": (rgb.convert("CMYK"), {}), "progressive.jpg": (rgb, {"progressive": True}), "tall.png": (picture(5, 31).convert("RGB"), {})}
expected = []
for name, (image, options) in files.items():
    image.save(OUT / name, **options)
    image = Image.open(OUT / name).convert("RGB")
    expected.append({"file": name, "width": image.width, "height": image.height, "rgb": fnv(image.tobytes()),
                     "bicubic_9x13": fnv(image.resize((9, 13), Image.Resampling.BICUBIC).tobytes()),
                     "bilinear_40x31": fnv(image.resize((40, 31), Image.Resampling.BILINEAR).tobytes()), "crop_8": fnv(crop(image, 8).tobytes())})
# Small pictures in every orientation that EXIF knows, in every format that carries it.
turned = []
for orientation in range(1, 9):
    for kind in ("jpg", "png", "webp"):
        path = OUT / f"orientation_{orientation}.{kind}"
        data = Image.Exif()
        data[0x0112] = orientation
        picture(9, 6).convert("RGB").save(path, exif=data, **({"lossless": True} if kind == "webp" else {}))
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        turned.append({"file": path.name, "width": image.width, "height": image.height, "rgb": fnv(image.tobytes())})
(OUT / "orientations.json").write_text(json.dumps(turned, indent=0))
(OUT / "expected.json").write_text(json.dumps(expected, indent=0))
