#!/usr/bin/env python3
"""Writes tests/moe/fixtures/deepspeed_gate.safetensors, the gates of DeepSpeed 0.9.5 computed from their formulas in f64, and
tests/models/fixtures/{moe-phi,moe-stablelm,moe-qwen}, tiny language models with the keys and config.json of MoE-LLaVA's last stage.

deepspeed_gate, per case: S tokens, E experts, K = 1 or 2 choices
  <case>/settings f64 (4)    K, capacity factor, minimal capacity, and the capacity that follows
  <case>/logits f32 (S,E)
  <case>/gumbel f32 (S,E)    K = 2: the second expert is argmax(logits + gumbel) without the first
  <case>/uniform f32 (S,E)   K = 1: an expert keeps the tokens with the largest draws (random token selection)
  <case>/expert, <case>/slot i32 (S,K)   -1: dropped
  <case>/combine f32 (S,E)   the weight of each expert's output, summed over its slots
  <case>/l_aux f32 (1)
  <case>/cotangent f32 (S,E), <case>/dcombine, <case>/dl_aux f32 (S,E)   gradients of sum(combine * cotangent) and of l_aux by the logits

The models are Transformers' Phi (without the bias of lm_head, as in MoE-LLaVA), its StableLM and our Qwen-1, with the FFN of layers 0 and 2
replaced by four experts, top-2 with the larger logit instead of the sampled second expert. Both sequences have T tokens, because
DeepSpeed's gate also routes padding. moe-phi and moe-qwen drop nothing; moe-stablelm has capacity_factor 0.75, so late tokens of the second
sequence are dropped. To what model_fixtures.py names they add
  l_aux f32 (2)              per MoE layer; loss = cross entropy + 0.01 * their sum
  logits_eval f32 (N,T,V)    with eval_capacity_factor, 2: nothing is dropped, and so is `generated`

Needs `pip install torch 'transformers<5' safetensors`. With the path of an unpacked DeepSpeed 0.9.5 (`pip download --no-deps deepspeed==0.9.5`)
as argument the gates are compared with its sharded_moe.py. Usage: tests/oracle/make_moe_fixtures.py [DEEPSPEED]"""
import copy
import importlib
import math
import sys
import types

import torch
import torch.nn as nn
import transformers as HF

import make_decoder_fixtures as decoder
import model_fixtures as mf
from model_fixtures import OUT, PROMPT, T

GATES = OUT.parent.parent / "moe/fixtures/deepspeed_gate.safetensors"


def capacity_of(tokens, experts, factor, least):
    """ceil(tokens / experts * factor) in f32, as DeepSpeed multiplies; factor is doubled by the caller for two choices."""
    return max(math.ceil((torch.tensor(factor) * (tokens / experts)).item()), least)


def places(masks):
    """Each mask (S,E) queues behind the ones before it. -> the number of earlier claims on the chosen expert, (S) per mask."""
    before, found = 0, []
    for mask in masks:
        found.append((((mask.cumsum(0) - 1) + before) * mask).sum(1))
        before = before + mask.sum(0)
    return found


def gate(logits, choices, factor, least, noise):
    """-> combine (S,E), l_aux, expert (S,K), slot (S,K), capacity. noise (S,E): Gumbel for two choices, uniform draws for one."""
    count, experts = logits.shape
    probs = torch.softmax(logits, 1)
    capacity = capacity_of(count, experts, factor * choices, least)
    first = probs.argmax(1)
    mask = nn.functional.one_hot(first, experts)
    l_aux = experts * (probs.mean(0) * mask.double().mean(0)).sum()
    if choices == 1:
        kept = torch.zeros_like(mask)
        for e in range(experts):
            members = (first == e).nonzero()[:, 0]
            kept[members[noise[members, e].argsort(descending=True)][:capacity], e] = 1
        slot = torch.where(kept.sum(1) > 0, places([kept])[0], -1)
        return probs * kept, l_aux, first[:, None], slot[:, None], capacity
    second = (logits + noise).masked_fill(mask.bool(), -torch.inf).argmax(1)
    masks = [mask, nn.functional.one_hot(second, experts)]
    slots = places(masks)
    weights = [(probs * m).sum(1) * (s < capacity) for m, s in zip(masks, slots)]
    total = sum(weights).clamp_min(torch.finfo(torch.float32).eps)
    combine = sum((w / total)[:, None] * m for w, m in zip(weights, masks))
    slot = torch.stack([torch.where(s < capacity, s, -1) for s in slots], 1)
    return combine, l_aux, torch.stack([first, second], 1), slot, capacity


