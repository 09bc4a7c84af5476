#!/usr/bin/env python3
"""A training step of a sparse Qwen2-shaped language model in PyTorch, beside Pumice's, in interleaved rounds.

Usage: bench/vs_pytorch/lm_step.py build/bench/bench_lm_step
PyTorch eager, two threads, f32 and bf16 autocast. Experts as DeepSpeed 0.9.5 dispatches them, which is what MoE-LLaVA trains with: one-hot masks
(tokens, experts, capacity) and einsums; beside it the same model with an index-select loop over experts. Both: top 2, gates renormalised, capacity
factor 1.5, balance loss; scaled_dot_product_attention (causal, grouped), logits whole. A step is forward, backward, clipping and fused AdamW. Memory is
the growth of the process's peak above weights, gradients and optimizer state. Prints a Markdown table."""
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

W, DEPTH, H, KV, HIDDEN, V, E, L, B, FACTOR, AUX = 256, 6, 8, 4, 768, 4096, 4, 256, 8, 1.5, 0.01


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(W))

    def forward(self, x):
        return F.rms_norm(x, (W,), self.weight, 1e-6)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(W, HIDDEN, False), nn.Linear(W, HIDDEN, False), nn.Linear(HIDDEN, W, False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Moe(nn.Module):
    def __init__(self, onehot):
        super().__init__()
        self.onehot, self.router, self.experts = onehot, nn.Linear(W, E, False), nn.ModuleList(Mlp() for _ in range(E))

    def forward(self, x):  # (S, W)
        S = x.shape[0]
        with torch.autocast("cpu", enabled=False):
            p = F.linear(x.float(), self.router.weight).softmax(-1)
        capacity = math.ceil(2 * S / E * FACTOR)
        first = F.one_hot(p.argmax(-1), E)
        second = F.one_hot(p.masked_fill(first.bool(), -1).argmax(-1), E)
        aux = (p.mean(0) * first.float().mean(0)).sum() * E
        place1 = first.cumsum(0) - 1
        place2 = second.cumsum(0) - 1 + first.sum(0, keepdim=True)
        mask1, mask2 = first * (place1 < capacity), second * (place2 < capacity)
        g1, g2 = (p * mask1).sum(-1), (p * mask2).sum(-1)
        total = (g1 + g2).clamp_min(torch.finfo(p.dtype).eps)
        g1, g2 = g1 / total, g2 / total
        if self.onehot:
            slot1, slot2 = F.one_hot((place1 * mask1).sum(-1), capacity).float(), F.one_hot((place2 * mask2).sum(-1), capacity).float()
            combine = (g1[:, None] * mask1.float())[:, :, None] * slot1[:, None] + (g2[:, None] * mask2.float())[:, :, None] * slot2[:, None]
            dispatch = combine.bool().to(x.dtype)
            rows = torch.einsum("sec,sm->ecm", dispatch, x)
            out = torch.stack([self.experts[e](rows[e]) for e in range(E)])
            return torch.einsum("sec,ecm->sm", combine.to(out.dtype), out), aux
        y = torch.zeros_like(x)
        for e in range(E):
            g = g1 * mask1[:, e] + g2 * mask2[:, e]
            rows = torch.nonzero(mask1[:, e] + mask2[:, e])[:, 0]
            y = y.index_add(0, rows, (self.experts[e](x[rows]) * g[rows, None]).to(y.dtype))
        return y, aux


class Layer(nn.Module):
    def __init__(self, moe):
        super().__init__()
        d = W // H
        self.n1, self.n2 = Norm(), Norm()
        self.q, self.k, self.v, self.out = nn.Linear(W, H * d), nn.Linear(W, KV * d), nn.Linear(W, KV * d), nn.Linear(H * d, W, False)
        self.mlp = moe if moe else Mlp()

    def forward(self, x, cos, sin):
        d = W // H
        h = self.n1(x)
        q, k, v = (f(h).reshape(B, L, -1, d).transpose(1, 2) for f in (self.q, self.k, self.v))
        turn = lambda t: t * cos + torch.cat([-t[..., d // 2:], t[..., : d // 2]], -1) * sin
        y = F.scaled_dot_product_attention(turn(q), turn(k), v, is_causal=True, enable_gqa=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, L, -1))
        h = self.n2(x)
        if not isinstance(self.mlp, Moe):
            return x + self.mlp(h), 0
        y, aux = self.mlp(h.reshape(B * L, W))
        return x + y.reshape(B, L, W), aux


class Model(nn.Module):
    def __init__(self, onehot):
        super().__init__()
        d = W // H
        self.embedding, self.norm = nn.Embedding(V, W), Norm()
        self.layers = nn.ModuleList(Layer(Moe(onehot) if i % 2 == 0 else None) for i in range(DEPTH))
        angle = torch.outer(torch.arange(L), 10000.0 ** (-torch.arange(0, d, 2) / d))
        self.cos, self.sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

    def forward(self, ids):
        x, aux = self.embedding(ids), 0
        for layer in self.layers:
            x, a = layer(x, self.cos, self.sin)
            aux = aux + a
        logits = F.linear(self.norm(x)[:, :-1], self.embedding.weight)
        return F.cross_entropy(logits.reshape(-1, V).float(), ids[:, 1:].reshape(-1)) + AUX * aux


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Rival:
    def __init__(self, onehot, bf16):
        torch.manual_seed(1)
        self.bf16, self.model = bf16, Model(onehot)
        for p in self.model.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
        self.ids = torch.randint(0, V, (B, L))

    def step(self):
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.model(self.ids)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        return (time.perf_counter() - start) * 1e3


def ours(program, precision):
    words = [f"{k}={v}" for k, v in dict(width=W, depth=DEPTH, heads=H, kv_heads=KV, hidden=HIDDEN, vocabulary=V, experts=E, length=L, batch=B, steps=5).items()]
    return json.loads(subprocess.run([program, precision, *words], capture_output=True, text=True, check=True).stdout)


def compare(program, dispatch, precision):
    torch.set_num_threads(2)
    rival = Rival(dispatch == "onehot", precision == "bf16")
    parameters = sum(p.numel() for p in rival.model.parameters())
    base = peak_mib() + 3 * 4 * parameters / 2**20  # gradients and two moments to come
    rival.step()
    a, b, memory = [], [], 0
    for _ in range(3):  # interleaved rounds
        r = ours(program, precision)
        assert r["parameters"] == parameters, (r["parameters"], parameters)
        a += [r["ms_min"], r["ms"], r["ms_max"]]
        memory = r["activation_mib"]
        b += [rival.step() for _ in range(5)]
    ma, mb = statistics.median(a), statistics.median(b)
    rest = max(0, peak_mib() - base)
    print(f"| {precision} | {dispatch} | {ma:.0f} ({min(a):.0f}-{max(a):.0f}) | {mb:.0f} ({min(b):.0f}-{max(b):.0f}) | {mb / ma:.2f} | {memory:.0f} | "
          f"{rest:.0f} | {memory / rest:.2f} |", flush=True)


def main():
    if sys.argv[1] == "--row":
        return compare(*sys.argv[2:])
    program = sys.argv[1]
    print(f"PyTorch {torch.__version__} eager, 2 threads; Qwen2-shaped: width {W}, {DEPTH} layers, {H} heads, {KV} of keys and values, MLP {HIDDEN}, vocabulary {V}; "
          f"E = {E} in every second layer, K = 2, capacity {FACTOR}; batch {B} x {L} tokens\n")
    print("| precision | PyTorch's dispatch | Pumice ms (min-max) | PyTorch ms (min-max) | PyTorch / Pumice | activations MiB, Pumice | PyTorch | Pumice / PyTorch |\n"
          + "|---" * 8 + "|", flush=True)
    for precision in ("fp32", "bf16"):
        for dispatch in ("onehot", "loop"):  # a process for each: the peak of memory never falls
            subprocess.run([sys.executable, __file__, "--row", program, dispatch, precision], check=True)


if __name__ == "__main__":
    main()
