#!/usr/bin/env python3
"""The same LIMoE training step in PyTorch, beside Pumice's, in interleaved rounds.

Usage: bench/vs_pytorch/limoe_step.py build/bench/bench_limoe_step [micro|tiny|small|medium ...] [--compile]
PyTorch eager, two threads, f32 and bf16 autocast: one packed stream per modality, scaled_dot_product_attention (captions have equal
lengths here, so no padding), experts as an index-select loop with batch-priority order and the same capacity, importance, load, z and
entropy losses. A step is forward, backward, clipping and fused AdamW. Memory is the growth of the process's peak above weights,
gradients and optimizer state. micro is dense, at batch 8: it measures what an op costs beside its arithmetic. --compile: the model under torch.compile.
Prints a Markdown table."""
import json
import math
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

PRESETS = {"micro": (32, 8, 16, 2048, 4, 64, 2, 256, 64),
           "tiny": (64, 8, 16, 2048, 4, 128, 4, 512, 128),
           "small": (64, 8, 16, 2048, 6, 192, 3, 768, 192),
           "medium": (64, 8, 32, 2048, 6, 384, 6, 1536, 384)}
E, GROUP, WORDS, B = 8, 128, 10, 128


class Moe(nn.Module):
    def __init__(self, w, f):
        super().__init__()
        self.router = nn.Linear(w, E, bias=False)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(w, f), nn.GELU(approximate="tanh"), nn.Linear(f, w)) for _ in range(E))

    def forward(self, x, images, text):  # x (groups, tokens, w)
        G, S, w = x.shape
        with torch.autocast("cpu", enabled=False):
            z = self.router(x.float())
            sigma = 1 / E
            noisy = z + sigma * torch.randn_like(z)
            p, clean = noisy.softmax(-1), z.softmax(-1)
        gate, expert = p.max(-1)
        capacity = math.ceil(S * 1.25 / E)
        capacity += -capacity % 4
        order = torch.argsort(gate, dim=1, descending=True, stable=True)
        claims = F.one_hot(torch.gather(expert, 1, order), E).cumsum(1)
        slot = torch.gather(claims, 2, torch.gather(expert, 1, order)[..., None])[..., 0] - 1
        kept = torch.zeros_like(slot, dtype=torch.bool).scatter(1, order, slot < capacity)
        flat, y = x.reshape(-1, w), torch.zeros_like(x.reshape(-1, w))
        for e in range(E):
            rows = torch.nonzero((kept & (expert == e)).reshape(-1))[:, 0]
            y = y.index_add(0, rows, (self.experts[e](flat[rows]) * gate.reshape(-1)[rows, None]).to(y.dtype))
        cv2 = lambda v: (v.var(-1, unbiased=False) / v.mean(-1) ** 2).mean()
        load = 0.5 * torch.erfc((noisy.max(-1, keepdim=True).values - z) / sigma / math.sqrt(2))
        entropy = lambda q: -(q * q.clamp_min(1e-30).log()).sum(-1)
        ci, ct = clean[:, :images], clean[:, images:]
        aux = (cv2(clean.sum(1)) + cv2(load.mean(1)) + (torch.logsumexp(z, -1) ** 2).mean() + entropy(ct).mean()
               + (math.log(0.62 * E) - entropy(ci.mean(1))).clamp_min(0).mean() + (math.log(0.28 * E) - entropy(ct.mean(1))).clamp_min(0).mean()) / 6
        return y.reshape(G, S, w), 0.04 * aux


class Block(nn.Module):
    def __init__(self, w, h, f, sparse):
        super().__init__()
        self.n1, self.n2, self.qkv, self.out, self.h = nn.LayerNorm(w, 1e-6), nn.LayerNorm(w, 1e-6), nn.Linear(w, 3 * w), nn.Linear(w, w), h
        self.moe = Moe(w, f) if sparse else None
        self.mlp = None if sparse else nn.Sequential(nn.Linear(w, f), nn.GELU(approximate="tanh"), nn.Linear(f, w))

    def attend(self, x):
        n, t, w = x.shape
        q, k, v = self.qkv(self.n1(x)).reshape(n, t, 3, self.h, w // self.h).permute(2, 0, 3, 1, 4)
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, w))

    def forward(self, image, text):
        image, text = self.attend(image), self.attend(text)
        if self.mlp is not None:
            return image + self.mlp(self.n2(image)), text + self.mlp(self.n2(text)), 0
        g = image.shape[0] // GROUP
        ni, nt, w = GROUP * image.shape[1], GROUP * text.shape[1], image.shape[2]
        x = torch.cat([image.reshape(g, ni, w), text.reshape(g, nt, w)], 1)
        y, aux = self.moe(self.n2(x), ni, nt)
        x = x + y
        return x[:, :ni].reshape(image.shape), x[:, ni:].reshape(text.shape), aux


