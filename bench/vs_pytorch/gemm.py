#!/usr/bin/env python3
"""The three matrix products of linear layers beside PyTorch's, in f32 also beside OpenBLAS's (NumPy's), and beside the roof of the arithmetic units,
in interleaved rounds.

Usage: bench/vs_pytorch/gemm.py build/bench/bench_gemm [f32|bf16 ...] [M,K,N ...]
All sides in two threads, on operands that change from call to call and are more than the caches hold. y = x w^T, dx = dy w, dw = dy^T x; x has M rows
of K features, y of N. Of each round a median, of the rounds the median, of the roof the highest; GFLOP/s. Prints a Markdown table."""
import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS, THREADS = 3, 2
os.environ["OPENBLAS_NUM_THREADS"] = str(THREADS)  # before NumPy reads it

import numpy as np
import torch

SHAPES = ["9472,128,512", "9472,512,128", "9472,384,1536", "2048,256,768", "1024,1024,1024", "256,1024,256"]


def rate(flops, operands, product):
    times, i = [], 0
    while len(times) < 7 or sum(times) < 0.3:
        a, b = operands[i % len(operands)]
        i += 1
        start = time.perf_counter()
        product(a, b)
        times.append(time.perf_counter() - start)
    return flops / statistics.median(times) / 1e9


def rivals(dtype, shape):
    """(GFLOP/s of PyTorch, of OpenBLAS or None) of each product."""
    M, K, N = map(int, shape.split(","))
    make = lambda *size: torch.rand(*size).to(dtype) - 0.5
    count = min(32, max(1, 2 ** 28 // ((M * K + N * K) * dtype.itemsize)))
    found = {}
    for name, a, b, run, plain in (("y", (M, K), (N, K), torch.nn.functional.linear, lambda x, w: x @ w.T), ("dx", (M, N), (N, K), torch.matmul, np.matmul),
                                   ("dw", (M, N), (M, K), lambda dy, x: torch.matmul(dy.T, x), lambda dy, x: dy.T @ x)):
        operands = [(make(*a), make(*b)) for _ in range(count)]
        with torch.no_grad():
            mine = rate(2 * M * K * N, operands, run)
        arrays = [(x.numpy(), w.numpy()) for x, w in operands] if dtype == torch.float32 else None
        found[name] = mine, rate(2 * M * K * N, arrays, plain) if arrays else None
    return found


def main():
    program = sys.argv[1]
    precisions = [a for a in sys.argv[2:] if a in ("f32", "bf16")] or ["f32", "bf16"]
    shapes = [a for a in sys.argv[2:] if "," in a] or SHAPES
    torch.set_num_threads(THREADS)
    for precision in precisions:
        dtype, ours, theirs, roofs = getattr(torch, dict(f32="float32", bf16="bfloat16")[precision]), {}, {}, []
        for _ in range(ROUNDS):
            time.sleep(0.5)  # the rivals' threads spin for a while after their last product
            out = json.loads(subprocess.run(["env", f"PUMICE_THREADS={THREADS}", program, precision, *shapes], check=True, capture_output=True).stdout)
            roofs.append(out["roof"])
            for s in out["shapes"]:
                for product in ("y", "dx", "dw"):
                    ours.setdefault((s["shape"], product), []).append(s[product])
            for shape in shapes:
                for product, value in rivals(dtype, shape).items():
                    theirs.setdefault((shape, product), []).append(value)
        roof, blas = max(roofs), dtype == torch.float32
        print(f"\n{precision}, {out['isa']}, {THREADS} threads, roof {roof:.0f} GFLOP/s, PyTorch {torch.__version__}, NumPy {np.__version__}\n")
        print("| M, K, N | product | Pumice | of the roof | PyTorch | Pumice / PyTorch |" + (" OpenBLAS | Pumice / OpenBLAS |" if blas else "") + "\n|---|---|---|---|---|---|"
              + ("---|---|" if blas else ""))
        for key, values in ours.items():
            mine, other = statistics.median(values), statistics.median(t[0] for t in theirs[key])
            row = f"| {key[0].replace(',', ', ')} | {key[1]} | {mine:.0f} | {100 * mine / roof:.0f} % | {other:.0f} | {mine / other:.2f} |"
            if blas:
                third = statistics.median(t[1] for t in theirs[key])
                row += f" {third:.0f} | {mine / third:.2f} |"
            print(row, flush=True)


if __name__ == "__main__":
    main()