# S, E, K, capacity factor, minimal capacity, what the first expert's logits gain
CASES = {
    "top2_keeps_all": (12, 4, 2, 2.0, 0, 0),
    "top2_as_trained": (13, 4, 2, 1.5, 0, 1.5),
    "top2_drops": (24, 4, 2, 0.5, 0, 0),
    "top2_drops_both_choices": (20, 3, 2, 0.3, 0, 3),
    "top2_minimal_capacity": (6, 4, 2, 0.25, 3, 1),
    "top2_one_token": (1, 4, 2, 2.0, 0, 0),
    "top2_two_experts": (9, 2, 2, 0.75, 0, 0),
    "top2_f32_gives_a_place_more": (25, 2, 2, 0.6, 0, 1),  # ceil(12.5 * 1.2) is 16 in f32, 15 in f64
    "top2_f32_gives_a_place_less": (10, 3, 2, 1.35, 0, 2),  # ceil(3.33 * 2.7) is 9 in f32, 10 in f64
    "top1_keeps_all": (12, 4, 1, 4.0, 0, 0),
    "top1_drops": (24, 4, 1, 0.7, 0, 1),
    "top1_minimal_capacity": (10, 5, 1, 0.5, 4, 2),
}


def make_gates(deepspeed):
    out = {}
    for number, (name, (count, experts, choices, factor, least, gain)) in enumerate(CASES.items()):
        g = torch.Generator().manual_seed(number)
        logits = torch.randn(count, experts, generator=g) * 1.5
        logits[:, 0] += gain
        noise = torch.rand(count, experts, generator=g).clamp(1e-6, 1 - 1e-6)
        noise = -(-noise.log()).log() if choices == 2 else noise
        exact = logits.double().requires_grad_()
        combine, l_aux, expert, slot, capacity = gate(exact, choices, factor, least, noise)
        cotangent = torch.randn(count, experts, generator=g)
        dcombine, = torch.autograd.grad((combine * cotangent).sum(), exact, retain_graph=True)
        dl_aux, = torch.autograd.grad(l_aux, exact)
        if deepspeed:
            theirs, their_aux = deepspeed_gate(deepspeed, logits.requires_grad_(), choices, factor, least, noise)
            their_d, = torch.autograd.grad((theirs * cotangent).sum(), logits, retain_graph=True)
            worst = [(a - b).abs().max().item() for a, b in ((theirs, combine), (their_aux, l_aux), (their_d, dcombine))]
            print(f"{name}: from DeepSpeed's combine, l_aux and gradient by {worst[0]:.1e} {worst[1]:.1e} {worst[2]:.1e}")
            assert max(worst) < 2e-6
        case = {"settings": torch.tensor([choices, factor, least, capacity], dtype=torch.float64), "logits": logits,
                "gumbel" if choices == 2 else "uniform": noise, "expert": torch.where(slot < 0, -1, expert).int(), "slot": slot.int(),
                "combine": combine.float(), "l_aux": l_aux.float().view(1), "cotangent": cotangent, "dcombine": dcombine.float(),
                "dl_aux": dl_aux.float()}
        out |= {f"{name}/{key}": value for key, value in case.items()}
        print(f"{name}: capacity {capacity}, dropped {(slot < 0).sum().item()} of {slot.numel()}, l_aux {l_aux.item():.4f}")
    GATES.parent.mkdir(parents=True, exist_ok=True)
    mf.save_tensors(out, GATES)
    print(f"{GATES.name}: {GATES.stat().st_size} bytes")


