#!/usr/bin/env python3
"""A sparse MLP, forward and backward, beside PyTorch's index-select loop over the experts and beside the dense MLP of equal FLOPs.

Usage: bench/vs_pytorch/moe_layer.py build/bench/bench_layers [--rounds 3] [--precision f32]
One expert per token, none dropped, GELU, router in f32; PyTorch eager with two threads, bf16 as its autocast. Interleaved rounds, medians. Prints two
Markdown tables: the layer at the tokens of a training step, and its growth with the experts where each of them has at least 512 rows."""
import argparse
import json
import statistics
import subprocess
import time

import torch
import torch.nn as nn

STEP, MANY = 8192 + 1280, 64 * 512


class Loop(nn.Module):
    def __init__(self, width, experts):
        super().__init__()
        self.router = nn.Linear(width, experts, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)) for _ in range(experts))

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            logits = self.router(x.float())
            p = (logits + torch.randn_like(logits) / len(self.experts)).softmax(-1)
        gate, expert = p.max(-1)
        y = torch.zeros_like(x)
        for e, f in enumerate(self.experts):
            rows = torch.nonzero(expert == e)[:, 0]
            y = y.index_add(0, rows, (f(x[rows]) * gate[rows, None]).to(y.dtype))
        return y


class Rival:
    def __init__(self, tokens, width, experts, bf16):
        torch.manual_seed(1)
        self.bf16, self.layer = bf16, Loop(width, experts)
        dtype = torch.bfloat16 if bf16 else torch.float32
        self.x, self.dy = torch.rand(tokens, width, dtype=dtype), torch.rand(tokens, width, dtype=dtype)

    def step(self):
        start = time.perf_counter()
        self.layer.zero_grad(set_to_none=False)
        x = self.x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            y = self.layer(x)
        y.backward(self.dy)
        return (time.perf_counter() - start) * 1e3


def ours(program, name):
    out = subprocess.run([program, f"--benchmark_filter=^{name}/real_time$", "--benchmark_min_time=1", "--benchmark_format=json"], capture_output=True,
                         text=True, check=True).stdout
    return json.loads(out[out.index("{"):])["benchmarks"][0]["real_time"]


def measure(program, rounds, tokens, width, experts, bf16):
    rival, sparse, dense, loop = Rival(tokens, width, experts, bf16), [], [], []
    rival.step()
    for _ in range(rounds):
        sparse.append(ours(program, f"SparseMlp/T:{tokens}/C:{width}/E:{experts}/bf16:{int(bf16)}"))
        dense.append(ours(program, f"DenseMlp/T:{tokens}/C:{width}/bf16:{int(bf16)}"))
        rival.step()
        loop += [rival.step() for _ in range(3)]
    return statistics.median(sparse), statistics.median(dense), statistics.median(loop)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=["f32", "bf16"], help="one of them alone")
    a = parser.parse_args()
    torch.set_num_threads(2)
    print(f"PyTorch {torch.__version__} eager, 2 threads\n")
    for tokens, widths in ((STEP, (128, 384)), (MANY, (128,))):
        print(f"{tokens} tokens:\n\n| width | experts | precision | Pumice ms | dense twin ms | sparse / dense | PyTorch loop ms | PyTorch / Pumice |\n" + "|---" * 8 + "|",
              flush=True)
        for width in widths:
            for bf16 in {None: (False, True), "f32": (False,), "bf16": (True,)}[a.precision]:
                for experts in (8, 16, 32, 64):
                    s, d, l = measure(a.program, a.rounds, tokens, width, experts, bf16)
                    print(f"| {width} | {experts} | {'bf16' if bf16 else 'f32'} | {s:.1f} | {d:.1f} | {s / d:.2f} | {l:.1f} | {l / s:.2f} |", flush=True)
        print()


main()
