#!/usr/bin/env python3
"""Writes tests/models/fixtures/{llama,llama-dynamic,llama3,qwen2,qwen2-tied,qwen2-yarn,mistral,stablelm,
stablelm-linear,phi,qwen}: tiny random language models in the layout of
their Hugging Face directories, and the logits, losses, gradients and texts PyTorch computes from them (model_fixtures.py names the tensors).
All but `qwen` are Transformers' own classes with eager attention. Qwen-1, whose code lives beside its weights, is written here from its
formulas, and must agree with Transformers' Qwen2, which computes the same from other names.

llama-dynamic has max_position_embeddings 8 and "dynamic" rope scaling, which Transformers applies to a whole batch: the frequencies follow
the padded length (12 here, for both sequences), and while text grows under a key/value cache each new word is rotated by the
frequencies of its own step while the keys in the cache keep theirs. `generated` is that; `generated_uncached` runs every prefix anew.
The module also remembers the longest sequence it saw until one shorter than max_position_embeddings passes; expectations are those of a
model that has just been loaded.

Needs `pip install torch 'transformers<5' safetensors`. Under Transformers 5 the script writes no weights: it loads every directory, demands
the same logits, and writes the file that version would write as config.v5.json (rope_parameters instead of rope_theta, and so on). Run it under
the older version first, which begins each directory anew, then under the newer.
Usage: tests/oracle/make_decoder_fixtures.py"""
import copy
import shutil
import sys

import torch
import torch.nn as nn
import transformers
from torch.nn.functional import silu

import model_fixtures as mf
from model_fixtures import OUT, PROMPT, T

V, W, HEADS, FFN, DEPTH = 48, 16, 4, 24, 2
COMMON = dict(vocab_size=V, hidden_size=W, intermediate_size=FFN, num_hidden_layers=DEPTH, num_attention_heads=HEADS,
              max_position_embeddings=32, bos_token_id=1, eos_token_id=2, attn_implementation="eager")
