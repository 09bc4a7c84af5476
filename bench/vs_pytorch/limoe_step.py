#!/usr/bin/env python3
"""The same LIMoE training step in PyTorch, beside Pumice's, in interleaved rounds.

Usage: bench/vs_pytorch/limoe_step.py build/bench/bench_limoe_step [micro|tiny|small|medium|b32|b16 ...] [--compile] [--device cuda] [--batch N]
PyTorch eager, two threads, f32 and bf16 autocast: one packed stream per modality, scaled_dot_product_attention (captions have equal
lengths here, so no padding), experts as an index-select loop with batch-priority order and the same capacity, importance, load, z and
entropy losses. A step is forward, backward, clipping and fused AdamW. Memory is the growth of the process's peak above weights,
gradients and optimizer state. micro is dense, at batch 8: it measures what an op costs beside its arithmetic. --compile: the model under torch.compile.
On a card (--device cuda, bf16): the dense twin and the sparse model; PyTorch's experts by _grouped_mm over sorted rows, without waiting for the device.
Prints a Markdown table."""
import argparse
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
           "medium": (64, 8, 32, 2048, 6, 384, 6, 1536, 384),
           "b32": (224, 32, 16, 32000, 12, 768, 12, 3072, 768),
           "b16": (224, 16, 16, 32000, 12, 768, 12, 3072, 768)}
GROUP, WORDS, B = 128, 10, 128


def experts_of(preset):
    return {"micro": 0, "b32": 32, "b16": 32}.get(preset, 8)


class Moe(nn.Module):
    def __init__(self, w, f, experts):
        super().__init__()
        self.count, self.router = experts, nn.Linear(w, experts, bias=False)
        self.make_experts(w, f)

    def make_experts(self, w, f):
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(w, f), nn.GELU(approximate="tanh"), nn.Linear(f, w)) for _ in range(self.count))

    def apply_experts(self, flat, gate, expert, kept):  # a loop over the experts, each of which selects its rows
        y = torch.zeros_like(flat)
        for e in range(self.count):
            rows = torch.nonzero(kept & (expert == e))[:, 0]
            y = y.index_add(0, rows, (self.experts[e](flat[rows]) * gate[rows, None]).to(y.dtype))
        return y

    def forward(self, x, images, text):  # x (groups, tokens, w)
        G, S, w = x.shape
        E = self.count
        with torch.autocast(x.device.type, enabled=False):
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
        y = self.apply_experts(x.reshape(-1, w), gate.reshape(-1), expert.reshape(-1), kept.reshape(-1))
        cv2 = lambda v: (v.var(-1, unbiased=False) / v.mean(-1) ** 2).mean()
        load = 0.5 * torch.erfc((noisy.max(-1, keepdim=True).values - z) / sigma / math.sqrt(2))
        entropy = lambda q: -(q * q.clamp_min(1e-30).log()).sum(-1)
        ci, ct = clean[:, :images], clean[:, images:]
        aux = (cv2(clean.sum(1)) + cv2(load.mean(1)) + (torch.logsumexp(z, -1) ** 2).mean() + entropy(ct).mean()
               + (math.log(0.62 * E) - entropy(ci.mean(1))).clamp_min(0).mean() + (math.log(0.28 * E) - entropy(ct.mean(1))).clamp_min(0).mean()) / 6
        return y.reshape(G, S, w), 0.04 * aux


class GroupedMoe(Moe):
    """Experts over rows that are sorted by expert, in bf16; dropped ones stand last and are no expert's."""

    def make_experts(self, w, f):
        self.up, self.up_bias = nn.Parameter(torch.randn(self.count, f, w) / w**0.5), nn.Parameter(torch.zeros(self.count, f))
        self.down, self.down_bias = nn.Parameter(torch.randn(self.count, w, f) / f**0.5), nn.Parameter(torch.zeros(self.count, w))

    def apply_experts(self, flat, gate, expert, kept):
        key, order = torch.where(kept, expert, self.count).sort(stable=True)
        ends = (key[:, None] == torch.arange(self.count, device=key.device)).sum(0).cumsum(0).int()
        of_row, bf16 = key.clamp_max(self.count - 1), torch.bfloat16
        rows = flat[order].to(bf16)
        h = F.gelu(torch._grouped_mm(rows, self.up.to(bf16).transpose(1, 2), offs=ends) + self.up_bias.to(bf16)[of_row], approximate="tanh")
        y = torch._grouped_mm(h, self.down.to(bf16).transpose(1, 2), offs=ends) + self.down_bias.to(bf16)[of_row]
        y = torch.where((key < self.count)[:, None], y * gate[order, None], 0)
        return torch.zeros_like(flat).index_copy(0, order, y.to(flat.dtype))