def import_deepspeed(path):
    """sharded_moe of DeepSpeed 0.9.5 with stubs for what it imports and the gates do not use."""
    def stub(name, **members):
        module = types.ModuleType(name)
        module.__dict__.update(members, __path__=[])
        sys.modules[name] = module
    for name in ("deepspeed", "deepspeed.moe"):
        stub(name)
    stub("deepspeed.comm", ProcessGroup=object)
    stub("deepspeed.utils", logger=None, groups=None)
    stub("deepspeed.utils.timer", SynchronizedWallClockTimer=None)
    stub("deepspeed.moe.mappings", drop_tokens=None, gather_tokens=None)
    sys.modules["deepspeed"].comm = sys.modules["deepspeed.comm"]
    sys.modules["deepspeed.moe"].__path__ = [path + "/deepspeed/moe"]
    return importlib.import_module("deepspeed.moe.sharded_moe")


def deepspeed_gate(module, logits, choices, factor, least, noise):
    if choices == 1:
        module.exp_selection_uniform_map[logits.device] = lambda shape: noise
        l_aux, combine, _, _ = module.top1gating(logits, factor, least)
    else:
        module.gumbel_rsample = lambda shape, device: noise
        l_aux, combine, _, _ = module.top2gating(logits, factor, least)
    return combine.sum(2), l_aux


class Gate(nn.Module):
    def __init__(self, width, experts):
        super().__init__()
        self.wg = nn.Linear(width, experts, bias=False)


class DeepspeedMoe(nn.Module):
    """Named so that the keys are DeepSpeed's: gate.wg.weight, experts.deepspeed_experts.{e}.*"""

    def __init__(self, ffn, width, experts):
        super().__init__()
        self.gate = Gate(width, experts)
        self.experts = nn.ModuleDict({"deepspeed_experts": nn.ModuleList(copy.deepcopy(ffn) for _ in range(experts))})


class Moe(nn.Module):
    """x (N,T,W) -> the same; l_aux and the closest decision of the last call are kept."""

    def __init__(self, ffn, width, experts, factors):
        super().__init__()
        self.deepspeed_moe = DeepspeedMoe(ffn, width, experts)
        self.factors = factors

    def forward(self, x):
        tokens = x.flatten(0, 1)
        logits = self.deepspeed_moe.gate.wg(tokens)
        factor = self.factors[0] if self.training else self.factors[1]
        combine, self.l_aux, expert, slot, _ = gate(logits, 2, factor, 0, torch.zeros_like(logits))
        best = logits.detach().topk(3, dim=1).values
        self.margin = (best[:, :2] - best[:, 1:]).min().item()
        self.dropped = (slot < 0).sum().item()
        outputs = torch.stack([e(tokens) for e in self.deepspeed_moe.experts["deepspeed_experts"]], 1)
        return (combine[..., None] * outputs).sum(1).view_as(x)


V, W, HEADS, FFN, DEPTH, E, MOE_LAYERS = 48, 16, 2, 16, 3, 4, (0, 2)
TRUNK = dict(vocab_size=V, hidden_size=W, intermediate_size=FFN, num_hidden_layers=DEPTH, num_attention_heads=HEADS, num_key_value_heads=HEADS,
             max_position_embeddings=32, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)


def moe_fields(factor, modules):
    return {"moe": dict(capacity_factor=factor, ep_size=1, eval_capacity_factor=2.0, min_capacity=0, moe_enable=True,
                        moe_layers_idx=list(MOE_LAYERS), moe_mode="sparse", num_experts=[E] * len(MOE_LAYERS), router_aux_loss_coef=0.01,
                        top_k_experts=2, train_modules=modules, use_residual=False), "torch_dtype": "bfloat16", "transformers_version": "4.37.0"}


def phi():
    fields = dict(hidden_act="gelu_new", layer_norm_eps=1e-5, partial_rotary_factor=0.5, rope_theta=1e4, resid_pdrop=0.0, embd_pdrop=0.0,
                  attention_dropout=0.0)
    model = HF.PhiForCausalLM._from_config(HF.PhiConfig(**TRUNK, **fields), attn_implementation="eager")
    model.lm_head = nn.Linear(W, V, bias=False)
    return model, dict(architectures=["MoELLaVAPhiForCausalLM"], model_type="moe_llava_phi", initializer_range=0.02, qk_layernorm=False,
                       rope_scaling=None, use_cache=True) | TRUNK | fields


