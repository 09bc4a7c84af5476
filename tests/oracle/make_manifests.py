#!/usr/bin/env python3
"""Writes tests/models/manifests/*.json: what the header of a full-size checkpoint says, without the weights.
  {"config": the fields of config.json, "parameters": count, "tensors": {"name": ["BF16", [shape]]}}
In a name {a..b} stands for every number from a to b, {a..b..c} for every c-th; a name with two of them stands for all pairs.

Names and shapes come from Transformers' classes on the meta device, or, where Transformers has none (Qwen-1, MoE-LLaVA), from the layouts that
make_decoder_fixtures.py and make_moe_fixtures.py write. The counts of parameters must be those worked out from the sizes by hand. config.json
has the fields the publishers wrote, and leaves out what they left out: the text_config of llava-1.5-7b-hf does not even say hidden_size.
Needs `pip install torch 'transformers<5'`. Usage: tests/oracle/make_manifests.py"""
import itertools
import json
import math
import pathlib
import re

import torch
import transformers as HF

OUT = pathlib.Path(__file__).parent.parent / "models/manifests"
NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

PHI2 = dict(architectures=["PhiForCausalLM"], attention_dropout=0.0, bos_token_id=50256, embd_pdrop=0.0, eos_token_id=50256, hidden_act="gelu_new",
            hidden_size=2560, initializer_range=0.02, intermediate_size=10240, layer_norm_eps=1e-5, max_position_embeddings=2048,
            model_type="phi", num_attention_heads=32, num_hidden_layers=32, num_key_value_heads=32, partial_rotary_factor=0.4,
            qk_layernorm=False, resid_pdrop=0.1, rope_scaling=None, rope_theta=10000.0, tie_word_embeddings=False, torch_dtype="float16",
            use_cache=True, vocab_size=51200)
QWEN15 = dict(architectures=["Qwen2ForCausalLM"], attention_dropout=0.0, bos_token_id=151643, eos_token_id=151643, hidden_act="silu",
              hidden_size=2048, initializer_range=0.02, intermediate_size=5504, max_position_embeddings=32768, max_window_layers=21,
              model_type="qwen2", num_attention_heads=16, num_hidden_layers=24, num_key_value_heads=16, rms_norm_eps=1e-6,
              rope_theta=1000000.0, sliding_window=32768, tie_word_embeddings=False, torch_dtype="bfloat16", use_cache=True,
              use_sliding_window=False, vocab_size=151936)
QWEN1 = dict(architectures=["QWenLMHeadModel"], attn_dropout_prob=0.0, bf16=False, emb_dropout_prob=0.0, fp16=False, fp32=False, hidden_size=2048,
             initializer_range=0.02, intermediate_size=11008, kv_channels=128, layer_norm_epsilon=1e-6, max_position_embeddings=8192,
             model_type="qwen", no_bias=True, num_attention_heads=16, num_hidden_layers=24, onnx_safe=None, rotary_emb_base=10000,
             rotary_pct=1.0, scale_attn_weights=True, seq_length=8192, tie_word_embeddings=False, tokenizer_class="QWenTokenizer",
             use_cache=True, use_dynamic_ntk=True, use_flash_attn="auto", use_logn_attn=True, vocab_size=151936)
STABLELM = dict(architectures=["StableLmForCausalLM"], bos_token_id=100257, eos_token_id=100257, hidden_act="silu", hidden_size=2048,
                initializer_range=0.02, intermediate_size=5632, layer_norm_eps=1e-5, max_position_embeddings=4096, model_type="stablelm",
                num_attention_heads=32, num_hidden_layers=24, num_key_value_heads=32, partial_rotary_factor=0.25, rope_theta=10000,
                tie_word_embeddings=False, torch_dtype="float16", use_cache=True, use_qkv_bias=True, vocab_size=100352)
OPENCHAT = dict(architectures=["MistralForCausalLM"], bos_token_id=1, eos_token_id=32000, hidden_act="silu", hidden_size=4096,
                initializer_range=0.02, intermediate_size=14336, max_position_embeddings=8192, model_type="mistral", num_attention_heads=32,
                num_hidden_layers=32, num_key_value_heads=8, rms_norm_eps=1e-5, rope_theta=10000.0, sliding_window=4096,
                tie_word_embeddings=False, torch_dtype="bfloat16", use_cache=True, vocab_size=32002)