class Limoe(nn.Module):
    def __init__(self, preset, size, patch, length, vocab, depth, w, h, f, d):
        super().__init__()
        self.patch, n = patch, (size // patch) ** 2
        self.patches, self.words = nn.Linear(3 * patch * patch, w), nn.Embedding(vocab, w)
        self.ip, self.tp = nn.Parameter(torch.randn(n, w) / w ** 0.5), nn.Parameter(torch.randn(length, w) / w ** 0.5)
        self.blocks = nn.ModuleList(Block(w, h, f, preset != "micro" and i % 2 == 1) for i in range(depth))
        self.norm, self.ih, self.th = nn.LayerNorm(w, 1e-6), nn.Linear(w, d, bias=False), nn.Linear(w, d, bias=False)
        self.t = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, pixels, tokens):
        b, s, p = pixels.shape[0], pixels.shape[1], self.patch
        x = (pixels.float() / 255 - 0.5) / 0.5
        x = x.reshape(b, s // p, p, s // p, p, 3).permute(0, 1, 3, 2, 4, 5).reshape(b, (s // p) ** 2, -1)
        image, text, aux, sparse = self.patches(x) + self.ip, self.words(tokens) + self.tp[: tokens.shape[1]], 0, 0
        for block in self.blocks:
            image, text, a = block(image, text)
            aux, sparse = aux + a, sparse + (block.moe is not None)
        zi, zt = F.normalize(self.ih(self.norm(image).mean(1)).float(), dim=-1), F.normalize(self.th(self.norm(text).mean(1)).float(), dim=-1)
        logits = zi @ zt.T * self.t.exp()
        labels = torch.arange(b)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2 + (aux / sparse if sparse else 0)


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Rival:
    def __init__(self, preset, bf16, compiled):
        torch.manual_seed(1)
        config, batch = PRESETS[preset], 8 if preset == "micro" else B
        self.bf16, self.model = bf16, Limoe(preset, *config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
        self.pixels, self.tokens = torch.randint(0, 256, (batch, config[0], config[0], 3), dtype=torch.uint8), torch.randint(0, config[3], (batch, WORDS))
        self.call = torch.compile(self.model) if compiled else self.model

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.call(self.pixels, self.tokens)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return (time.perf_counter() - start) * 1e3


def ours(program, preset, precision):
    return json.loads(subprocess.run([program, preset, precision, "200" if preset == "micro" else "5"], capture_output=True, text=True, check=True).stdout)


def compare(program, preset, precision, compiled):
    torch.set_num_threads(2)
    rival = Rival(preset, precision == "bf16", compiled == "1")
    base = peak_mib() + 3 * 4 * sum(p.numel() for p in rival.model.parameters()) / 2**20  # gradients and two moments to come
    for _ in range(3 if preset == "micro" else 1):
        rival.step()
    a, b, memory = [], [], 0
    for _ in range(3):  # interleaved rounds
        r = ours(program, preset, precision)
        a += [r["ms_min"], r["ms"], r["ms_max"]]
        memory = r["activation_mib"]
        b += [rival.step() for _ in range(100 if preset == "micro" else 5)]
    ma, mb = statistics.median(a), statistics.median(b)
    digits = 1 if preset == "micro" else 0
    print(f"| {preset} | {precision} | {ma:.{digits}f} ({min(a):.{digits}f}-{max(a):.{digits}f}) | {mb:.{digits}f} ({min(b):.{digits}f}-{max(b):.{digits}f}) | {mb / ma:.2f} | {memory:.0f} | "
          f"{max(0, peak_mib() - base):.0f} |", flush=True)


def main():
    if sys.argv[1] == "--row":
        return compare(*sys.argv[2:])
    compiled = "--compile" in sys.argv
    program, presets = sys.argv[1], [a for a in sys.argv[2:] if a != "--compile"] or ["tiny", "medium"]
    print(f"PyTorch {torch.__version__} {'compiled' if compiled else 'eager'}, 2 threads; batch {B}, {WORDS} tokens per caption, E = {E}, K = 1, capacity 1.25\n")
    print("| preset | precision | Pumice ms (min-max) | PyTorch ms (min-max) | PyTorch / Pumice | activations MiB, Pumice | PyTorch |\n"
          + "|---" * 7 + "|", flush=True)
    for preset in presets:
        for precision in ("fp32", "bf16"):  # a process for each: the peak of memory never falls
            subprocess.run([sys.executable, __file__, "--row", program, preset, precision, str(int(compiled))], check=True)


main()