def stablelm():
    ours = dict(hidden_act="silu", rope_theta=10000, use_qkv_bias=True)
    model = HF.StableLmForCausalLM._from_config(HF.StableLmConfig(**TRUNK, **ours, layer_norm_eps=1e-5, partial_rotary_factor=0.25),
                                                attn_implementation="eager")
    return model, dict(architectures=["MoELLaVAStablelmForCausalLM"], model_type="moe_llava_stablelm", initializer_range=0.02, rope_pct=0.25,
                       norm_eps=1e-5, use_cache=True) | TRUNK | ours


def qwen():
    return decoder.Qwen(DEPTH), decoder.QWEN_CONFIG | dict(architectures=["MoELLaVAQWenForCausalLM"], model_type="moe_llava_qwen",
                                                           num_hidden_layers=DEPTH)


FAMILIES = {
    "moe-phi": (phi, 2.0, ["fc1", "fc2", "wg"]),
    "moe-stablelm": (stablelm, 0.75, ["gate_proj", "up_proj", "down_proj", "wg"]),
    "moe-qwen": (qwen, 2.0, ["mlp.w1", "mlp.w2", "mlp.c_proj", "wg"]),
}


def put_experts(model, factors):
    """Replaces the FFN of every MoE layer; returns the mixtures."""
    layers = model.transformer["h"] if isinstance(model, decoder.Qwen) else model.model.layers
    for i in MOE_LAYERS:
        layers[i].mlp = Moe(layers[i].mlp, W, E, factors)
    return [layers[i].mlp for i in MOE_LAYERS]


def make_model(name):
    build, factor, modules = FAMILIES[name]
    for seed in range(2000):
        model, config = build()
        moes, worst = put_experts(model, (factor, 2.0)), [math.inf]
        model = mf.randomise(model, seed).double().eval()

        def logits_of(ids):
            logits = model(ids) if isinstance(model, decoder.Qwen) else model(ids, use_cache=False).logits
            worst[0] = min(worst[0], *(m.margin for m in moes))
            return logits

        ids, labels, _ = mf.batch(V, seed + 5000, (T, T))
        generated, margin = mf.greedy(logits_of, ids[:1, :PROMPT], T + 12 - PROMPT)
        if not mf.generation_ok(generated, margin) or worst[0] < 1e-3:
            continue
        eval_logits = logits_of(ids).detach()
        start = copy.deepcopy(model.state_dict())
        found = expectations(model.train(), moes, logits_of, ids, labels)
        if worst[0] > 1e-3 and (found["dropped"] > 0) == (factor < 1):
            break
    else:
        raise SystemExit(f"{name}: no seed gives decisions that are clear enough")
    dropped = found.pop("dropped")
    found |= {"generated": generated, "logits_eval": eval_logits}
    mf.save_by_hand(OUT / name, config | moe_fields(factor, modules), start)
    size = mf.save_expected(OUT / name, found)
    print(f"{name}: seed {seed}, {size} bytes, dropped {dropped}, l_aux {found['l_aux'].tolist()}, losses {found['losses'].tolist()}, closest "
          f"decision {worst[0]:.4f}, margin {margin:.3f}, {generated[0].tolist()}")


def expectations(model, moes, logits_of, ids, labels):
    def loss():
        return mf.cross_entropy(logits_of(ids), labels) + 0.01 * sum(m.l_aux for m in moes)
    logits = logits_of(ids)
    found = {"input_ids": ids, "labels": labels, "logits": logits.detach(), "dropped": sum(m.dropped for m in moes),
             "l_aux": torch.stack([m.l_aux.detach() for m in moes])}
    value = loss()
    value.backward()
    found["loss"] = value.detach().view(1)
    found |= {f"grad/{n}": p.grad.clone() for n, p in model.named_parameters()}
    found["losses"] = mf.three_steps(model.parameters(), loss)
    return found


if __name__ == "__main__":
    make_gates(import_deepspeed(sys.argv[1]) if len(sys.argv) > 1 else None)
    for name in FAMILIES:
        make_model(name)