CLIP_TOWER = dict(hidden_size=1024, image_size=336, intermediate_size=4096, num_attention_heads=16, num_hidden_layers=24, patch_size=14,
                  projection_dim=768)
CLIP = dict(architectures=["CLIPModel"], logit_scale_init_value=2.6592, model_type="clip", projection_dim=768, torch_dtype="float32",
            text_config=dict(hidden_size=768, intermediate_size=3072, model_type="clip_text_model", num_attention_heads=12,
                             num_hidden_layers=12, projection_dim=768),
            vision_config=CLIP_TOWER | dict(model_type="clip_vision_model"))
CLIP_VISION = CLIP_TOWER | dict(architectures=["CLIPVisionModel"], hidden_act="quick_gelu", layer_norm_eps=1e-5, model_type="clip_vision_model",
                                num_channels=3, torch_dtype="float32")
SIGLIP_TOWER = dict(hidden_size=1152, intermediate_size=4304, num_attention_heads=16, num_hidden_layers=27)
SIGLIP = dict(architectures=["SiglipModel"], initializer_factor=1.0, model_type="siglip", torch_dtype="float32",
              text_config=SIGLIP_TOWER | dict(model_type="siglip_text_model"),
              vision_config=SIGLIP_TOWER | dict(image_size=384, model_type="siglip_vision_model", patch_size=14))
LLAVA = dict(architectures=["LlavaForConditionalGeneration"], ignore_index=-100, image_token_index=32000, model_type="llava", pad_token_id=32001,
             projector_hidden_act="gelu", tie_word_embeddings=False, torch_dtype="float16", vision_feature_layer=-2,
             vision_feature_select_strategy="default", vocab_size=32064,
             text_config=dict(architectures=["LlamaForCausalLM"], max_position_embeddings=4096, model_type="llama", rms_norm_eps=1e-5,
                              torch_dtype="float16", vocab_size=32064),
             vision_config=CLIP_TOWER | dict(model_type="clip_vision_model", vocab_size=32000))


def stored_name(name):
    """LLaVA's files keep the names its modules had when the first were written."""
    if name.startswith("model.language_model."):
        return name.replace("model.language_model.", "language_model.model.")
    if name.startswith(("model.vision_tower.", "model.multi_modal_projector.")):
        return name.removeprefix("model.")
    return name


def from_class(config):
    """{name: (dtype, shape)} of the class a config.json names."""
    kind = getattr(HF, config["architectures"][0])
    fields = {k: v for k, v in config.items() if k not in ("architectures", "model_type", "torch_dtype")}
    with torch.device("meta"):
        model = kind(kind.config_class(**fields))
    dtype = DTYPES[config["torch_dtype"]]
    tensors = {stored_name(n): (dtype, tuple(t.shape)) for n, t in model.state_dict().items()}
    if config["model_type"] == "llava":
        tensors = {"language_model." + n if n.startswith("lm_head") else n: t for n, t in tensors.items()}
    return tensors


def from_clip():
    """The published file is older than Transformers' decision not to store positions 0, 1, 2, ..."""
    positions = {f"{part}_model.embeddings.position_ids": (torch.int64, (1, n)) for part, n in (("text", 77), ("vision", 577))}
    return from_class(CLIP) | positions


def from_qwen1(config):
    width, ffn, vocabulary = config["hidden_size"], config["intermediate_size"] // 2, config["vocab_size"]
    layer = {"ln_1.weight": (width,), "attn.c_attn.weight": (3 * width, width), "attn.c_attn.bias": (3 * width,),
             "attn.c_proj.weight": (width, width), "ln_2.weight": (width,), "mlp.w1.weight": (ffn, width), "mlp.w2.weight": (ffn, width),
             "mlp.c_proj.weight": (width, ffn)}
    shapes = {"transformer.wte.weight": (vocabulary, width)}
    shapes |= {f"transformer.h.{i}.{n}": s for i in range(config["num_hidden_layers"]) for n, s in layer.items()}
    shapes |= {"transformer.ln_f.weight": (width,), "lm_head.weight": (vocabulary, width)}
    return {n: (torch.bfloat16, s) for n, s in shapes.items()}