class Block(nn.Module):
    def __init__(self, w, h, f, moe):
        super().__init__()
        self.n1, self.n2, self.qkv, self.out, self.h = nn.LayerNorm(w, 1e-6), nn.LayerNorm(w, 1e-6), nn.Linear(w, 3 * w), nn.Linear(w, w), h
        self.moe = moe
        self.mlp = None if moe else nn.Sequential(nn.Linear(w, f), nn.GELU(approximate="tanh"), nn.Linear(f, w))

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
    def __init__(self, make_moe, size, patch, length, vocab, depth, w, h, f, d):  # make_moe(w, f), or None for a dense model
        super().__init__()
        self.patch, n = patch, (size // patch) ** 2
        self.patches, self.words = nn.Linear(3 * patch * patch, w), nn.Embedding(vocab, w)
        self.ip, self.tp = nn.Parameter(torch.randn(n, w) / w ** 0.5), nn.Parameter(torch.randn(length, w) / w ** 0.5)
        self.blocks = nn.ModuleList(Block(w, h, f, make_moe(w, f) if make_moe and i % 2 == 1 else None) for i in range(depth))
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
        labels = torch.arange(b, device=logits.device)
        return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2 + (aux / sparse if sparse else 0)


class Rival:
    def __init__(self, preset, bf16, compiled, device, dense, batch):
        torch.manual_seed(1)
        config, experts = PRESETS[preset], 0 if dense else experts_of(preset)
        kind = GroupedMoe if device == "cuda" and bf16 else Moe
        self.bf16, self.device = bf16, device
        self.model = Limoe((lambda w, f: kind(w, f, experts)) if experts else None, *config).to(device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
        self.pixels, self.tokens = torch.randint(0, 256, (batch, config[0], config[0], 3), dtype=torch.uint8), torch.randint(0, config[3], (batch, WORDS))
        if device == "cuda":
            self.pixels, self.tokens = self.pixels.pin_memory(), self.tokens.pin_memory()
        self.call = torch.compile(self.model) if compiled else self.model
        self.base = self.peak_mib() + 3 * 4 * sum(p.numel() for p in self.model.parameters()) / 2**20  # gradients and two moments to come

    def peak_mib(self):
        return torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    def activation_mib(self):
        return max(0, self.peak_mib() - self.base)

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        pixels, tokens = self.pixels.to(self.device, non_blocking=True), self.tokens.to(self.device, non_blocking=True)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.call(pixels, tokens)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3


def ours(a, preset, precision, batch):
    words = [preset, precision, f"batch={batch}", "200" if preset == "micro" else "5"] + ["cuda"] * (a.device == "cuda") + ["dense"] * a.dense
    return json.loads(subprocess.run([a.program, *words], capture_output=True, text=True, check=True).stdout)


def compare(a, preset, precision):
    torch.set_num_threads(2)
    batch = a.batch or (8 if preset == "micro" else B)
    rival = Rival(preset, precision == "bf16", a.compile, a.device, a.dense, batch)
    for _ in range(3 if preset == "micro" or a.compile else 1):
        rival.step()
    mine, theirs, memory = [], [], 0
    for _ in range(3):  # interleaved rounds
        r = ours(a, preset, precision, batch)
        mine += [r["ms_min"], r["ms"], r["ms_max"]]
        memory = r["activation_mib"]
        theirs += [rival.step() for _ in range(100 if preset == "micro" else 5)]
    m, t = statistics.median(mine), statistics.median(theirs)
    digits = 1 if preset == "micro" or a.device == "cuda" else 0
    print(f"| {preset}{', dense' if a.dense else ''} | {precision} | {m:.{digits}f} ({min(mine):.{digits}f}-{max(mine):.{digits}f}) | {t:.{digits}f} "
          f"({min(theirs):.{digits}f}-{max(theirs):.{digits}f}) | {t / m:.2f} | {r['gflop'] / m:.2f} | {memory:.0f} | {rival.activation_mib():.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("presets", nargs="*", metavar="preset")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--dense", action="store_true", help="the dense twin only")
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.row:
        return compare(a, a.presets[0], a.row)
    card = a.device == "cuda"
    if card:
        print(f"{torch.cuda.get_device_name()}, ", end="")
    print(f"PyTorch {torch.__version__} {'compiled' if a.compile else 'eager'}, 2 threads; batch {a.batch or B}, {WORDS} tokens per caption, K = 1, capacity 1.25\n")
    print("| preset | precision | Pumice ms (min-max) | PyTorch ms (min-max) | PyTorch / Pumice | Pumice TFLOP/s | activations MiB, Pumice | PyTorch |\n"
          + "|---" * 8 + "|", flush=True)
    for preset in a.presets or (["b32", "b16"] if card else ["tiny", "medium"]):
        for precision in ["bf16"] if card else ["fp32", "bf16"]:  # a process for each: the peak of memory never falls
            for dense in sorted({a.dense, True}) if card else [a.dense]:
                flags = ["--compile"] * a.compile + ["--dense"] * dense + ["--device", a.device, "--batch", str(a.batch), "--row", precision]
                status = subprocess.run([sys.executable, __file__, a.program, preset, *flags]).returncode
                if status:
                    print(f"| {preset}{', dense' if dense else ''} | {precision} | failed with status {status} |", flush=True)


if __name__ == "__main__":
    main()
