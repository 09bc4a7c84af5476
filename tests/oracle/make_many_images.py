#!/usr/bin/env python3
"""Writes hundreds of random pictures of every kind into a folder, with what Pillow makes of them:
tests/data/fixtures/pictures (--count 32 --seed 3), and as many as wanted to check the decoder by hand:

    tests/oracle/make_many_images.py DIR [--count 600] [--seed 1]
    PUMICE_PICTURES=DIR build/tests/test_data --gtest_filter='Image.ManyPictures*'

Needs `pip install 'pillow<13'` (Pillow 13 resizes some tall pictures in another order)."""
import argparse
import io
import json
import pathlib
import random
import struct
import zlib

import PIL
from PIL import Image, ImageOps

assert int(PIL.__version__.split(".")[0]) < 13, "use Pillow 9 to 12"


def fnv(data):
    h = 14695981039346656037
    for b in data:
        h = (h ^ b) * 1099511628211 & 0xffffffffffffffff
    return str(h)


def png(width, height, depth, colour, rows, interlace):
    """A PNG of rows of raw pixels, each a list of tuples of samples; Adam7 where asked for. Pillow writes neither 16-bit colour nor Adam7."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def scan(pixels):
        return b"\0" + b"".join(struct.pack(">H" if depth == 16 else ">B", v) for p in pixels for v in p)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)] if interlace else [(0, 0, 1, 1)]
    data = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, height, dy):
            if x0 < width:
                data += scan(rows[y][x0::dx])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlace))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def webp_at_an_offset(canvas, frame, left, top):
    """A WebP animation of one frame (the bytes of a still WebP of a known size) that covers a part of its canvas. Pillow writes none."""
    def chunk(kind, data):
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    def u24(v):
        return struct.pack("<I", v)[:3]
    pixels, (width, height) = frame
    body = chunk(b"VP8X", b"\x12\0\0\0" + u24(canvas[0] - 1) + u24(canvas[1] - 1)) + chunk(b"ANIM", b"\x40\x30\x20\xff\0\0")
    body += chunk(b"ANMF", u24(left // 2) + u24(top // 2) + u24(width - 1) + u24(height - 1) + u24(100) + b"\0" + pixels[12:])
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def crop(image, size):
    width, height = image.size
    new = (int(size * width / height), size) if width >= height else (size, int(size * height / width))
    image = image.resize(new, Image.Resampling.BICUBIC)
    left, top = int(round((new[0] - size) / 2.0)), int(round((new[1] - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    r = random.Random(a.seed)

    def smooth(mode):
        size = (r.randint(1, 70), r.randint(1, 70))
        small = Image.frombytes(mode, (4, 4), r.randbytes(16 * len(mode)))
        noise = Image.frombytes(mode, size, r.randbytes(size[0] * size[1] * len(mode)))
        return Image.blend(small.resize(size, Image.Resampling.BICUBIC), noise, r.choice([0, 0.1, 1]))

    def exif(path, image):
        data = Image.Exif()
        data[0x0112] = r.randint(1, 8)
        image.save(path, exif=data, quality=r.randint(30, 95))

    def raw(path, depth, colour, channels):
        width, height, top = r.randint(1, 40), r.randint(1, 40), 2**depth - 1
        rows = [[tuple(r.randint(0, top) for _ in range(channels)) for _ in range(width)] for _ in range(height)]
        path.write_bytes(png(width, height, depth, colour, rows, r.random() < 0.5))

    def transparent_palette(path):
        image = smooth("RGB").quantize(r.choice([2, 4, 16, 200]))
        image.save(path, transparency=bytes(r.randint(0, 255) for _ in range(r.randint(1, 2))))

    def animation(path):
        size = (r.randint(8, 50), r.randint(8, 50))
        frames = [smooth("RGBA").resize(size) for _ in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=50, lossless=r.random() < 0.5)

    def offset(path):
        image, buffer = smooth("RGB"), io.BytesIO()
        image.save(buffer, "WEBP", lossless=True)
        left, top = 2 * r.randint(0, 9), 2 * r.randint(0, 9)
        canvas = (image.width + left + r.randint(0, 9), image.height + top + r.randint(0, 9))
        path.write_bytes(webp_at_an_offset(canvas, (buffer.getvalue(), image.size), left, top))
    kinds = {
        "rgb.jpg": lambda p: smooth("RGB").save(p, quality=r.randint(5, 100), subsampling=r.choice([0, 1, 2])),
        "grey.jpg": lambda p: smooth("L").save(p, quality=r.randint(5, 100)),
        "cmyk.jpg": lambda p: smooth("CMYK").save(p, quality=r.randint(5, 100)),
        "progressive.jpg": lambda p: smooth("RGB").save(p, progressive=True, quality=r.randint(5, 100), subsampling=r.choice([0, 1, 2])),
        "restart.jpg": lambda p: smooth("RGB").save(p, restart_marker_blocks=r.randint(1, 5), quality=r.randint(5, 100)),
        "rgb_coded.jpg": lambda p: smooth("RGB").save(p, keep_rgb=True, quality=r.randint(5, 100)),
        "exif.jpg": lambda p: exif(p, smooth("RGB")),
        "rgb.png": lambda p: smooth("RGB").save(p),
        "rgba.png": lambda p: smooth("RGBA").save(p),
        "grey.png": lambda p: smooth("L").save(p),
        "grey_alpha.png": lambda p: smooth("LA").save(p),
        "palette.png": lambda p: smooth("RGB").quantize(r.choice([2, 3, 4, 15, 16, 17, 256])).save(p),
        "palette_transparent.png": transparent_palette,
        "bits.png": lambda p: smooth("L").convert("1").save(p),
        "rgb_transparent.png": lambda p: smooth("RGB").save(p, transparency=(1, 2, 3)),
        "grey_transparent.png": lambda p: smooth("L").save(p, transparency=7),
        "grey8_adam7.png": lambda p: raw(p, 8, 0, 1),
        "rgb8_adam7.png": lambda p: raw(p, 8, 2, 3),
        "rgba8_adam7.png": lambda p: raw(p, 8, 6, 4),
        "rgb16.png": lambda p: raw(p, 16, 2, 3),
        "rgba16.png": lambda p: raw(p, 16, 6, 4),
        "grey16.png": lambda p: raw(p, 16, 0, 1),
        "grey_alpha16.png": lambda p: raw(p, 16, 4, 2),
        "rgb.webp": lambda p: smooth("RGB").save(p, quality=r.randint(0, 100), method=r.randint(0, 6)),
        "rgba.webp": lambda p: smooth("RGBA").save(p, quality=r.randint(0, 100), alpha_quality=r.randint(0, 100)),
        "lossless.webp": lambda p: smooth("RGB").save(p, lossless=True, quality=r.randint(0, 100)),
        "lossless_rgba.webp": lambda p: smooth("RGBA").save(p, lossless=True, exact=r.random() < 0.5),
        "grey.webp": lambda p: smooth("L").save(p, quality=r.randint(0, 100)),
        "palette.webp": lambda p: smooth("RGB").quantize(r.choice([2, 4, 16, 200])).save(p, lossless=True),
        "exif.webp": lambda p: exif(p, smooth("RGB")),
        "animation.webp": animation,
        "offset.webp": offset,
    }
    expected = []
    for i in range(a.count):
        kind = list(kinds)[i % len(kinds)]
        name = f"{i:04}_{kind}"
        kinds[kind](a.out / name)
        image = Image.open(a.out / name).convert("RGB")
        entry = {"file": name, "width": image.width, "height": image.height, "rgb": fnv(image.tobytes()),
                 "upright": fnv(ImageOps.exif_transpose(Image.open(a.out / name)).convert("RGB").tobytes())}
        if max(image.size) < 8 * min(image.size):
            entry["crop_8"] = fnv(crop(image, 8).tobytes())
        expected.append(entry)
    (a.out / "expected.json").write_text(json.dumps(expected, indent=0))


if __name__ == "__main__":
    main()