# Per family: trunk, what MoE-LLaVA calls it, the FFN's projections, capacity_factor, pad_token_id, parameters without tower and projector.
MOE = {
    "moe-llava-phi2-2.7b-4e": (PHI2, "Phi", "phi", ["fc1", "fc2", "wg"], 1.5, 50295, 5_296_993_280),
    "moe-llava-stablelm-1.6b-4e": (STABLELM, "Stablelm", "stablelm", ["gate_proj", "up_proj", "down_proj", "wg"], 1.5, 100280, 2_890_321_920),
    "moe-llava-qwen-1.8b-4e": (QWEN1, "QWen", "qwen", ["mlp.w1", "mlp.w2", "mlp.c_proj", "wg"], 1.5, 151646, 3_054_323_712),
    "moe-llava-openchat-7b-4e": (OPENCHAT, "Mistral", "mistral", ["gate_proj", "up_proj", "down_proj", "wg"], 1.0, 0, 15_697_727_488),
}
EXPERTS = 4


def moe_config(trunk, kind, model_type, modules, capacity_factor, pad):
    layers = list(range(0, trunk["num_hidden_layers"], 2))
    config = trunk | dict(architectures=[f"MoELLaVA{kind}ForCausalLM"], model_type="moe_llava_" + model_type, torch_dtype="bfloat16",
                          pad_token_id=pad)
    if model_type == "stablelm":  # MoE-LLaVA has its own copy of StableLM, from before Transformers had one
        config |= {"rope_pct": config.pop("partial_rotary_factor"), "norm_eps": config.pop("layer_norm_eps")}
    mm = dict(freeze_mm_mlp_adapter=False, image_aspect_ratio="pad", image_projector_type="mlp2x_gelu", mm_hidden_size=1024,
              mm_image_tower="openai/clip-vit-large-patch14-336", mm_projector_lr=None, mm_use_im_patch_token=False, mm_use_im_start_end=False,
              mm_video_tower=None, mm_vision_select_feature="patch", mm_vision_select_layer=-2, tokenizer_padding_side="right",
              tune_mm_mlp_adapter=False, use_mm_proj=True)
    return config | mm | {"moe": dict(capacity_factor=capacity_factor, ep_size=1, eval_capacity_factor=2.0, min_capacity=0, moe_enable=True,
                                      moe_layers_idx=layers, moe_mode="sparse", num_experts=[EXPERTS] * len(layers),
                                      router_aux_loss_coef=0.01, top_k_experts=2, train_modules=modules, use_residual=False)}


def moe_tensors(trunk, config):
    """The trunk's tensors with the FFN of every second layer as experts, the projector and the tower; lm_head has no bias."""
    dense = from_qwen1(trunk) if trunk is QWEN1 else from_class(trunk)
    root, tensors = ("transformer" if trunk is QWEN1 else "model"), {}
    width = trunk["hidden_size"]
    for name, (_, shape) in dense.items():
        place = re.fullmatch(r"(.*\.(\d+)\.mlp)\.(.*)", name)
        if name == "lm_head.bias":
            continue
        if not place or int(place[2]) not in config["moe"]["moe_layers_idx"]:
            tensors[name] = shape
            continue
        tensors[f"{place[1]}.deepspeed_moe.gate.wg.weight"] = (EXPERTS, width)
        tensors |= {f"{place[1]}.deepspeed_moe.experts.deepspeed_experts.{e}.{place[3]}": shape for e in range(EXPERTS)}
    count = sum(math.prod(s) for s in tensors.values())
    projector = {"0.weight": (width, 1024), "0.bias": (width,), "2.weight": (width, width), "2.bias": (width,)}
    tensors |= {f"{root}.mm_projector.image_spatial_proj.{n}": s for n, s in projector.items()}
    tensors |= {f"{root}.image_tower.image_tower.{n}": s for n, (_, s) in from_class(CLIP_VISION).items()}
    return {n: (torch.bfloat16, s) for n, s in tensors.items()}, count


