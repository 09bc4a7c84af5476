#!/usr/bin/env python3
"""The three matrix products of linear layers beside PyTorch's and beside the roof of the arithmetic units, in interleaved rounds.

Usage: bench/vs_pytorch/gemm.py build/bench/bench_gemm [f32|bf16 ...] [M,K,N ...]
Both sides in two threads, on operands that change from call to call and are more than the caches hold. y = x w^T, dx = dy w, dw = dy^T x; x has M rows
of K features, y of N. Of each round a median, of the rounds the median; GFLOP/s. Prints a Markdown table."""
import json
import statistics
import subprocess
import sys
import time

import torch

ROUNDS, THREADS = 3, 2
SHAPES = ["9472,128,512", "9472,512,128", "9472,384,1536", "2048,256,768", "1024,1024,1024", "256,1024,256"]


def rival(dtype, shape):
    M, K, N = map(int, shape.split(","))
    make = lambda *size: torch.rand(*size).to(dtype) - 0.5
    count = min(32, max(1, 2 ** 28 // ((M * K + N * K) * dtype.itemsize)))
    found = {}
    for name, a, b, run in (("y", (M, K), (N, K), lambda x, w: torch.nn.functional.linear(x, w)), ("dx", (M, N), (N, K), torch.matmul),
                            ("dw", (M, N), (M, K), lambda dy, x: torch.matmul(dy.T, x))):
        operands, times, i = [(make(*a), make(*b)) for _ in range(count)], [], 0
        with torch.no_grad():
            while len(times) < 7 or sum(times) < 0.3:
                x, w = operands[i % count]
                i += 1
                start = time.perf_counter()
                run(x, w)
                times.append(time.perf_counter() - start)
        found[name] = 2 * M * K * N / statistics.median(times) / 1e9
    return found


def main():
    program = sys.argv[1]
    precisions = [a for a in sys.argv[2:] if a in ("f32", "bf16")] or ["f32", "bf16"]
    shapes = [a for a in sys.argv[2:] if "," in a] or SHAPES
    torch.set_num_threads(THREADS)
    for precision in precisions:
        dtype, ours, theirs, roofs = getattr(torch, dict(f32="float32", bf16="bfloat16")[precision]), {}, {}, []
        for _ in range(ROUNDS):
            out = json.loads(subprocess.run(["env", f"PUMICE_THREADS={THREADS}", program, precision, *shapes], check=True, capture_output=True).stdout)
            roofs.append(out["roof"])
            for s in out["shapes"]:
                for product in ("y", "dx", "dw"):
                    ours.setdefault((s["shape"], product), []).append(s[product])
            for shape in shapes:
                for product, value in rival(dtype, shape).items():
                    theirs.setdefault((shape, product), []).append(value)
        roof = statistics.median(roofs)
        print(f"\n{precision}, {out['isa']}, {THREADS} threads, roof {roof:.0f} GFLOP/s, PyTorch {torch.__version__}\n")
        print("| M, K, N | product | Pumice | of the roof | PyTorch | Pumice / PyTorch |\n|---|---|---|---|---|---|")
        for key, values in ours.items():
            mine, other = statistics.median(values), statistics.median(theirs[key])
            print(f"| {key[0].replace(',', ', ')} | {key[1]} | {mine:.0f} | {100 * mine / roof:.0f} % | {other:.0f} | {mine / other:.2f} |")


if __name__ == "__main__":
    main()
