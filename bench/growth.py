#!/usr/bin/env python3
"""How a training step of a sparse language model grows with its sizes: milliseconds and activation memory of bench_lm_step, one size doubled at a time,
and the slope of a line through the logarithms (1: proportional, 0: it costs nothing).

Usage: bench/growth.py build/bench/bench_lm_step [fp32|bf16] [--rounds 3]
Prints a Markdown table. Rounds are interleaved, the fastest of each size counts."""
import argparse
import json
import math
import subprocess

SWEEPS = [
    ("batch", [{"batch": b} for b in (2, 4, 8, 16)], "of 256 tokens: both proportional"),
    ("length", [{"length": n, "batch": 2048 // n} for n in (64, 128, 256, 512, 1024)], "at 2048 tokens: attention's share grows"),
    ("vocabulary", [{"vocabulary": v} for v in (4096, 8192, 16384, 32768)], "the logits' share grows, which exist in pieces only"),
    ("experts", [{"experts": e, "batch": 16} for e in (4, 8, 16, 32)], "the same FLOPs; 2048 down to 256 rows for each, and an optimizer step of all"),
    ("width", [{"width": w, "hidden": 3 * w} for w in (128, 256, 512)], "weights grow with the square, activations in proportion"),
    ("depth", [{"depth": d} for d in (2, 4, 8)], "proportional, but for embedding and logits"),
]


def slope(x, y):
    lx, ly = [math.log(v) for v in x], [math.log(v) for v in y]
    mx, my = sum(lx) / len(lx), sum(ly) / len(ly)
    return sum((a - mx) * (b - my) for a, b in zip(lx, ly)) / sum((a - mx) ** 2 for a in lx)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("precision", nargs="?", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    a = parser.parse_args()
    print(f"| {a.precision}, size | values | ms | slope | activations MiB | slope | |\n" + "|---" * 7 + "|", flush=True)
    for name, points, note in SWEEPS:
        best = [(math.inf, 0)] * len(points)
        for _ in range(a.rounds):
            for i, point in enumerate(points):
                out = subprocess.run([a.program, a.precision, "steps=3", *(f"{k}={v}" for k, v in point.items())], capture_output=True, text=True, check=True)
                r = json.loads(out.stdout)
                best[i] = (min(best[i][0], r["ms_min"]), r["activation_mib"])
        x = [p[name] for p in points]
        joined = lambda values: ", ".join(f"{v:.0f}" for v in values)
        print(f"| {name} | {joined(x)} | {joined(b[0] for b in best)} | {slope(x, [b[0] for b in best]):.2f} | {joined(b[1] for b in best)} | "
              f"{slope(x, [b[1] for b in best]):.2f} | {note} |", flush=True)


main()