def span(numbers):
    """{a..b} or {a..b..c} for numbers in equal steps, else None."""
    if len(numbers) == 1:
        return str(numbers[0])
    step = numbers[1] - numbers[0]
    if numbers != list(range(numbers[0], numbers[-1] + 1, step)):
        return None
    return f"{{{numbers[0]}..{numbers[-1]}}}" if step == 1 else f"{{{numbers[0]}..{numbers[-1]}..{step}}}"


def compress(tensors):
    """Joins tensors of one type and shape whose names differ in numbers; what does not form a full grid stays as it is."""
    groups = {}
    for name, kind in tensors.items():
        groups.setdefault((re.sub(r"\d+(?=\.)", "{}", name), kind), []).append([int(n) for n in re.findall(r"\d+(?=\.)", name)])
    found = {}
    for (template, (dtype, shape)), indices in groups.items():
        axes = [sorted(set(axis)) for axis in zip(*indices)]
        spans = [span(axis) for axis in axes]
        whole = None not in spans and sorted(map(tuple, indices)) == list(itertools.product(*axes))
        for numbers in [spans] if whole else indices:
            found[template.format(*numbers)] = [NAMES[dtype], list(shape)]
    return found


def expand(tensors):
    """The inverse of compress, to be sure of the notation: {name: (dtype, shape)}."""
    names = {v: k for k, v in NAMES.items()}
    found = {}
    for name, (dtype, shape) in tensors.items():
        parts = re.split(r"\{([^}]*)\}", name)
        for place in range(1, len(parts), 2):
            first, last, *step = map(int, parts[place].split(".."))
            parts[place] = range(first, last + 1, *step)
        for numbers in itertools.product(*parts[1::2]):
            full = "".join(itertools.chain(*itertools.zip_longest(parts[::2], map(str, numbers), fillvalue="")))
            assert full not in found
            found[full] = (names[dtype], tuple(shape))
    return found


def write(name, config, tensors, parameters=None):
    count = sum(math.prod(s) for _, s in tensors.values())
    assert parameters in (None, count), f"{name}: {count} parameters, expected {parameters}"
    joined = compress(tensors)
    assert expand(joined) == tensors, name
    path = OUT / f"{name}.json"
    lines = ",\n".join(f"  {json.dumps(n)}: {json.dumps(t)}" for n, t in joined.items())
    path.write_text(f'{{"config": {json.dumps(config, indent=1, sort_keys=True)},\n"parameters": {count},\n"tensors": {{\n{lines}\n}}}}\n')
    assert json.loads(path.read_text())["tensors"] == joined
    print(f"{name}: {len(tensors)} tensors, {count} parameters, {path.stat().st_size} bytes")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write("phi-2", PHI2, from_class(PHI2), 2_779_683_840)
    write("qwen1.5-1.8b", QWEN15, from_class(QWEN15), 1_836_828_672)
    write("qwen-1.8b", QWEN1, from_qwen1(QWEN1), 1_836_828_672)
    write("stablelm-2-1.6b", STABLELM, from_class(STABLELM), 1_644_515_328)
    write("openchat-3.5-1210", OPENCHAT, from_class(OPENCHAT), 7_241_748_480)
    write("clip-vit-large-patch14-336", CLIP, from_clip())
    write("clip-vit-large-patch14-336-vision", CLIP_VISION, from_class(CLIP_VISION), 303_507_456)
    write("siglip-so400m-patch14-384", SIGLIP, from_class(SIGLIP))
    write("llava-1.5-7b-hf", LLAVA, from_class(LLAVA), 7_063_427_072)
    for name, (trunk, kind, model_type, modules, capacity_factor, pad, parameters) in MOE.items():
        config = moe_config(trunk, kind, model_type, modules, capacity_factor, pad)
        tensors, count = moe_tensors(trunk, config)
        assert count == parameters, f"{name}: {count} parameters without tower and projector, expected {parameters}"
        write(name, config, tensors)
