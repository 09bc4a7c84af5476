#!/usr/bin/env python3
"""Writes tests/train/fixtures/{clip,siglip,vmoe}.safetensors: five training steps in f64 by PyTorch's autograd, attention, losses and
AdamW of the models that LIMoE is compared with, one sequence at a time:
  clip    two towers of different sizes, a class token, a causal text tower pooled at its last token, the softmax loss
  siglip  attention pooling in both towers, the sigmoid loss, one caption at two pictures
  vmoe    a classifier with a sparse block, two of four experts per token, dropped tokens, a sigmoid question per class
Needs `pip install torch numpy safetensors`. Usage: tests/oracle/make_rival_fixtures.py"""
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from make_limoe_fixtures import OUT, mlp, route

SIZE, PATCH, LENGTH, WORDS, D, CLASSES, GROUP, B, STEPS = 16, 4, 6, 24, 8, 5, 4, 8, 5
PER_SIDE = SIZE // PATCH
LEARNING_RATE, DECAY, CLIP = 3e-3, 0.1, 1.0
IMAGE = {"depth": 2, "width": 16, "heads": 2, "hidden": 24}
TEXT = {"depth": 1, "width": 12, "heads": 3, "hidden": 20}


class Weights(dict):
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, name, *shape, std, mean=0.0):
        self[name] = (mean + torch.randn(*shape, generator=self.generator) * std).float().double().requires_grad_()

    def linear(self, name, out, into, std=0.25, bias=True):
        self.normal(name + ".weight", out, into, std=std)
        if bias:
            self.normal(name + ".bias", out, std=0.1)

    def norm(self, name, width):
        self.normal(name + ".weight", width, std=0.1, mean=1.0)
        self.normal(name + ".bias", width, std=0.1)

    def mlp(self, name, width, hidden):
        self.linear(name + ".up", hidden, width)
        self.linear(name + ".down", width, hidden)

    def tower(self, name, t, moe=(), pool="mean"):
        w, hidden = t["width"], t["hidden"]
        for i in range(t["depth"]):
            block = f"{name}.blocks.{i}"
            self.norm(block + ".norm1", w)
            self.linear(block + ".attention.qkv", 3 * w, w)
            self.linear(block + ".attention.out", w, w)
            self.norm(block + ".norm2", w)
            if i in moe:
                self.normal(block + ".moe.router.weight", 4, w, std=0.4)
                for n, (o, c) in {"up": (hidden, w), "down": (w, hidden)}.items():
                    self.normal(f"{block}.moe.experts.{n}.weight", 4, o, c, std=0.25)
                    self.normal(f"{block}.moe.experts.{n}.bias", 4, o, std=0.1)
            else:
                self.mlp(block + ".mlp", w, hidden)
        self.norm(name + ".norm", w)
        if pool == "map":
            self.normal(name + ".pool.probe", 1, w, std=0.5)
            for part, rows in (("query", w), ("kv", 2 * w), ("out", w)):
                self.linear(f"{name}.pool.{part}", rows, w)
            self.norm(name + ".pool.norm", w)
            self.mlp(name + ".pool.mlp", w, hidden)

    def image_stem(self, class_token):
        w = IMAGE["width"]
        self.linear("image.patches", w, 3 * PATCH * PATCH, std=0.1)
        self.normal("image.positions", PER_SIDE**2, w, std=0.3)
        if class_token:
            self.normal("image.class_token", 1, w, std=0.3)

    def similarity(self, bias):
        w = IMAGE["width"], TEXT["width"]
        self.linear("image.head", D, w[0], std=0.3, bias=False)
        self.linear("text.head", D, w[1], std=0.3, bias=False)
        self["log_temperature"] = torch.tensor(math.log(10.0)).float().double().requires_grad_()
        if bias:
            self["logit_bias"] = torch.tensor(-2.0, dtype=torch.float64).requires_grad_()


def dense(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-6)


def attention(q, k, v, heads, causal=False):  # (T, W) each
    split = lambda x: x.reshape(len(x), heads, -1).transpose(0, 1)
    return F.scaled_dot_product_attention(split(q), split(k), split(v), is_causal=causal).transpose(0, 1).reshape(len(q), -1)


