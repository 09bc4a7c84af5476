#!/usr/bin/env python3
"""Prints the hashes in tests/data/augment_test.cpp: Pillow's changes to one drawn picture, as FNV-1a of their bytes."""
from PIL import Image, ImageEnhance, ImageOps


def fnv(data):
    h = 14695981039346656037
    for c in data:
        h = ((h ^ c) * 1099511628211) & 0xffffffffffffffff
    return h


w, h = 37, 23
data = bytes((x * 7 + y * 13 + c * 50 + (x * y) % 11 * 9) % 256 for y in range(h) for x in range(w) for c in range(3))
im = Image.frombytes("RGB", (w, h), data)
out = [("grey", im.convert("L").convert("RGB")), ("mirror", ImageOps.mirror(im))]
for f in (0.0, 0.37, 0.9, 1.6):
    out += [(f"brightness {f}", ImageEnhance.Brightness(im).enhance(f)), (f"contrast {f}", ImageEnhance.Contrast(im).enhance(f)),
            (f"saturation {f}", ImageEnhance.Color(im).enhance(f))]
out.append(("crop and resize", im.crop((5, 3, 31, 20)).resize((16, 16), Image.BICUBIC)))


def hue(im, factor):  # torchvision.transforms.v2.functional.adjust_hue of a PIL image
    h, s, v = im.convert("HSV").split()
    h = Image.frombytes("L", im.size, bytes((c + int(factor * 255)) % 256 for c in h.tobytes()))
    return Image.merge("HSV", (h, s, v)).convert("RGB")


out += [(f"hue {f}", hue(im, f)) for f in (0.0, 0.1, -0.23, 0.5, -0.5)]
every_colour = Image.frombytes("RGB", (4096, 4096), b"".join(c.to_bytes(3, "little") for c in range(2**24)))
out.append(("hue of every colour", hue(every_colour, 0.3)))
for name, picture in out:
    print(f"    // {name}\n    0x{fnv(picture.tobytes()):016x}ull,")
