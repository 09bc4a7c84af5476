#!/usr/bin/env python3
"""Writes tests/train/fixtures/limoe-*.safetensors: ten training steps of tiny LIMoEs, computed in f64 by PyTorch's autograd and AdamW
from the formulas, one token and one sequence at a time. Nothing here shares code or structure with Pumice's own implementation.
Needs `pip install torch safetensors`. Usage: tests/oracle/make_limoe_fixtures.py"""
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).parent.parent / "train/fixtures"
SIZE, PATCH, LENGTH, WORDS, DEPTH, W, HEADS, HIDDEN, D, E, GROUP, B, STEPS = 16, 4, 6, 24, 2, 16, 2, 24, 8, 4, 4, 8, 10
PER_SIDE = SIZE // PATCH
LEARNING_RATE, DECAY, CLIP = 3e-3, 0.1, 1.0


def weights(seed):
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape, std: (torch.randn(*shape, generator=g) * std).float().double().requires_grad_()
    p = {"image.patches.weight": normal(W, 3 * PATCH * PATCH, std=0.1), "image.patches.bias": normal(W, std=0.1),
         "image.positions": normal(PER_SIDE**2, W, std=0.3), "text.words.weight": normal(WORDS, W, std=0.5),
         "text.positions": normal(LENGTH, W, std=0.3), "image.head.weight": normal(D, W, std=0.3), "text.head.weight": normal(D, W, std=0.3)}
    for name in [f"blocks.{i}.{n}" for i in range(DEPTH) for n in ("norm1", "norm2")] + ["norm"]:
        p[name + ".weight"] = (1 + torch.randn(W, generator=g) * 0.1).float().double().requires_grad_()
        p[name + ".bias"] = normal(W, std=0.1)
    for i in range(DEPTH):
        for n, (o, c) in {"attention.qkv": (3 * W, W), "attention.out": (W, W)}.items():
            p[f"blocks.{i}.{n}.weight"], p[f"blocks.{i}.{n}.bias"] = normal(o, c, std=0.25), normal(o, std=0.1)
    for n, (o, c) in {"up": (HIDDEN, W), "down": (W, HIDDEN)}.items():
        p[f"blocks.0.mlp.{n}.weight"], p[f"blocks.0.mlp.{n}.bias"] = normal(o, c, std=0.25), normal(o, std=0.1)
        p[f"blocks.1.moe.experts.{n}.weight"], p[f"blocks.1.moe.experts.{n}.bias"] = normal(E, o, c, std=0.25), normal(E, o, std=0.1)
    p["blocks.1.moe.router.weight"] = normal(E, W, std=0.4)
    p["log_temperature"] = torch.tensor(math.log(10.0)).float().double().requires_grad_()
    return p


def batch(seed):
    g = torch.Generator().manual_seed(seed)
    lengths = [2, 5, 6, 1, 3, 5, 4, 6]
    captions = [torch.randint(0, WORDS, (n,), generator=g) for n in lengths]
    captions[5] = captions[1].clone()  # one caption stands at two pictures
    return torch.randint(0, 256, (B, SIZE, SIZE, 3), generator=g, dtype=torch.uint8), captions, [0, 1, 2, 3, 4, 1, 6, 7]


def norm(p, name, x):
    return F.layer_norm(x, (W,), p[name + ".weight"], p[name + ".bias"], 1e-6)


