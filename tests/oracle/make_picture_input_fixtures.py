#!/usr/bin/env python3
"""Writes tests/data/fixtures/picture_input/: hard pictures, processors, and what Transformers' slow (PIL) image processors make of them, with LLaVA's
square around the whole picture where a case asks for it.

processors/<name>.json  as save_pretrained() writes preprocessor_config.json
expected.safetensors
  <processor>/<fit> u8 (pictures,size,size,3)   the pixels before they are scaled, pictures by name; fit: own, or pad (LLaVA's expand2square first)
  <processor>/levels f32 (3,256)                what each level of each channel becomes: pixel_values[c,y,x] = levels[c,pixel], bit for bit (checked here)

input_data_format is given: a picture of one row is (1, width, 3), and without it Transformers takes the first axis for the channels.
Needs `pip install 'pillow<13' 'transformers<5' numpy safetensors`. Usage: tests/oracle/make_picture_input_fixtures.py"""
import json
import pathlib
import shutil

import numpy as np
import PIL
from PIL import Image
from safetensors.numpy import save_file
from transformers import CLIPImageProcessor, SiglipImageProcessor

assert int(PIL.__version__.split(".")[0]) < 13, "use Pillow 9 to 12"
OUT = pathlib.Path(__file__).parent.parent / "data/fixtures/picture_input"

square = lambda n: {"height": n, "width": n}
PROCESSORS = {
    "clip": CLIPImageProcessor(size={"shortest_edge": 10}, crop_size=square(10)),
    "clip-odd": CLIPImageProcessor(size={"shortest_edge": 9}, crop_size=square(9)),
    "clip-larger": CLIPImageProcessor(size={"shortest_edge": 12}, crop_size=square(9)),   # the usual 256 and 224
    "clip-smaller": CLIPImageProcessor(size={"shortest_edge": 6}, crop_size=square(9)),   # black around it
    "clip-squash": CLIPImageProcessor(size=square(13), crop_size=square(10)),
    "clip-mean": CLIPImageProcessor(size={"shortest_edge": 10}, crop_size=square(10), image_mean=[123 / 255, 116 / 255, 0.4],
                                    image_std=[0.25, 0.5, 1.0]),
    "siglip": SiglipImageProcessor(size=square(10), resample=3),
    "siglip-bilinear": SiglipImageProcessor(size=square(10), resample=2),
}
FITS = {"clip": ("own", "pad"), "clip-odd": ("own", "pad"), "clip-larger": ("own", "pad"), "clip-mean": ("pad",), "siglip": ("own", "pad")}


def pictures():
    random = np.random.default_rng(1)
    noise = lambda h, w, c: Image.fromarray(random.integers(0, 256, (h, w, c), dtype=np.uint8).squeeze())
    smooth = Image.merge("RGB", [Image.radial_gradient("L"), Image.linear_gradient("L"), Image.linear_gradient("L").rotate(90)])
    return {"wide": smooth.resize((61, 17)), "tall": smooth.resize((11, 64)), "noise": noise(19, 20, 3), "pixel": noise(1, 1, 3),
            "row": noise(1, 9, 3), "small": noise(4, 5, 3), "grey": noise(20, 31, 1), "alpha": noise(13, 11, 4), "column": noise(40, 1, 3), "exact": noise(10, 10, 3)}


def expand2square(image, colour):
    """LLaVA (llava/mm_utils.py): a square around the picture, the odd pixel right or below."""
    side = max(image.size)
    out = Image.new("RGB", (side, side), colour)
    out.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return out


shutil.rmtree(OUT, ignore_errors=True)
(OUT / "processors").mkdir(parents=True)
shown = {}
for name, image in pictures().items():
    image.save(OUT / f"{name}.png", optimize=True)
    shown[name] = Image.open(OUT / f"{name}.png").convert("RGB")
expected = {}
for name, processor in PROCESSORS.items():
    (OUT / "processors" / f"{name}.json").write_text(json.dumps(processor.to_dict()) + "\n")
    prepare = lambda image, **steps: processor.preprocess(image, input_data_format="channels_last", return_tensors="np", **steps)["pixel_values"][0]
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    steps = {"do_resize": False} | ({"do_center_crop": False} if isinstance(processor, CLIPImageProcessor) else {})
    levels = prepare(Image.fromarray(grey), **steps).reshape(3, 256)
    if name in ("clip", "clip-mean", "siglip"):  # the others have the same
        expected[f"{name}/levels"] = levels
    for fit in FITS.get(name, ("own",)):
        rows = []
        for _, image in sorted(shown.items()):
            image = expand2square(image, tuple(int(255 * m) for m in processor.image_mean)) if fit == "pad" else image
            pixels = prepare(image, do_rescale=False, do_normalize=False)
            assert pixels.dtype == np.uint8
            values = prepare(image)
            assert values.dtype == np.float32 and all((levels[c][pixels[c]] == values[c]).all() for c in range(3))
            rows.append(pixels.transpose(1, 2, 0))
        expected[f"{name}/{fit}"] = np.ascontiguousarray(np.stack(rows))
save_file(expected, OUT / "expected.safetensors")
total = sum(f.stat().st_size for f in OUT.rglob("*") if f.is_file())
print(f"{len(expected)} tensors, {total} bytes")
assert total < 60 * 1024
