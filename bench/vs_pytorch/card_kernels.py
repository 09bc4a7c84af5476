#!/usr/bin/env python3
"""Kernels of a LIMoE-B/16 step on a card, beside PyTorch's, in interleaved rounds.

Usage: bench/vs_pytorch/card_kernels.py build/bench/card/card_kernels [--rounds 3] [--seconds 200] [--compile] [--small] [--device cuda]
PyTorch runs its best for each: cuBLAS, cuDNN's attention where it is faster than its own, fused AdamW, _grouped_mm for experts; with --compile the same
under torch.compile as well. "Of the floor": the least traffic at the speed of a copy, or the least arithmetic at that of a large product, whichever is
longer, over the time. Prints a Markdown table, a row as soon as it is measured; after --seconds it says what was left. --small --device cpu tries the
program itself, under the emulator."""
import argparse
import json
import math
import os
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F


class Ours:
    def __init__(self, program, small, **environment):
        self.process = subprocess.Popen([program] + ["--small"] * small, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"card_kernels ended at '{line}' with status {self.process.wait()}")
        return answer

    def kernels(self):
        line, all = self.ask("list"), []
        while line.strip():
            all.append(json.loads(line))
            line = self.process.stdout.readline()
        return all


class Rivals:
    def __init__(self, device):
        self.device = device

    def rand(self, *shape, dtype=torch.bfloat16, grad=True):
        return (torch.rand(*shape, device=self.device, dtype=torch.float32) * 2 - 1).to(dtype).requires_grad_(grad)

    def both(self, f, *inputs):
        """f's forward and backward pass, for all inputs; f itself may be compiled."""
        dy = torch.ones_like(f(*inputs))

        def run(g):
            for x in inputs:
                x.grad = None
            g(*inputs).backward(dy)

        return f, run

    def make(self, name, shape):
        """(function, what runs it): for torch.compile, which takes the function."""
        n, f32 = [int(x) for x in shape.split(" x ")], torch.float32
        kind, passes = name.split(",")[0], "both" in name
        if kind.startswith("linear"):
            t = f32 if "f32" in kind else torch.bfloat16
            x, w, b = self.rand(n[0], n[1], dtype=t, grad=passes), self.rand(n[2], n[1], dtype=t, grad=passes), self.rand(n[2], dtype=t, grad=passes)
            return self.both(F.linear, x, w, b) if passes else (F.linear, lambda g: g(x, w, b))
        if kind == "mlp":
            f = lambda x, up, a, down, b: F.linear(F.gelu(F.linear(x, up, a), approximate="tanh"), down, b)
            return self.both(f, self.rand(n[0], n[1]), self.rand(n[2], n[1]), self.rand(n[2]), self.rand(n[1], n[2]), self.rand(n[1]))
        if kind.endswith("attention"):
            causal, qkv = kind.startswith("causal"), self.rand(n[0], n[1], 3, n[2], n[3], grad=passes)

            def f(qkv):
                q, k, v = qkv.permute(2, 0, 3, 1, 4)
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

            f = self.with_fastest_attention(f, qkv, passes)
            return self.both(f, qkv) if passes else (f, lambda g: g(qkv))
        if kind == "layer_norm":
            return self.both(lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b), self.rand(*n), self.rand(n[1]), self.rand(n[1]))
        if kind == "softmax":
            return self.both(lambda x: x.softmax(-1), self.rand(*n))
        if kind == "gelu":
            return self.both(lambda x: F.gelu(x, approximate="tanh"), self.rand(*n))
        if kind == "dropout":
            return self.both(lambda x: F.dropout(x, 0.1), self.rand(*n))
        if kind == "l2_normalize":
            return self.both(lambda x: F.normalize(x, dim=-1), self.rand(*n, dtype=f32))
        if kind == "patchify":
            pixels, p = torch.randint(0, 256, n, device=self.device, dtype=torch.uint8), 16
            f = lambda x: ((x.reshape(n[0], n[1] // p, p, n[2] // p, p, 3).permute(0, 1, 3, 2, 4, 5).float() / 255 - 0.5) / 0.5).to(torch.bfloat16).contiguous()
            return f, lambda g: g(pixels)
        if kind == "embedding":
            ids = torch.randint(0, n[1], (n[0],), device=self.device)
            return self.both(lambda table: F.embedding(ids, table), self.rand(n[1], n[2]))
        if kind == "cross_entropy":
            labels = torch.randint(0, n[1], (n[0],), device=self.device)
            return self.both(lambda x: F.cross_entropy(x, labels), self.rand(*n))
        if kind == "contrastive_loss":
            labels, scale = torch.arange(n[0], device=self.device), math.e

            def f(image, text):
                logits = scale * image @ text.T
                return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2

            return self.both(f, *(F.normalize(self.rand(*n, dtype=f32, grad=False), dim=-1).requires_grad_() for _ in "it"))
        if kind == "grouped_mlp":
            e, rows, c, h = n
            ends = (torch.arange(1, e + 1, device=self.device) * rows).int()

            def f(x, up, a, down, b):
                each = lambda bias: bias[:, None].expand(e, rows, bias.shape[1]).reshape(e * rows, -1)
                x = F.gelu(torch._grouped_mm(x, up.transpose(1, 2), offs=ends) + each(a), approximate="tanh")
                return torch._grouped_mm(x, down.transpose(1, 2), offs=ends) + each(b)

            return self.both(f, self.rand(e * rows, c), self.rand(e, h, c), self.rand(e, h), self.rand(e, c, h), self.rand(e, c))
        if kind == "moe layer":
            from limoe_step import GroupedMoe
            layer = GroupedMoe(n[1], n[2], n[3]).to(self.device)

            def f(x):
                with torch.autocast(self.device, dtype=torch.bfloat16):
                    return layer(x[None], n[0], 0)[0]

            x = self.rand(n[0], n[1])
            dy = torch.ones(1, n[0], n[1], device=self.device)

            def run(g):
                layer.zero_grad(set_to_none=False)
                x.grad = None
                g(x).backward(dy)

            return f, run
        if kind == "adamw":
            p = torch.zeros(n[0], device=self.device, requires_grad=True)
            p.grad = torch.zeros_like(p)
            optimizer = torch.optim.AdamW([p], weight_decay=0.1, fused=True)
            return None, lambda g: optimizer.step()
        raise SystemExit(f"no rival for '{name}'")

    def with_fastest_attention(self, f, qkv, passes):
        if self.device == "cpu":
            return f
        from torch.nn.attention import SDPBackend, sdpa_kernel

        def under(backend):
            def g(x):
                with sdpa_kernel(backend):
                    return f(x)
            return g

        choices = []
        for backend in (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION):
            try:
                g = under(backend)
                choices.append((self.seconds(lambda: g(qkv).sum().backward() if passes else g(qkv)), g))
            except RuntimeError as e:
                print(f"<!-- {backend}: {str(e).splitlines()[0]} -->")
        return min(choices, key=lambda c: c[0])[1] if choices else f

    def wait(self):
        if self.device != "cpu":
            torch.cuda.synchronize()

    def seconds(self, run):
        def measure(calls):
            self.wait()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            self.wait()
            return (time.perf_counter() - start) / calls

        measure(2)
        calls = max(1, min(1000, int(0.05 / max(measure(2), 1e-7))))
        return min(measure(calls) for _ in range(5))

    def roofs(self, small):
        n, m = (128, 1 << 16) if small else (8192, 1 << 29)
        a, b, x = self.rand(n, n, grad=False), self.rand(n, n, grad=False), torch.zeros(m, dtype=torch.uint8, device=self.device)
        c, d, y = a.float(), b.float(), torch.empty_like(x)
        torch.backends.cuda.matmul.allow_tf32 = False
        return {"bf16": 2 * n**3 / self.seconds(lambda: a @ b), "f32": 2 * n**3 / self.seconds(lambda: c @ d), "copy": 2 * m / self.seconds(lambda: y.copy_(x))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--small", action="store_true")
    a = parser.parse_args()
    start = time.monotonic()
    ours, rivals = Ours(a.program, a.small), Rivals(a.device)
    own, their = json.loads(ours.ask("roofs")), rivals.roofs(a.small)
    print(f"{own['device']}; PyTorch {torch.__version__}\n")
    print(f"roofs: copy {own['copy'] / 1e9:.0f} GB/s (PyTorch {their['copy'] / 1e9:.0f}); bf16: mma.sync {own['bf16'] / 1e12:.1f} TFLOP/s, cuBLAS at 8192^3 "
          f"{their['bf16'] / 1e12:.1f}; f32: multiply-adds {own['f32'] / 1e12:.1f}, cuBLAS {their['f32'] / 1e12:.1f}\n")
    roof = {k: max(own[k], their[k]) for k in their}
    print("| kernel | shape | Pumice ms (min-max) | of the floor | PyTorch ms (min-max) | PyTorch / Pumice |" + (" compiled ms | compiled / Pumice |" if a.compile else "")
          + "\n" + "|---" * (8 if a.compile else 6) + "|", flush=True)
    own_products = Ours(a.program, a.small, PUMICE_CUBLASLT="off")
    by_cudnn = Ours(a.program, a.small, PUMICE_CUDNN="on") if a.device == "cuda" else None
    left = []
    for k in ours.kernels():
        if time.monotonic() - start > a.seconds:
            left.append(k["name"])
            continue
        f, run = rivals.make(k["name"], k["shape"])
        compiled = torch.compile(f) if a.compile and f else None
        sides = {k["name"]: ours}
        if k["name"].startswith(("linear", "mlp")):
            sides[f"{k['name']}; our own product"] = own_products
        if k["name"].startswith("attention") and by_cudnn:
            sides[f"{k['name']}; by cuDNN"] = by_cudnn
        mine, eager, fused = {side: [] for side in sides}, [], []
        try:
            for _ in range(a.rounds):
                for side, process in sides.items():
                    mine[side].append(float(process.ask(k["name"])))
                eager.append(1e3 * rivals.seconds(lambda: run(f)))
                if compiled:
                    fused.append(1e3 * rivals.seconds(lambda: run(compiled)))
        except RuntimeError as e:
            print(f"| {k['name']} | {k['shape']} | PyTorch failed: {str(e).splitlines()[0]} |", flush=True)
            continue
        spread = lambda x: f"{statistics.median(x):.3f} ({min(x):.3f}-{max(x):.3f})"
        floor = 1e3 * max(k["bytes"] / roof["copy"], k["flops"] / roof["f32" if "f32" in k["name"] or "contrastive" in k["name"] else "bf16"])
        for side, times in mine.items():
            ms = statistics.median(times)
            row = f"| {side} | {k['shape']} | {spread(times)} | {100 * floor / ms:.0f} % | {spread(eager)} | {statistics.median(eager) / ms:.2f} |"
            if a.compile:
                row += f" {spread(fused)} | {statistics.median(fused) / ms:.2f} |" if fused else " - | - |"
            print(row, flush=True)
    if left:
        print(f"\nnot measured, for want of time: {', '.join(left)}")


if __name__ == "__main__":
    main()