def attend(p, i, x):  # one sequence (T, W)
    qkv = norm(p, f"blocks.{i}.norm1", x) @ p[f"blocks.{i}.attention.qkv.weight"].T + p[f"blocks.{i}.attention.qkv.bias"]
    q, k, v = (t.reshape(len(x), HEADS, W // HEADS) for t in qkv.split(W, 1))
    heads = [torch.softmax(q[:, h] @ k[:, h].T / math.sqrt(W // HEADS), 1) @ v[:, h] for h in range(HEADS)]
    return x + torch.cat(heads, 1) @ p[f"blocks.{i}.attention.out.weight"].T + p[f"blocks.{i}.attention.out.bias"]


def mlp(x, up, up_bias, down, down_bias):
    return F.gelu(x @ up.T + up_bias, approximate="tanh") @ down.T + down_bias


def route(logits, K, factor):
    """Per token its (expert, gate) pairs that found a place; batch priority, all first choices before all second ones."""
    p = torch.softmax(logits, 1)
    gate, expert = torch.topk(p, K + 1, dim=1)
    assert (gate[:, :-1] - gate[:, 1:]).min() > 1e-6, "a near-tie: choose another seed"
    ranked = gate[:, 0].sort(descending=True).values
    assert (ranked[:-1] - ranked[1:]).min() > 1e-7, "a near-tie: choose another seed"
    capacity = math.ceil(len(p) * K * factor / E)
    taken, kept = [0] * E, [[] for _ in p]
    for k in range(K):
        for t in torch.argsort(gate[:, 0], descending=True, stable=True).tolist():
            e = expert[t, k].item()
            if taken[e] < capacity:
                kept[t].append((e, p[t, e]))
            taken[e] += 1
    return p, kept


def moe(p, tokens, kinds, K, factor):  # one routing group: tokens (S, W), kinds 0 image 1 text
    x = norm(p, "blocks.1.norm2", tokens)
    logits = x @ p["blocks.1.moe.router.weight"].T
    probs, kept = route(logits, K, factor)
    names = [f"blocks.1.moe.experts.{n}" for n in ("up.weight", "up.bias", "down.weight", "down.bias")]
    y = torch.stack([sum((g * mlp(x[t], *(p[n][e] for n in names)) for e, g in kept[t]), torch.zeros(W, dtype=torch.float64)) for t in range(len(x))])
    entropy = lambda q: -(q * q.log()).sum(-1)
    importance = probs.sum(0)
    image, text = probs[kinds == 0], probs[kinds == 1]
    losses = [((importance - importance.mean()) ** 2).mean() / importance.mean() ** 2, (torch.logsumexp(logits, 1) ** 2).mean(), entropy(text).mean(),
              (math.log(max(1.0, 0.28 * E)) - entropy(text.mean(0))).clamp_min(0), (math.log(0.62 * E) - entropy(image.mean(0))).clamp_min(0)]
    return tokens + y, torch.stack(losses), sum(len(k) for k in kept)


def forward(p, pixels, captions, K, factor):
    sequences = []
    for picture in pixels:
        x = (picture.double() / 255 - 0.5) / 0.5
        patches = torch.stack([x[i * PATCH:(i + 1) * PATCH, j * PATCH:(j + 1) * PATCH].reshape(-1) for i in range(PER_SIDE) for j in range(PER_SIDE)])
        sequences.append(patches @ p["image.patches.weight"].T + p["image.patches.bias"] + p["image.positions"])
    for caption in captions:
        sequences.append(p["text.words.weight"][caption] + p["text.positions"][:len(caption)])
    sequences = [attend(p, 0, s) for s in sequences]
    names = [f"blocks.0.mlp.{n}" for n in ("up.weight", "up.bias", "down.weight", "down.bias")]
    sequences = [s + mlp(norm(p, "blocks.0.norm2", s), *(p[n] for n in names)) for s in sequences]
    sequences = [attend(p, 1, s) for s in sequences]
    losses, found = [], 0
    for first in range(0, B, GROUP):
        members = list(range(first, first + GROUP)) + list(range(B + first, B + first + GROUP))
        kinds = torch.cat([torch.full((len(sequences[m]),), int(m >= B)) for m in members])
        y, aux, kept = moe(p, torch.cat([sequences[m] for m in members]), kinds, K, factor)
        for m, part in zip(members, y.split([len(sequences[m]) for m in members])):
            sequences[m] = part
        losses.append(aux)
        found += kept
    pooled = torch.stack([norm(p, "norm", s).mean(0) for s in sequences])
    unit = lambda z: z / (z.norm(dim=1, keepdim=True) + 1e-8)
    image, text = unit(pooled[:B] @ p["image.head.weight"].T), unit(pooled[B:] @ p["text.head.weight"].T)
    return image, text, 0.04 * torch.stack(losses).mean(0).mean(), found / (K * sum(len(s) for s in sequences))


def contrastive(image, text, ids, log_temperature):
    scores = image @ text.T * log_temperature.exp()
    same = torch.tensor([[float(a == b) for b in ids] for a in ids], dtype=torch.float64)
    targets = same / same.sum(1, keepdim=True)
    rows, columns = torch.log_softmax(scores, 1), torch.log_softmax(scores.T, 1)
    return -((targets * rows).sum(1).mean() + (targets * columns).sum(1).mean()) / 2


def make(name, K, factor, seed):
    p, (pixels, captions, ids) = weights(seed), batch(seed + 1)
    decays = [n for n in p if n.endswith("weight") and "norm" not in n]
    optimizer = torch.optim.AdamW([{"params": [p[n] for n in decays], "weight_decay": DECAY},
                                   {"params": [p[n] for n in p if n not in decays], "weight_decay": 0.0}],
                                  lr=LEARNING_RATE)
    out = {f"start/{n}": v.detach().float().clone() for n, v in p.items()}
    record = []
    for step in range(STEPS):
        image, text, aux, kept = forward(p, pixels, captions, K, factor)
        loss = contrastive(image, text, ids, p["log_temperature"])
        optimizer.zero_grad()
        (loss + aux).backward()
        size = math.sqrt(sum((v.grad**2).sum().item() for v in p.values()))
        record.append([loss.item(), aux.item(), size, kept])
        if step == 0:
            out["image"], out["text"] = image.detach().float(), text.detach().float()
            out.update({f"gradient/{n}": v.grad.float().clone() for n, v in p.items()})
        for v in p.values():
            v.grad *= min(1.0, CLIP / size)
        optimizer.step()
    out.update({f"final/{n}": v.detach().float().clone() for n, v in p.items()})
    lengths = [0] + [len(c) for c in captions]
    out.update({"pixels": pixels, "tokens": torch.cat(captions).int(), "offsets": torch.tensor(lengths).cumsum(0).int(),
                "caption_ids": torch.tensor(ids), "record": torch.tensor(record, dtype=torch.float64)})
    OUT.mkdir(parents=True, exist_ok=True)
    save_file(out, OUT / f"limoe-{name}.safetensors")
    print(name, "loss, auxiliary loss, gradient norm, share kept:", *(f"\n  {a:.6f} {b:.6f} {c:.4f} {d:.3f}" for a, b, c, d in record))


if __name__ == "__main__":
    make("top1", K=1, factor=1.05, seed=1)
    make("top2", K=2, factor=0.8, seed=3)