HF = transformers
FAMILIES = {
    "llama": lambda: HF.LlamaConfig(**COMMON, num_key_value_heads=2),
    "llama-dynamic": lambda: HF.LlamaConfig(**COMMON | dict(max_position_embeddings=8), num_key_value_heads=2,
                                            rope_scaling={"type": "dynamic", "rope_type": "dynamic", "factor": 2.0}),
    "llama3": lambda: HF.LlamaConfig(**COMMON, num_key_value_heads=2, rope_scaling={
        "rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}),
    "qwen2": lambda: HF.Qwen2Config(**COMMON, num_key_value_heads=2, rope_theta=1e6, tie_word_embeddings=False),
    "qwen2-tied": lambda: HF.Qwen2Config(**COMMON, num_key_value_heads=4, tie_word_embeddings=True),
    "qwen2-yarn": lambda: HF.Qwen2Config(**COMMON, num_key_value_heads=2, tie_word_embeddings=False, rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}),
    "mistral": lambda: HF.MistralConfig(**COMMON, num_key_value_heads=2, sliding_window=5),
    "stablelm": lambda: HF.StableLmConfig(**COMMON | dict(hidden_size=32), num_key_value_heads=2, partial_rotary_factor=0.25, use_qkv_bias=True,
                                          tie_word_embeddings=False),
    "stablelm-linear": lambda: HF.StableLmConfig(**COMMON, num_key_value_heads=2, partial_rotary_factor=0.5,
                                                 use_qkv_bias=True, tie_word_embeddings=False,
                                                 rope_scaling={"rope_type": "linear", "factor": 3.0}),
    "phi": lambda: HF.PhiConfig(**COMMON, partial_rotary_factor=0.5, resid_pdrop=0.0, embd_pdrop=0.0, attention_dropout=0.0),
}
LENGTHS = (12, 9)


class QwenMlp(nn.Module):
    """c_proj(w1 h * silu(w2 h)). h (N,T,W)."""

    def __init__(self):
        super().__init__()
        self.w1, self.w2, self.c_proj = (nn.Linear(i, o, bias=False) for i, o in ((W, FFN), (W, FFN), (FFN, W)))

    def forward(self, h):
        return self.c_proj(self.w1(h) * silu(self.w2(h)))


class QwenBlock(nn.Module):
    """x += c_proj(attention(ln_1 x)); x += mlp(ln_2 x). x (N,T,W)."""

    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.RMSNorm(W, eps=1e-6), nn.RMSNorm(W, eps=1e-6)
        self.attn = nn.ModuleDict({"c_attn": nn.Linear(W, 3 * W), "c_proj": nn.Linear(W, W, bias=False)})
        self.mlp = QwenMlp()

    def forward(self, x, cos, sin):
        heads = lambda t: t.unflatten(2, (HEADS, -1)).transpose(1, 2)
        rotate = lambda t: t * cos + torch.cat([-t[..., t.shape[-1] // 2:], t[..., :t.shape[-1] // 2]], -1) * sin
        q, k, v = (heads(t) for t in self.attn["c_attn"](self.ln_1(x)).split(W, 2))
        scores = rotate(q) @ rotate(k).transpose(2, 3) / (W // HEADS) ** 0.5
        causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()  # padding is on the right: no real place sees it
        seen = torch.softmax(scores.masked_fill(~causal, -torch.inf), 3) @ v
        x = x + self.attn["c_proj"](seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class Qwen(nn.Module):
    """Qwen-1: ids (N,T) -> logits (N,T,V)."""

    def __init__(self, depth=DEPTH):
        super().__init__()
        self.transformer = nn.ModuleDict({"wte": nn.Embedding(V, W), "h": nn.ModuleList(QwenBlock() for _ in range(depth)),
                                          "ln_f": nn.RMSNorm(W, eps=1e-6)})
        self.lm_head = nn.Linear(W, V, bias=False)

    def forward(self, ids):
        size = W // HEADS
        angles = torch.arange(ids.shape[1]).double()[:, None] * 1e4 ** -(torch.arange(0, size, 2).double() / size)
        cos, sin = (torch.cat([f(angles)] * 2, 1).to(self.lm_head.weight.dtype) for f in (torch.cos, torch.sin))
        x = self.transformer["wte"](ids)
        for block in self.transformer["h"]:
            x = block(x, cos, sin)
        return self.lm_head(self.transformer["ln_f"](x))

    def as_qwen2(self):
        """The same function by Transformers' Qwen2."""
        names = {"transformer.wte": "model.embed_tokens", "transformer.ln_f": "model.norm", "transformer.h": "model.layers",
                 "ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj",
                 "mlp.w1": "mlp.up_proj", "mlp.w2": "mlp.gate_proj", "mlp.c_proj": "mlp.down_proj"}
        state = {}
        for name, tensor in self.state_dict().items():
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
            if "c_attn" in name:
                state |= {name.replace("attn.c_attn", f"self_attn.{p}_proj"): t for p, t in zip("qkv", tensor.chunk(3))}
            else:
                state[name] = tensor
        config = HF.Qwen2Config(**COMMON, num_key_value_heads=HEADS, rope_theta=1e4, rms_norm_eps=1e-6, tie_word_embeddings=False)
        other = HF.Qwen2ForCausalLM(config)
        other.load_state_dict(state, strict=True)
        return other.double().eval()


# Fields of the published Qwen-1.8B; intermediate_size counts w1 and w2.
QWEN_CONFIG = dict(architectures=["QWenLMHeadModel"], attn_dropout_prob=0.0, bf16=True, emb_dropout_prob=0.0, fp16=False, fp32=False, hidden_size=W,
                   intermediate_size=2 * FFN, initializer_range=0.02, kv_channels=W // HEADS, layer_norm_epsilon=1e-6, max_position_embeddings=32,
                   model_type="qwen", no_bias=True, num_attention_heads=HEADS, num_hidden_layers=DEPTH, onnx_safe=None, rotary_emb_base=10000,
                   rotary_pct=1.0, scale_attn_weights=True, seq_length=32, tie_word_embeddings=False, tokenizer_class="QWenTokenizer",
                   use_cache=True, use_dynamic_ntk=True, use_flash_attn="auto", use_logn_attn=True, vocab_size=V)


def generate(model, ids, use_cache):
    """What model.generate does, by its public interface: greedy, the end-of-text token ignored."""
    return model.generate(ids, do_sample=False, max_length=T + 12, use_cache=use_cache, eos_token_id=None, pad_token_id=0, bos_token_id=None)


def expectations(model, logits_of, ids, labels, mask):
    """logits_of(ids, mask) -> (N,T,V). The model is changed by the three steps: call it last."""
    logits = logits_of(ids, mask)
    loss = mf.cross_entropy(logits, labels)
    loss.backward()
    found = {"input_ids": ids, "labels": labels, "logits": logits.detach() * mask[..., None], "loss": loss.detach().view(1)}
    if not mask.all():
        found["lengths"] = mask.sum(1)
    found |= {f"grad/{n}": p.grad.clone() for n, p in model.named_parameters()}
    found["losses"] = mf.three_steps(model.parameters(), lambda: mf.cross_entropy(logits_of(ids, mask), labels))
    return found


def window_matters(model, ids, mask):
    """Whether eager attention masks by the window: logits change without it, but not at the places that see everything anyway."""
    free = model.config.to_dict() | {"sliding_window": None}
    other = type(model)(type(model.config)(**free | {"attn_implementation": "eager"})).double().eval()
    other.load_state_dict(model.state_dict())
    difference = (other(ids).logits - model(ids).logits)[0].abs().amax(1)
    return difference[:5].max() < 1e-5 and difference[5:].min() > 1e-2


def is_steady(model, ids, labels, mask):
    """Whether three steps in f32 give the losses of f64. A gradient of 1e-9 has no sure sign, and AdamW steps by the sign."""
    losses = []
    for kind in (torch.float32, torch.float64):
        twin = copy.deepcopy(model).to(kind)
        losses.append(mf.three_steps(twin.parameters(), lambda: mf.cross_entropy(twin(ids, attention_mask=mask).logits, labels)))
    return (losses[0] - losses[1]).abs().max() < 2e-6


def make_hf(name):
    directory, config = OUT / name, FAMILIES[name]()
    for seed in range(100):
        model = mf.randomise(HF.AutoModelForCausalLM.from_config(config, attn_implementation="eager"), seed).double().eval()
        ids, labels, mask = mf.batch(V, seed + 1000, LENGTHS)
        logits_of = lambda i, m: model(i, attention_mask=m).logits
        step = lambda i: logits_of(i, torch.ones_like(i))
        uncached, margin = mf.greedy(step, ids[:1, :PROMPT], T + 12 - PROMPT)
        cached = generate(model, ids[:1, :PROMPT], True)
        model(ids[:, :1])  # llama-dynamic forgets the length of the text
        dynamic = name == "llama-dynamic"
        texts_ok = mf.generation_ok(uncached, margin) and mf.generation_ok(cached, margin) and cached.equal(uncached) != dynamic
        if texts_ok and is_steady(model, ids, labels, mask):
            break
    else:
        raise SystemExit(f"{name}: no seed gives a text worth comparing and steady steps")
    if name == "mistral":
        assert window_matters(model, ids, mask)
    assert generate(model, ids[:1, :PROMPT], False).equal(uncached)
    shutil.rmtree(directory, ignore_errors=True)
    mf.save_pretrained(model, directory)
    if name == "qwen2-tied":  # as Qwen1.5's published files: a window that is switched off
        mf.edit_config(directory, sliding_window=5, use_sliding_window=False)
    stored = set(mf.load_file(directory / "model.safetensors"))
    assert stored == {n for n, _ in model.named_parameters()}, stored
    model(ids[:, :1])
    theirs = model(ids, attention_mask=mask, labels=labels).loss.item()
    found = expectations(model, logits_of, ids, labels, mask)
    assert abs(theirs - found["loss"].item()) < 1e-5, "the labels' convention is not that of Transformers"
    found["generated"] = cached
    if dynamic:
        found["generated_uncached"] = uncached
    report(name, seed, margin, found, mf.save_expected(directory, found))


def make_qwen():
    for seed in range(100):
        model = mf.randomise(Qwen(), seed).double()
        ids, labels, mask = mf.batch(V, seed + 1000, LENGTHS)
        generated, margin = mf.greedy(model, ids[:1, :PROMPT], T + 12 - PROMPT)
        if mf.generation_ok(generated, margin):
            break
    else:
        raise SystemExit("qwen: no seed gives a text worth comparing")
    twin = model.as_qwen2()
    assert (twin(ids).logits - model(ids)).abs().max() < 1e-4, "differs from Transformers' Qwen2"
    assert generate(twin, ids[:1, :PROMPT], True).equal(generated)
    mf.save_by_hand(OUT / "qwen", QWEN_CONFIG, model.state_dict())
    found = expectations(model, lambda i, m: model(i), ids, labels, mask) | {"generated": generated}
    report("qwen", seed, margin, found, mf.save_expected(OUT / "qwen", found))


def report(name, seed, margin, found, size):
    print(f"{name}: seed {seed}, {size} bytes, losses", *(f"{v:.6f}" for v in found["losses"]), f"margin {margin:.3f}",
          found["generated"][0].tolist())


def check_with_v5(name):
    model, expected = mf.load_again(HF.AutoModelForCausalLM, OUT / name)
    ids, mask = expected["input_ids"].long(), torch.arange(T) < expected["lengths"][:, None]
    with torch.no_grad():
        worst = ((model(ids, attention_mask=mask.long()).logits - expected["logits"]) * mask[..., None]).abs().max().item()
    same = generate(model, ids[:1, :PROMPT], True).equal(expected["generated"].long())
    renamed = mf.write_v5_config(HF.AutoModelForCausalLM, OUT / name)
    print(f"{name}: logits differ by {worst:.2e} at most, same text: {same}, names that differ: {renamed}")
    assert worst < 1e-4 and same


if __name__ == "__main__":
    names = sys.argv[1:] or [*FAMILIES, "qwen"]
    for name in names:
        if not mf.IS_V5:
            make_qwen() if name == "qwen" else make_hf(name)
        elif name != "qwen":
            check_with_v5(name)