def attend(p, block, t, x, causal):
    q, k, v = dense(p, block + ".attention.qkv", layer_norm(p, block + ".norm1", x)).chunk(3, 1)
    return x + dense(p, block + ".attention.out", attention(q, k, v, t["heads"], causal))


def mlp_of(p, name, x):
    return mlp(x, *(p[f"{name}.{n}"] for n in ("up.weight", "up.bias", "down.weight", "down.bias")))


def sparse(p, block, sequences, K, factor):
    """One routing group after the other. Returns the sequences, and per group the importance and z losses and how many claims found a place."""
    losses, found = [], 0
    for first in range(0, B, GROUP):
        members = sequences[first:first + GROUP]
        x = layer_norm(p, block + ".norm2", torch.cat(members))
        logits = x @ p[block + ".moe.router.weight"].T
        probs, kept = route(logits, K, factor)
        names = [f"{block}.moe.experts.{n}" for n in ("up.weight", "up.bias", "down.weight", "down.bias")]
        y = torch.stack([sum((g * mlp(x[t], *(p[n][e] for n in names)) for e, g in kept[t]), torch.zeros_like(x[t])) for t in range(len(x))])
        importance = probs.sum(0)
        losses.append(torch.stack([importance.var(unbiased=False) / importance.mean() ** 2, (torch.logsumexp(logits, 1) ** 2).mean()]))
        found += sum(len(k) for k in kept)
        sequences[first:first + GROUP] = [s + part for s, part in zip(members, y.split([len(s) for s in members]))]
    return sequences, 0.04 * torch.stack(losses).mean(), found / (K * sum(len(s) for s in sequences))


def encode(p, tower, t, sequences, causal=False):
    for i in range(t["depth"]):
        block = f"{tower}.blocks.{i}"
        sequences = [attend(p, block, t, s, causal) for s in sequences]
        sequences = [s + mlp_of(p, block + ".mlp", layer_norm(p, block + ".norm2", s)) for s in sequences]
    return [layer_norm(p, tower + ".norm", s) for s in sequences]


def attention_pool(p, tower, t, x):
    k, v = dense(p, tower + ".pool.kv", x).chunk(2, 1)
    a = dense(p, tower + ".pool.out", attention(dense(p, tower + ".pool.query", p[tower + ".pool.probe"]), k, v, t["heads"]))
    return (a + mlp_of(p, tower + ".pool.mlp", layer_norm(p, tower + ".pool.norm", a)))[0]


def embed_pictures(p, pixels):
    x = (pixels.double() / 255 - 0.5) / 0.5
    sequences = []
    for picture in x:
        patches = torch.stack([picture[i * PATCH:(i + 1) * PATCH, j * PATCH:(j + 1) * PATCH].reshape(-1) for i in range(PER_SIDE)
                               for j in range(PER_SIDE)])
        s = dense(p, "image.patches", patches) + p["image.positions"]
        sequences.append(torch.cat([p["image.class_token"], s]) if "image.class_token" in p else s)
    return sequences


def embed_captions(p, captions):
    return [p["text.words.weight"][c] + p["text.positions"][:len(c)] for c in captions]


def unit(p, tower, pooled):
    z = torch.stack(pooled) @ p[tower + ".head.weight"].T
    return z / (z.norm(dim=1, keepdim=True) + 1e-8)


def clip(p, data):
    image = unit(p, "image", [s[0] for s in encode(p, "image", IMAGE, embed_pictures(p, data["pixels"]))])
    text = unit(p, "text", [s[-1] for s in encode(p, "text", TEXT, embed_captions(p, data["captions"]), causal=True)])
    scores, diagonal = p["log_temperature"].exp() * image @ text.T, torch.arange(B)
    return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2, torch.zeros(()), 1.0


def siglip(p, data):
    image = unit(p, "image", [attention_pool(p, "image", IMAGE, s) for s in encode(p, "image", IMAGE, embed_pictures(p, data["pixels"]))])
    text = unit(p, "text", [attention_pool(p, "text", TEXT, s) for s in encode(p, "text", TEXT, embed_captions(p, data["captions"]))])
    ids = data["caption_ids"]
    same = (ids[:, None] == ids[None, :]).double()
    logits = p["log_temperature"].exp() * image @ text.T + p["logit_bias"]
    return F.binary_cross_entropy_with_logits(logits, same, reduction="sum") / B, torch.zeros(()), 1.0


def vmoe(p, data):
    sequences = [attend(p, "image.blocks.0", IMAGE, s, False) for s in embed_pictures(p, data["pixels"])]
    sequences = [s + mlp_of(p, "image.blocks.0.mlp", layer_norm(p, "image.blocks.0.norm2", s)) for s in sequences]
    sequences = [attend(p, "image.blocks.1", IMAGE, s, False) for s in sequences]
    sequences, aux, kept = sparse(p, "image.blocks.1", sequences, K=2, factor=0.9)
    logits = dense(p, "classes", torch.stack([layer_norm(p, "image.norm", s)[0] for s in sequences]))
    return F.binary_cross_entropy_with_logits(logits, F.one_hot(data["labels"].long(), CLASSES).double(), reduction="sum") / B, aux, kept


def batch(seed, repeat):
    g = torch.Generator().manual_seed(seed)
    captions = [torch.randint(0, WORDS, (n,), generator=g) for n in (2, 5, 6, 1, 3, 5, 4, 6)]
    ids = torch.arange(B)
    if repeat:  # one caption stands at two pictures
        captions[5], ids[5] = captions[1].clone(), 1
    return {"pixels": torch.randint(0, 256, (B, SIZE, SIZE, 3), generator=g, dtype=torch.uint8), "captions": captions, "caption_ids": ids,
            "labels": torch.randint(0, CLASSES, (B,), generator=g, dtype=torch.int32)}


def make(name, p, loss_of, data):
    decays = [n for n in p if n.endswith("weight") and "norm" not in n]
    optimizer = torch.optim.AdamW([{"params": [p[n] for n in decays], "weight_decay": DECAY},
                                   {"params": [p[n] for n in p if n not in decays], "weight_decay": 0.0}], lr=LEARNING_RATE)
    out = {f"start/{n}": v.detach().float().clone() for n, v in p.items()}
    record = []
    for step in range(STEPS):
        loss, aux, kept = loss_of(p, data)
        optimizer.zero_grad()
        (loss + aux).backward()
        size = math.sqrt(sum((v.grad**2).sum().item() for v in p.values()))
        record.append([loss.item(), aux.item(), size, kept])
        if step in (0, STEPS - 1):
            out.update({f"gradient{step}/{n}": v.grad.float().clone() for n, v in p.items()})
        for v in p.values():
            v.grad *= min(1.0, CLIP / size)
        optimizer.step()
    out.update({"pixels": data["pixels"], "tokens": torch.cat(data["captions"]).int(),
                "offsets": torch.tensor([0] + [len(c) for c in data["captions"]]).cumsum(0).int(), "caption_ids": data["caption_ids"],
                "labels": data["labels"], "record": torch.tensor(record, dtype=torch.float64)})
    save_file(out, OUT / f"{name}.safetensors")
    print(name, "loss, auxiliary loss, gradient norm, share kept:", *(f"\n  {a:.6f} {b:.6f} {c:.4f} {d:.3f}" for a, b, c, d in record))


def two_towers(seed, pool, class_token, bias):
    p = Weights(seed)
    p.image_stem(class_token)
    p.tower("image", IMAGE, pool=pool)
    p.normal("text.words.weight", WORDS, TEXT["width"], std=0.5)
    p.normal("text.positions", LENGTH, TEXT["width"], std=0.3)
    p.tower("text", TEXT, pool=pool)
    p.similarity(bias)
    return p


def classifier(seed):
    p = Weights(seed)
    p.image_stem(class_token=True)
    p.tower("image", IMAGE, moe=[1])
    p.linear("classes", CLASSES, IMAGE["width"])
    return p


if __name__ == "__main__":
    make("clip", two_towers(1, "token", class_token=True, bias=False), clip, batch(2, repeat=False))
    make("siglip", two_towers(3, "map", class_token=False, bias=True), siglip, batch(4, repeat=True))
    make("vmoe", classifier(5), vmoe, batch(6, repeat=False))
